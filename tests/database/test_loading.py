"""Tests loading of samples from files written by Pillow."""

from __future__ import annotations

import builtins
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from database.classes import CITYSCAPES_LABEL_MAP
from database.errors import DatasetError, ImageError
from database.layouts import Sample
from database.loading import load_first_rows, load_label, load_sample, to_train_ids

LABEL_MAP = {0: 255, 7: 0, 8: 1, 200: 253, 255: 255}
IDS = np.array([[0, 7, 8], [200, 255, 7]], np.uint8)
TRAIN_IDS = np.array([[255, 0, 1], [253, 255, 0]], np.uint8)
RGB = np.random.default_rng(0).integers(0, 256, (2, 3, 3), dtype=np.uint8)


def write_sample(folder: Path, image: np.ndarray = RGB, ids: np.ndarray = IDS) -> Sample:
    Image.fromarray(image).save(folder / "image.png")
    Image.fromarray(ids).save(folder / "label.png")
    return Sample("image", str(folder / "image.png"), str(folder / "label.png"), LABEL_MAP)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_ids_become_training_ids(dtype):
    train_ids = to_train_ids(IDS.astype(dtype), LABEL_MAP, "label.png")
    assert train_ids.dtype == np.uint8
    np.testing.assert_array_equal(train_ids, TRAIN_IDS)


def test_cityscapes_ids_become_training_ids():
    # road, sidewalk, license plate, bicycle, unlabeled and rider in cityscapesScripts' labels.py
    train_ids = to_train_ids(np.array([[7, 8, 255], [33, 0, 25]], np.uint8), CITYSCAPES_LABEL_MAP, "label.png")
    np.testing.assert_array_equal(train_ids, [[0, 1, 255], [18, 255, 12]])


@pytest.mark.parametrize("unknown", [9, 254, -1, 256, 263, 65535])
def test_an_unknown_id_is_named_with_its_file_and_count(unknown):
    ids = IDS.astype(np.int32)
    ids[0, 1] = ids[1, 0] = unknown
    with pytest.raises(DatasetError, match=rf"^/data/x\.png: id {unknown} \(2 pixels\) is neither") as caught:
        to_train_ids(ids, LABEL_MAP, "/data/x.png")
    assert "\n" not in str(caught.value)


def test_the_first_of_several_unknown_ids_is_named():
    with pytest.raises(DatasetError, match=r"id 300 \(1 pixel\)"):
        to_train_ids(np.array([[7, 300, 9, 9]], np.int32), LABEL_MAP, "label.png")


@pytest.mark.parametrize("unknown", [9, 254])
def test_an_unknown_id_of_one_byte_is_named(unknown):
    ids = IDS.copy()
    ids[1, 1:] = unknown
    with pytest.raises(DatasetError, match=rf"^/data/x\.png: id {unknown} \(2 pixels\) is neither"):
        to_train_ids(ids, LABEL_MAP, "/data/x.png")


def test_training_ids_of_a_part_of_a_larger_array():
    np.testing.assert_array_equal(to_train_ids(np.repeat(IDS, 2, axis=1)[:, ::2], LABEL_MAP, "x"), TRAIN_IDS)


def test_load_sample_gives_rgb_and_training_ids(tmp_path):
    image, label = load_sample(write_sample(tmp_path))
    assert (image.dtype, label.dtype) == (np.uint8, np.uint8)
    np.testing.assert_array_equal(image, RGB)
    np.testing.assert_array_equal(label, TRAIN_IDS)


def test_load_label_reads_palette_indices(tmp_path):
    sample = write_sample(tmp_path)
    indexed = Image.fromarray(IDS).convert("L")
    indexed.putpalette([value for index in range(256) for value in (255 - index, 8, 7)])
    indexed.save(sample.label)
    assert Image.open(sample.label).mode == "P"
    np.testing.assert_array_equal(load_label(sample), TRAIN_IDS)


def test_ids_above_255_in_a_file_are_refused_rather_than_wrapped(tmp_path):
    ids = IDS.astype(np.uint16)
    ids[1, 2] = 256 + 7
    sample = write_sample(tmp_path, ids=ids)
    with pytest.raises(DatasetError, match=r"label\.png: id 263 \(1 pixel\)"):
        load_sample(sample)


@pytest.mark.parametrize("found", [65536, 70000, -3])
def test_ids_that_no_label_map_may_hold_are_not_sent_there(found):
    with pytest.raises(DatasetError, match=f"x: id {found} .* ids in label files are 0 to 65535") as caught:
        to_train_ids(np.array([[found]], np.int32), LABEL_MAP, "x")
    assert "--label_map" not in str(caught.value)


def test_sixteen_bit_files_with_known_ids_are_read(tmp_path):
    np.testing.assert_array_equal(load_label(write_sample(tmp_path, ids=IDS.astype(np.uint16))), TRAIN_IDS)


