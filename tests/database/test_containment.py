"""Tests names and links that would lead out of a folder."""

from __future__ import annotations

import os

import pytest

from database.containment import path_inside, refuse_linked_folder
from database.errors import OutsideError


@pytest.mark.parametrize(
    "name", ["street", "a b", "-rf", "--out=x", "a\\b", "..\\..\\x", "a\nb", "...", "..x", "ß", "~"]
)
def test_names_that_a_file_can_have(tmp_path, name):
    path = path_inside(str(tmp_path), "deeper", name)
    os.makedirs(os.path.dirname(path))
    with open(path, "w", encoding="utf-8"):
        pass
    assert os.listdir(tmp_path) == ["deeper"]
    assert os.listdir(tmp_path / "deeper") == [name]
    assert os.path.dirname(os.path.realpath(path)) == str(tmp_path / "deeper")


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "a/../../x", "..", ".", "", "x\0", "/"])
@pytest.mark.parametrize("place", [0, 1])
def test_paths_in_the_place_of_names(tmp_path, name, place):
    names = ["other", "other"]
    names[place] = name
    with pytest.raises(OutsideError, match="is not a valid name for a file in this folder: rename") as caught:
        path_inside(str(tmp_path), *names)
    assert str(caught.value).startswith(f"{tmp_path}: ")
    assert "\n" not in str(caught.value)
    assert "\0" not in str(caught.value)


def test_a_folder_that_is_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    refuse_linked_folder(str(tmp_path / "elsewhere"))
    refuse_linked_folder(str(tmp_path / "absent"))
    for target in ("elsewhere", "absent"):
        (tmp_path / "link").symlink_to(tmp_path / target)
        words = f"link: this is a link to '{tmp_path / target}', .*: remove the link"
        with pytest.raises(OutsideError, match=words):
            refuse_linked_folder(str(tmp_path / "link"))
        (tmp_path / "link").unlink()
