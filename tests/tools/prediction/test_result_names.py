"""Names for results that no two images share."""

from __future__ import annotations

import os

import pytest

from database.errors import ImageError
from tools.prediction.result_names import ResultNames


def test_images_of_one_name_get_names_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ResultNames()
    assert names.name("a/street.png") == "street"
    assert names.name("b/street.png") == "street-2"
    assert names.name("c/street.jpg") == "street-3"
    assert names.name("street-2.png") == "street-2-2"
    assert names.name("b/../a/street.png") == "street"
    assert names.name(str(tmp_path / "b" / "street.png")) == "street-2"
    assert names.name("d/other.png", "street") == "street-4"


def test_names_are_kept_between_starts(tmp_path, monkeypatch):
    """Another image of the same name does not replace the results of the first."""
    monkeypatch.chdir(tmp_path)
    path = str(tmp_path / "results" / "images.jsonl")
    first = ResultNames(path)
    assert first.name("a/street.png") == "street"
    assert not os.path.exists(path)  # nothing was written under that name yet
    first.keep("street")
    first.keep("street")
    with open(path, "a", encoding="utf-8") as file:
        file.write('\n[1, 2]\n{"x": 1}\n"ab"\n["cut')
    second = ResultNames(path)
    assert second.name("b/street.png") == "street-2"
    assert second.name("a/street.png") == "street"
    second.keep("street-2")
    with open(path, encoding="utf-8") as file:
        assert file.read().count('["street"') == 1


def test_names_that_cannot_be_written(tmp_path):
    (tmp_path / "taken").write_text("")
    names = ResultNames(str(tmp_path / "taken" / "images.jsonl"))
    with pytest.raises(ImageError, match="taken/images.jsonl: cannot be written"):
        names.keep(names.name("a.png"))


def test_names_are_not_written_through_a_link(tmp_path):
    (tmp_path / "target").write_text("")
    os.symlink(tmp_path / "target", tmp_path / "images.jsonl")
    names = ResultNames(str(tmp_path / "images.jsonl"))
    with pytest.raises(ImageError, match="images.jsonl: cannot be written"):
        names.keep(names.name("a.png"))
    assert (tmp_path / "target").read_text() == ""


def test_images_without_a_file_are_told_apart_by_their_identity(tmp_path):
    path = str(tmp_path / "images.jsonl")
    first = ResultNames(path)
    assert [first.name_of(one, "image") for one in ("x", "y", "x")] == ["image", "image-2", "image"]
    first.keep("image")
    first.keep("image-2")
    assert ResultNames(path).name_of("y", "image") == "image-2"
