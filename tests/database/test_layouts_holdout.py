"""Tests training images held out for validation, of KITTI and of a user's data."""

from __future__ import annotations

import numpy as np
import pytest

from database.datasets import custom_dataset, find_samples, get_dataset
from database.errors import DatasetError
from tests.database.dataset_files import touch


def names(dataset, root, split):
    return [sample.name for sample in find_samples(dataset, str(root), [split])]


def kitti_files(root, count):
    stems = [f"{index:06d}_10" for index in range(count)]
    for stem in stems:
        touch(root, f"training/image_2/{stem}.png", f"training/semantic/{stem}.png")
    return stems


@pytest.mark.parametrize("count", [2, 4, 5, 19, 20, 200])
def test_kitti_by_default_holds_out_the_same_fifth_as_ever(tmp_path, count):
    stems = kitti_files(tmp_path, count)
    order = np.random.default_rng(0).permutation(count)
    expected = sorted(stems[index] for index in order[: max(1, count // 5)])
    for dataset in (get_dataset("KITTI"), get_dataset("KITTI", holdout=0.2)):
        assert names(dataset, tmp_path, "val") == expected
        assert names(dataset, tmp_path, "train") == sorted(set(stems) - set(expected))


def test_kitti_holds_out_nested_fractions(tmp_path):
    stems = kitti_files(tmp_path, 20)
    smaller: set[str] = set()
    for fraction, count in ((0.01, 1), (0.15, 3), (0.3, 6), (0.5, 10), (0.99, 19)):
        dataset = get_dataset("KITTI", holdout=fraction)
        held_out, rest = set(names(dataset, tmp_path, "val")), set(names(dataset, tmp_path, "train"))
        assert len(held_out) == count
        assert held_out | rest == set(stems)
        assert not held_out & rest
        assert smaller <= held_out
        smaller = held_out


def test_whole_products_are_held_out_whole(tmp_path):
    """In floating point, 10 * 0.7 is 7 but 100 * 0.29 is 28.999999999999996."""
    kitti_files(tmp_path, 100)
    for percent in (7, 29, 57, 58):
        assert len(names(get_dataset("KITTI", holdout=percent / 100), tmp_path, "val")) == percent


@pytest.fixture
def own_data(tmp_path):
    stems = [f"{index:02d}" for index in range(10)]
    for stem in stems:
        touch(tmp_path, f"images/train/{stem}.jpg", f"labels/train/{stem}.png", f"images/test/{stem}.jpg")
    rows = [f"images/train/{stem}.jpg labels/train/{stem}.png" for stem in stems]
    (tmp_path / "train.txt").write_text("\n".join(rows))
    (tmp_path / "test.txt").write_text("images/test/07.jpg\n")
    return tmp_path


@pytest.mark.parametrize("by_list", [False, True])
def test_own_data_without_validation_images(own_data, by_list):
    lists = {"train_list": str(own_data / "train.txt"), "test_list": str(own_data / "test.txt")} if by_list else {}
    dataset = custom_dataset(3, holdout=0.3, **lists)
    held_out, rest = names(dataset, own_data, "val"), names(dataset, own_data, "train")
    assert (len(held_out), len(rest)) == (3, 7)
    assert sorted(held_out + rest) == [f"{index:02d}" for index in range(10)]
    assert names(dataset, own_data, "test") == (["07"] if by_list else sorted(held_out + rest))


def test_own_data_with_validation_images(own_data):
    touch(own_data, "images/val/a.jpg", "labels/val/a.png")
    words = "images/val already defines the validation images, but --holdout is 0.3: drop one of them"
    for split in ("train", "val"):
        with pytest.raises(DatasetError, match=words):
            names(custom_dataset(3, holdout=0.3), own_data, split)
    lists = {"train_list": str(own_data / "train.txt"), "val_list": str(own_data / "train.txt")}
    with pytest.raises(DatasetError, match="train.txt already defines the validation images, but --holdout is 0.3"):
        names(custom_dataset(3, holdout=0.3, **lists), own_data, "train")
    # With lists, the folder is ignored.
    assert len(names(custom_dataset(3, holdout=0.3, train_list=lists["train_list"]), own_data, "val")) == 3


def test_own_data_of_a_single_image(tmp_path):
    touch(tmp_path, "images/train/a.jpg", "labels/train/a.png")
    with pytest.raises(DatasetError, match="split 'train' is empty: the only image of .*images/train is held out for"):
        names(custom_dataset(3, holdout=0.3), tmp_path, "train")