@pytest.mark.parametrize("load", [load_label, load_sample])
def test_a_sample_without_a_label_is_refused(tmp_path, load):
    sample = write_sample(tmp_path)
    unlabelled = Sample(sample.name, sample.image, None, LABEL_MAP)
    with pytest.raises(DatasetError, match=r"image\.png: this image has no label") as caught:
        load(unlabelled)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [(3, 2), (2, 4), (4, 6)])
def test_image_and_label_of_different_sizes_are_refused(tmp_path, size):
    sample = write_sample(tmp_path, ids=np.zeros(size, np.uint8))
    with pytest.raises(ImageError, match=rf"label\.png: the label is {size[0]}x{size[1]} but .* is 2x3") as caught:
        load_sample(sample)
    assert sample.image in str(caught.value)
    assert "\n" not in str(caught.value)


def test_first_rows_of_image_and_label(tmp_path):
    sample = write_sample(tmp_path)
    whole_image, whole_label = load_sample(sample)
    image, label, height = load_first_rows(sample, lambda height: height - 1)
    np.testing.assert_array_equal(image, whole_image[:1])
    np.testing.assert_array_equal(label, whole_label[:1])
    assert height == 2


def test_sizes_are_compared_of_the_whole_files(tmp_path):
    sample = write_sample(tmp_path, ids=np.zeros((4, 3), np.uint8))
    with pytest.raises(ImageError, match=r"label\.png: the label is 4x3 but .* is 2x3"):
        load_first_rows(sample, lambda height: 1)


@pytest.mark.parametrize("name", ["image", "label"])
def test_a_file_that_is_gone_since_it_was_listed_is_named(tmp_path, name):
    sample = write_sample(tmp_path)
    (tmp_path / f"{name}.png").unlink()
    with pytest.raises(ImageError, match=rf"{name}\.png: no such file$"):
        load_sample(sample)


@pytest.mark.parametrize("name", ["image", "label"])
def test_a_folder_in_place_of_a_file_is_named(tmp_path, name):
    sample = write_sample(tmp_path)
    (tmp_path / f"{name}.png").unlink()
    (tmp_path / f"{name}.png").mkdir()
    with pytest.raises(ImageError, match=rf"{name}\.png: not an image that can be read \(Is a directory\)$"):
        load_sample(sample)


@pytest.mark.parametrize("name", ["image", "label"])
def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch, name):
    sample = write_sample(tmp_path)
    open_file = builtins.open

    def refuse(path, *arguments, **options):
        if path == str(tmp_path / f"{name}.png"):
            raise PermissionError(13, "Permission denied", path)
        return open_file(path, *arguments, **options)

    monkeypatch.setattr(builtins, "open", refuse)
    with pytest.raises(ImageError, match=rf"{name}\.png: not an image that can be read \(Permission denied\)$"):
        load_sample(sample)


@pytest.mark.parametrize("damaged", ["image", "label"])
def test_a_damaged_file_is_named(tmp_path, damaged):
    sample = write_sample(tmp_path)
    path = tmp_path / f"{damaged}.png"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ImageError, match=rf"{damaged}\.png"):
        load_sample(sample)


WIDE_MAP = {0: 255, 7: 0, 300: 1, 26001: 2, 65535: 3}


@given(st.lists(st.sampled_from([*WIDE_MAP]), min_size=1, max_size=20))
def test_ids_up_to_65535_in_the_label_map(ids):
    found = to_train_ids(np.array([ids], np.int32), WIDE_MAP, "x")
    np.testing.assert_array_equal(found, [[WIDE_MAP[file_id] for file_id in ids]])


def test_bytes_with_a_label_map_that_has_larger_ids():
    np.testing.assert_array_equal(to_train_ids(np.array([[7, 0]], np.uint8), WIDE_MAP, "x"), [[0, 255]])
    with pytest.raises(DatasetError, match=r"x: id 44 \(1 pixel\)"):  # 300 truncated to 8 bits
        to_train_ids(np.array([[7, 44]], np.uint8), WIDE_MAP, "x")


@pytest.mark.parametrize("unknown", [-1, 65536, 2**31 - 1, 299])
def test_ids_beyond_a_wide_label_map(unknown):
    with pytest.raises(DatasetError, match=f"x: id {unknown} "):
        to_train_ids(np.array([[7, unknown]], np.int32), WIDE_MAP, "x")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (26001, r"instance id of Cityscapes \(26001 // 1000 = 26, car\): give \*_labelIds.png"),
        (33000, "33000 // 1000 = 33, bicycle"),
        (6657, r"instance id of KITTI \(6657 // 256 = 26, car\): give the files of the folder semantic"),
    ],
)
def test_ids_of_instances_are_recognized(found, words):
    with pytest.raises(DatasetError, match=words) as caught:
        to_train_ids(np.array([[7, found]], np.int32), CITYSCAPES_LABEL_MAP, "label.png")
    assert "--label_map" in str(caught.value)
    with pytest.raises(DatasetError) as caught:
        to_train_ids(np.array([[7, 23999]], np.int32), CITYSCAPES_LABEL_MAP, "label.png")
    assert "instance" not in str(caught.value)
