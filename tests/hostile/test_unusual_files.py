"""Tests that unusual but valid files are read correctly."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from database.datasets import custom_dataset, find_samples
from database.errors import DatasetError, ImageError
from database.images import image_size, read_image, read_label
from database.layouts import Sample
from database.loading import load_sample
from tests.hostile.seeds import IMAGE_SUFFIXES
from tools.checkpoints.find import newest_snapshot
from tools.errors import CheckpointError
from tools.prediction.input_images import ResultNames, images_in

NAMES = ("a b", "a\nb", "a'b\"c", "ä ö 道路", "a\tb", "-a", "a,b", "a%s{0}", " a ", os.fsdecode(b"a\xffb"), "a\u2028b")
RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
LABEL = np.random.default_rng(1).integers(0, 3, (6, 9), dtype=np.uint8)


def save(path: Path, array: np.ndarray, **options) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return str(path)


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (1, 5000), (5000, 1)])
def test_single_rows_and_columns(tmp_path, suffix, size):
    path = save(tmp_path / f"image{suffix}", np.full((*size, 3), (200, 40, 90), np.uint8))
    read = read_image(path)
    assert image_size(path) == size
    np.testing.assert_allclose(read.astype(int), np.full((*size, 3), (200, 40, 90)), atol=6)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_keep_the_upper_eight_as_an_image_and_all_as_a_label(tmp_path, suffix):
    deep = np.random.default_rng(0).integers(0, 65536, (6, 9), dtype=np.uint16)
    path = save(tmp_path / f"deep{suffix}", deep)
    np.testing.assert_array_equal(read_image(path), np.repeat((deep // 256)[:, :, None], 3, axis=2))
    np.testing.assert_array_equal(read_label(path), deep)


@pytest.mark.parametrize("suffix", [".tif", ".jpg"])
def test_cmyk_is_converted_to_what_it_looks_like(tmp_path, suffix):
    inks = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 256, (2, 3, 4), dtype=np.uint8), 16, 0), 16, 1)
    Image.fromarray(inks, "CMYK").save(tmp_path / f"inks{suffix}", quality=100)
    expected = (255.0 - inks[:, :, :3]) * (255.0 - inks[:, :, 3:]) / 255
    np.testing.assert_allclose(read_image(str(tmp_path / f"inks{suffix}")), expected, atol=4)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_of_moving_images_the_first_is_read(tmp_path, suffix):
    frames = [Image.new("RGB", (9, 6), color) for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    options = {"lossless": True} if suffix == ".webp" else {}
    path = tmp_path / f"moving{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    with Image.open(path) as written:
        assert written.n_frames == 3
    np.testing.assert_array_equal(read_image(str(path)), np.full((6, 9, 3), (255, 0, 0)))


def test_image_and_label_are_turned_upright_alike(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = save(tmp_path / "image.png", RGB, exif=exif)
    label = save(tmp_path / "label.png", LABEL, exif=exif)
    read = load_sample(Sample("x", image, label, {0: 0, 1: 1, 2: 2}))
    np.testing.assert_array_equal(read[0], np.rot90(RGB, -1))
    np.testing.assert_array_equal(read[1], np.rot90(LABEL, -1))


def test_an_image_that_is_turned_and_a_label_that_is_not_are_refused(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image, label = save(tmp_path / "image.png", RGB, exif=exif), save(tmp_path / "label.png", LABEL)
    with pytest.raises(ImageError, match="label.png: the label is 6x9 but its image .*image.png is 9x6"):
        load_sample(Sample("x", image, label, {0: 0, 1: 1, 2: 2}))


def test_labels_in_colour_and_of_another_size_are_refused(tmp_path):
    image, colours = save(tmp_path / "image.png", RGB), save(tmp_path / "colours.png", RGB)
    small = save(tmp_path / "small.png", LABEL[:-1])
    with pytest.raises(ImageError, match="colours.png: found mode RGB, expected .*single-channel"):
        load_sample(Sample("x", image, colours, {}))
    with pytest.raises(ImageError, match="small.png: the label is 5x9 but its image .*image.png is 6x9"):
        load_sample(Sample("x", image, small, {0: 0, 1: 1, 2: 2}))


def test_images_go_by_their_content_and_not_by_their_suffix(tmp_path):
    path = save(tmp_path / "image.png", RGB)
    for suffix in (".jpg", ".tif", ".bmp", ".npy", ".txt"):
        shutil.copy(path, tmp_path / f"image{suffix}")
        np.testing.assert_array_equal(read_image(str(tmp_path / f"image{suffix}")), RGB)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_all_kinds_in_folders(tmp_path, name):
    save(tmp_path / "images" / "train" / f"{name}.png", RGB)
    save(tmp_path / "labels" / "train" / f"{name}.png", LABEL)
    [sample] = find_samples(custom_dataset(3), str(tmp_path), ["train"])
    assert sample.name == name
    image, label = load_sample(sample)
    np.testing.assert_array_equal(image, RGB)
    np.testing.assert_array_equal(label, LABEL)
    [(result, path)] = images_in(str(tmp_path / "images" / "train"))
    assert (result, ResultNames().name(path)) == (name, name)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_all_kinds_in_lists(tmp_path, name):
    """Of UTF-8; in lists of lines, names hold no line break or tab and neither begin nor end with a space."""
    save(tmp_path / f"{name}.png", RGB)
    save(tmp_path / f"{name}_label.png", LABEL)
    (tmp_path / "train.odgt").write_text(json.dumps({"fpath_img": f"{name}.png", "fpath_segm": f"{name}_label.png"}))
    lists = ["train.odgt"]
    if name.strip() == name and len(name.splitlines()) == 1 and "\t" not in name and name.isprintable():
        (tmp_path / "train.txt").write_text(f"{name}.png\t{name}_label.png\n", encoding="utf-8")
        lists.append("train.txt")
    for path in lists:
        [sample] = find_samples(custom_dataset(3, train_list=str(tmp_path / path)), str(tmp_path), ["train"])
        np.testing.assert_array_equal(load_sample(sample)[0], RGB)


def test_a_name_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "train.txt").write_bytes(b"a\xff.png a\xff.png\n")
    with pytest.raises(DatasetError, match="train.txt, line 1, byte 2: 0xFF is not UTF-8, expected"):
        find_samples(custom_dataset(3, train_list=str(tmp_path / "train.txt")), str(tmp_path), ["train"])


@pytest.mark.timeout(20)
def test_links_that_lead_back_do_not_keep_the_search_for_snapshots(tmp_path):
    snapshots = tmp_path / "log" / "Toy" / "run" / "snapshot"
    snapshots.mkdir(parents=True)
    for name in ("x", "y", "z"):
        (tmp_path / "log" / "Toy" / name).symlink_to(tmp_path / "log")
    with pytest.raises(CheckpointError, match="no snapshot was found below this folder"):
        newest_snapshot(str(tmp_path / "log"))
    for ending in ("index", "data-00000-of-00001"):
        (snapshots / f"model.ckpt-3.{ending}").touch()
    assert newest_snapshot(str(tmp_path / "log")).endswith("run/snapshot/model.ckpt-3")
