"""Tests that images and labels in one folder, or of different names, are recognized, and the commands pair them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from database.datasets import custom_dataset, find_samples
from database.errors import DatasetError
from tests.database.dataset_files import touch

NUMBERS = range(8, 12)  # the numbers of digits differ

# Names of the images and labels, each with the number in place of {}.
RENAMED = {
    "suffix": ("IMG_{}.jpg", "IMG_{}_mask.png"),
    "prefix": ("{}.jpg", "mask_{}.png"),
    "both ends": ("street {}.jpg", "my street {} label.png"),
    "another suffix": ("{}_leftImg8bit.png", "{}_gtFine_labelIds.png"),
    "another prefix": ("image-{}.jpg", "label-{}.tif"),
    "no image suffix": ("{}_rgb.jpg", "{}.png"),
    "dots": ("{}.jpg", "{}.mask.png"),
}

MIXED = {
    "by suffix": ("{}.jpg", "{}.png"),
    "by name": ("{}.jpg", "{}_mask.png"),
    "one format": ("IMG_{}.png", "IMG_{}-label.png"),
    "one format, in front": ("IMG_{}.png", "gt_IMG_{}.png"),
    "upper case": ("IMG_{}.JPG", "IMG_{}.PNG"),
    "other words": ("image_{}.jpg", "mask_{}.png"),
}


def refusal(root: Path, split: str = "train") -> str:
    with pytest.raises(DatasetError) as caught:
        find_samples(custom_dataset(2), str(root), [split])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def paste(message: str) -> None:
    """Runs the command at the end of a message as a user pastes it."""
    command = "(cd " + message.partition(": (cd ")[2]
    subprocess.run(command, shell=True, check=True)  # noqa: S602


def assert_paired(root: Path, kind: tuple[str, str], split: str = "train") -> None:
    found = find_samples(custom_dataset(2), str(root), [split])
    names = [kind[0].format(number).rpartition(".")[0] for number in NUMBERS]
    for paths in ([sample.image for sample in found], [str(sample.label) for sample in found]):
        assert sorted(Path(path).stem for path in paths) == sorted(names)


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("kind", RENAMED.values(), ids=RENAMED)
def test_labels_are_renamed(tmp_path, kind, split):
    root = tmp_path / "my data"
    for folder, name in zip(("images", "labels"), kind, strict=True):
        touch(root, *(f"{folder}/{split}/{name.format(number)}" for number in NUMBERS))
    message = refusal(root, split)
    assert f"image without a label in {root}/labels/{split} (and 3 more); the names of the labels differ" in message
    paste(message)
    assert_paired(root, kind, split)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (["1.jpg", "2.jpg"], ["11.png", "12.png"]),  # numbers are no words
        (["1.jpg", "10.jpg"], ["1_mask.png", "2_mask.png"]),  # a label of no image
        (["1.jpg", "2.jpg"], ["1_mask.png", "2_label.png"]),
        (["1.jpg", "2.jpg"], ["1_mask.png", "2_mask.tif"]),
        (["1.jpg", "2.jpg"], ["1_$x.png", "2_$x.png"]),  # would need quoting
        (["a.jpg"], ["b.png"]),
        (["a.jpg"], []),
    ],
)
def test_no_renaming_is_guessed(tmp_path, images, labels):
    touch(tmp_path, *(f"images/train/{name}" for name in images), *(f"labels/train/{name}" for name in labels))
    (tmp_path / "labels" / "train").mkdir(parents=True, exist_ok=True)
    assert "mv" not in refusal(tmp_path)


def test_no_file_is_overwritten(tmp_path):
    touch(tmp_path, "images/train/1.jpg", "images/train/2.jpg", "labels/train/1_mask.png", "labels/train/2_mask.png")
    message = refusal(tmp_path)
    (tmp_path / "labels/train/1.png").write_text("kept")
    paste(message)
    assert (tmp_path / "labels/train/1.png").read_text() == "kept"
    assert (tmp_path / "labels/train/1_mask.png").exists()


@pytest.mark.parametrize("place", ["", "images/", "train/", "images/train/"])
@pytest.mark.parametrize("kind", MIXED.values(), ids=MIXED)
def test_one_folder_of_images_and_labels_is_divided(tmp_path, kind, place):
    root = tmp_path / "my data"
    touch(root, *(place + name.format(number) for name in kind for number in NUMBERS), f"{place}notes.txt")
    message = refusal(root)
    assert "4 images and 4 labels are in one folder, " in message
    paste(message)
    assert_paired(root, kind)


def test_validation_images_beside_their_labels(tmp_path):
    touch(tmp_path, *(f"images/val/{number}{end}" for number in NUMBERS for end in (".jpg", "_mask.png")))
    paste(refusal(tmp_path, "val"))
    assert_paired(tmp_path, ("{}.jpg", ""), "val")


@pytest.mark.parametrize(
    "files",
    [
        ["1.jpg", "2.jpg", "2.png", "3.png"],  # a label of no image
        ["1.jpg", "2.jpg"],
        ["1.png", "2.png", "11.png"],
        ["1.jpg", "1.png", "labels/other/1.png"],  # there is a folder of labels
        ["images/1.jpg", "images/1.png", "masks/1.png"],
        ["images/train/1.jpg", "images/train/1.png", "Masks/other/1.png"],
    ],
)
def test_no_folder_is_divided_without_proof(tmp_path, files):
    touch(tmp_path, *files)
    assert "in one folder" not in refusal(tmp_path)
