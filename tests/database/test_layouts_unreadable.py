"""Tests folders and lists that cannot be read, and folders in place of files."""

from __future__ import annotations

import os

import pytest

from database import text_files
from database.errors import DatasetError
from tests.database.dataset_files import cityscapes_files, find, touch

CITY_FOLDERS = pytest.mark.parametrize("folder", ["leftImg8bit", "gtFine"])


@CITY_FOLDERS
def test_folders_that_cannot_be_read_are_named(tmp_path, monkeypatch, folder):
    touch(tmp_path, *cityscapes_files("train", "bonn_0_0", "ulm_0_0"))
    scandir = os.scandir

    def refuse_ulm(path):
        if path == str(tmp_path / folder / "train" / "ulm"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse_ulm)
    with pytest.raises(DatasetError, match=rf"{folder}/train/ulm: the folder cannot be read \(Permission denied\)$"):
        find("Cityscapes", tmp_path, "train")


@CITY_FOLDERS
def test_a_file_in_place_of_a_folder_is_named(tmp_path, folder):
    touch(tmp_path, *cityscapes_files("train", "bonn_0_0"))
    (tmp_path / folder / "train").rename(tmp_path / "elsewhere")
    (tmp_path / folder / "train").touch()
    with pytest.raises(DatasetError, match=rf"{folder}/train: the folder cannot be read \(Not a directory\)$"):
        find("Cityscapes", tmp_path, "train")


@pytest.mark.parametrize("folder", ["train", "trainannot"])
def test_a_folder_in_place_of_a_file_is_named(tmp_path, folder):
    touch(tmp_path, "train/a.png", "trainannot/a.png")
    (tmp_path / folder / "a.png").unlink()
    (tmp_path / folder / "a.png").mkdir()
    with pytest.raises(
        DatasetError, match=rf"/{folder}/a\.png: found a folder with the name of an image, expected a file"
    ):
        find("CamVid", tmp_path, "train")


def test_a_list_that_names_a_folder(tmp_path):
    touch(tmp_path, "a.png", "labels/b.png/c")
    (tmp_path / "train.txt").write_text("a.png labels/b.png\n")
    with pytest.raises(DatasetError, match=r"train\.txt, line 1: names labels/b\.png, which is not a file in"):
        find("SBD", tmp_path, "train")


def test_a_list_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(path, *arguments, **options):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(text_files, "read_regular_file", refuse)
    with pytest.raises(DatasetError, match=r"train\.txt: the list of split 'train' cannot be read \(Permission den"):
        find("SBD", tmp_path, "train")
