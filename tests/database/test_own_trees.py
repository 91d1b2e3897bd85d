"""Own data in the trees of mmsegmentation and of Pascal VOC."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from database.datasets import custom_dataset, find_samples
from database.errors import AbsentSplitError, DatasetError
from database.loading import load_sample
from database.palettes import voc_palette
from tests.database.dataset_files import touch

MMSEG = ["img_dir/train/a.jpg", "img_dir/train/sub/b.jpg", "ann_dir/train/a.png", "ann_dir/train/sub/b.png",
         "img_dir/val/c.jpg", "ann_dir/val/c.png"]  # fmt: skip
VOC = [f"{folder}/{name}{suffix}" for name in ("2007_1", "2007_2", "2007_3")
       for folder, suffix in (("JPEGImages", ".jpg"), ("SegmentationClass", ".png"))]  # fmt: skip


def pairs(root: Path, split: str, **options) -> list[tuple[str, str | None]]:
    samples = find_samples(custom_dataset(2, **options), str(root), [split])
    return [(str(Path(sample.image).relative_to(root)), sample.label and str(Path(sample.label).relative_to(root)))
            for sample in samples]  # fmt: skip


@pytest.fixture
def mmseg(tmp_path):
    touch(tmp_path, *MMSEG)
    return tmp_path


@pytest.fixture
def voc(tmp_path):
    """With images that only detection uses, and labels of SBD and of instances."""
    touch(tmp_path, *VOC, "JPEGImages/2007_9.jpg", "SegmentationClassAug/2007_1.png", "SegmentationClassAug/2007_2.png",
          "SegmentationClassAug/2007_3.png", "SegmentationObject/2007_1.png", "Annotations/2007_1.xml")  # fmt: skip
    lists = tmp_path / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_1\n2007_2\n")
    (lists / "val.txt").write_text("2007_3\n")
    return tmp_path


def test_tree_of_mmsegmentation(mmseg):
    assert pairs(mmseg, "train") == [
        ("img_dir/train/a.jpg", "ann_dir/train/a.png"), ("img_dir/train/sub/b.jpg", "ann_dir/train/sub/b.png"),
    ]  # fmt: skip
    assert pairs(mmseg, "val") == [("img_dir/val/c.jpg", "ann_dir/val/c.png")]
    touch(mmseg, "img_dir/test/d.jpg")
    assert pairs(mmseg, "test") == [("img_dir/test/d.jpg", None)]


def test_tree_of_voc_by_its_lists_of_ids(voc):
    assert pairs(voc, "train") == [
        (f"JPEGImages/{name}.jpg", f"SegmentationClass/{name}.png") for name in ("2007_1", "2007_2")
    ]
    assert pairs(voc, "val") == [("JPEGImages/2007_3.jpg", "SegmentationClass/2007_3.png")]
    (voc / "ImageSets/Segmentation/test.txt").write_text("2007_9\n")
    assert pairs(voc, "test") == [("JPEGImages/2007_9.jpg", None)]


def test_indices_of_palette_files_are_ids(voc):
    ids = np.array([[0, 1, 255], [1, 1, 0]], np.uint8)
    for name in ("2007_1", "2007_2"):
        Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(voc / f"JPEGImages/{name}.jpg")
        label = Image.fromarray(ids)
        label.putpalette([channel for color in voc_palette(256) for channel in color])
        label.save(voc / f"SegmentationClass/{name}.png")
    samples = find_samples(custom_dataset(2), str(voc), ["train"])
    np.testing.assert_array_equal(load_sample(samples[0])[1], ids)


@pytest.mark.parametrize("tree", ["mmseg", "voc"])
def test_own_folders_come_first(tree, request):
    """As before these trees were known."""
    root = request.getfixturevalue(tree)
    touch(root, "images/train/z.png", "labels/train/z.png")
    assert pairs(root, "train") == [("images/train/z.png", "labels/train/z.png")]


def test_missing_split_of_mmsegmentation_is_named(mmseg):
    touch(mmseg, "img_dir/train/e.jpg")
    with pytest.raises(DatasetError, match=r"img_dir/train/e.jpg: image without a label in .*ann_dir/train"):
        pairs(mmseg, "train")
    for path in ("img_dir/val/c.jpg", "ann_dir/val/c.png"):
        (mmseg / path).unlink()
    with pytest.raises(AbsentSplitError, match=r"img_dir/val/\*.*--holdout 0.2"):
        pairs(mmseg, "val")


def test_other_spelling_in_the_tree_of_mmsegmentation(tmp_path):
    touch(tmp_path, "img_dir/training/a.jpg", "ann_dir/training/a.png")
    with pytest.raises(AbsentSplitError, match=r"mv \S+/img_dir/training \S+/img_dir/train"):
        pairs(tmp_path, "train")


def test_faults_of_the_tree_of_voc_are_named(voc):
    (voc / "ImageSets/Segmentation/train.txt").write_text("2007_1\n2007_9\n")
    with pytest.raises(DatasetError, match=r"Segmentation/train.txt, line 2: 2007_9 .*SegmentationClass"):
        pairs(voc, "train")
    with pytest.raises(AbsentSplitError, match=r"ImageSets/Segmentation/test.txt: the list of split 'test'"):
        pairs(voc, "test")


@pytest.mark.parametrize("tree", ["mmseg", "voc"])
def test_held_out_images(tree, request):
    root = request.getfixturevalue(tree)
    with pytest.raises(DatasetError, match=r"(img_dir/val|Segmentation/val.txt) already defines the validation"):
        pairs(root, "train", holdout=0.5)
    place = root / ("ImageSets/Segmentation/val.txt" if tree == "voc" else "img_dir/val")
    place.rename(root / "unused")
    held_out, rest = pairs(root, "val", holdout=0.5), pairs(root, "train", holdout=0.5)
    assert len(held_out) == len(rest) == 1
    assert held_out != rest


@pytest.mark.parametrize("files", [MMSEG, [*VOC, "ImageSets/Segmentation/train.txt"]], ids=["mmsegmentation", "voc"])
def test_a_tree_in_a_folder_below_or_above_is_found(files, tmp_path):
    data = tmp_path / "here/data"
    touch(data, *files)
    for given in (tmp_path / "here", data / files[0].split("/")[0]):
        with pytest.raises(AbsentSplitError, match=f"; it is in {data}: give --data_dir {data}$"):
            pairs(given, "train")
