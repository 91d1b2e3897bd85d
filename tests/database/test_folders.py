"""Tests walking folders with links, some of which lead back."""

from __future__ import annotations

import os

import pytest

from database.errors import DatasetError
from database.folders import is_folder, walked
from database.layouts import custom


def paths_below(folder, loops_found=None) -> list[str]:
    """Returns the relative paths of the files; appends links that lead back to `loops_found`."""
    loops = [] if loops_found is None else loops_found
    found = walked(str(folder), lambda error: pytest.fail(str(error)), loops.append)
    return sorted(os.path.relpath(os.path.join(parent, name), folder) for parent, _, names in found for name in names)


def test_links_are_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").touch()
    (tmp_path / "data" / "city").mkdir(parents=True)
    (tmp_path / "data" / "b.png").touch()
    for name in ("data/first", "data/city/second"):
        (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    assert paths_below(tmp_path / "data") == ["b.png", "city/second/a.png", "first/a.png"]


@pytest.mark.timeout(10)
def test_links_that_lead_back_are_reported_and_not_entered(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "x.png").touch()
        (tmp_path / "data" / name / "back").symlink_to(tmp_path / "data")
    loops_found: list[str] = []
    assert paths_below(tmp_path / "data", loops_found) == ["a/x.png", "b/x.png"]
    assert sorted(loops_found) == [str(tmp_path / "data" / name / "back") for name in ("a", "b")]


def test_two_folders_that_lead_to_each_other(tmp_path):
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").touch()
        (tmp_path / name / "other").symlink_to(tmp_path / other)
    loops_found: list[str] = []
    assert paths_below(tmp_path / "a", loops_found) == ["other/x.png", "x.png"]
    assert loops_found == [str(tmp_path / "a" / "other" / "other")]


def test_a_link_that_leads_to_itself_is_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "x.png").symlink_to(tmp_path / "x.png")
    assert paths_below(tmp_path) == ["x.png"]


def test_datasets_with_links_that_lead_back_are_refused(tmp_path):
    for kind in ("images", "labels"):
        (tmp_path / kind / "train").mkdir(parents=True)
        (tmp_path / kind / "train" / "x.png").touch()
        (tmp_path / kind / "train" / "back").symlink_to(tmp_path / kind)
    with pytest.raises(DatasetError, match="images/train/back/train: this link leads to one of its parent folders"):
        custom(str(tmp_path), "train", {}, {})


def test_links_to_folders_and_to_themselves(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    for name, target in (("link", "folder"), ("loop", "loop"), ("absent", "nowhere"), ("self", ".")):
        (tmp_path / name).symlink_to(target)
    with os.scandir(tmp_path) as entries:
        found = {entry.name: is_folder(entry) for entry in entries}
    assert found == {"folder": True, "file": False, "link": True, "loop": False, "absent": False, "self": True}
