"""Mean and deviation of several channels, as flags for training."""

from __future__ import annotations

import contextlib
import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.database.multiband_files import write_tiff
from tools.check_dataset import __main__ as check_dataset
from tools.check_dataset.moments import Moments

SIZES = [(8, 12), (16, 9), (5, 5)]


@pytest.fixture
def tiles(tmp_path):
    """Three 4-band tiles of different sizes, of which the last band is constant; returns folder and pixels."""
    rng = np.random.default_rng(0)
    pixels = []
    for folder in ("images/train", "labels/train"):
        (tmp_path / folder).mkdir(parents=True)
    for index, size in enumerate(SIZES):
        image = rng.normal([1e6, 0.01, -40], [3, 0.002, 900], (*size, 3))
        image = np.concatenate([image, np.full((*size, 1), 7.0)], axis=2).astype("<f4")
        write_tiff(tmp_path / f"images/train/{index}.tif", image)
        Image.fromarray(rng.integers(0, 2, size).astype(np.uint8)).save(tmp_path / f"labels/train/{index}.png")
        pixels.append(image.reshape(-1, 4))
    return tmp_path, np.concatenate(pixels).astype(np.float64)


def check(folder, *more: str) -> tuple[dict, str]:
    out = folder / "report"
    arguments = ["--database", "custom", "--num_classes", "2", "--data_dir", str(folder), "--out", str(out), *more]
    with contextlib.suppress(SystemExit):  # there is no val
        check_dataset.main(arguments)
    return json.loads((out / "report.json").read_text()), (out / "report.md").read_text()


def test_moments_are_those_of_all_pixels():
    rng = np.random.default_rng(1)
    images = [rng.normal([1e7, 1e-6], [1, 1e-7], (*size, 2)) for size in SIZES]
    total = Moments.of(images[0]) + Moments.of(images[1]) + Moments.of(images[2])
    pixels = np.concatenate([image.reshape(-1, 2) for image in images])
    assert total.pixels == len(pixels)
    np.testing.assert_allclose(total.means, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(total.deviations, pixels.std(axis=0), rtol=1e-9)


def test_the_report_has_the_flags(tiles):
    folder, pixels = tiles
    report, text = check(folder, "--input_channels", "4")
    train = report["splits"]["train"]
    np.testing.assert_allclose(train["color_mean"], pixels.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(train["color_deviation"], pixels.std(axis=0), rtol=1e-6)
    found = re.search(r"`--input_channels 4 --channel_mean (\S+) --channel_std (\S+)`", text)
    mean, deviation = ([float(value) for value in group.split(",")] for group in found.groups())
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(deviation[:3], pixels.std(axis=0)[:3], rtol=1e-5)
    assert deviation[3] == 1  # a constant channel cannot be scaled
    assert Image.open(folder / "report" / "thumbnails.png").mode == "RGB"


def geotiles(folder, kinds: dict[str, str], factor: int = 1) -> np.ndarray:
    """Writes two tiles of a split each, whose left third has no data and whose lowest row is ignored.

    Returns the other pixels of train, scaled so that white is 255.
    """
    rng, kept = np.random.default_rng(2), []
    for split, dtype in kinds.items():
        for part in ("images", "labels"):
            (folder / part / split).mkdir(parents=True)
        for index in range(2):
            image = rng.normal(3000, 300, (8, 12, 4)).astype(dtype)
            if split != "train":
                image //= factor
            label = rng.integers(0, 2, (8, 12)).astype(np.uint8)
            image[:, :4], image[7], label[7] = 0, 1, 255
            write_tiff(folder / f"images/{split}/{index}.tif", image, changes={42113: ("s", b"0\0")})
            Image.fromarray(label).save(folder / f"labels/{split}/{index}.png")
            if split == "train":
                kept.append(image[:7, 4:].reshape(-1, 4) * (255 / 65535))
    return np.concatenate(kept)


def test_pixels_without_data_and_ignored_ones_are_left_out(tmp_path):
    pixels = geotiles(tmp_path, {"train": "<u2", "val": "<u2"})
    report, text = check(tmp_path, "--input_channels", "4")
    train = report["splits"]["train"]
    np.testing.assert_allclose(train["color_mean"], pixels.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(train["color_deviation"], pixels.std(axis=0), rtol=1e-5)
    assert train["left_out_share"] == pytest.approx(1 - 7 * 8 / 96)
    assert "41.67 % of the pixels are left out" in text
    assert report["faults"] == []


def test_nothing_but_ignored_pixels_has_no_mean(tmp_path):
    geotiles(tmp_path, {"train": "<u2", "val": "<u2", "test": "<u2"})
    for path in (tmp_path / "labels/test").glob("*.png"):
        Image.fromarray(np.full((8, 12), 255, np.uint8)).save(path)
    report, text = check(tmp_path, "--input_channels", "4")
    assert report["splits"]["test"]["color_mean"] is None
    assert "No mean of the channels" in text


@pytest.mark.parametrize(("kind", "faults"), [("<u2", 0), ("<i2", 1)])
@pytest.mark.parametrize("white", [None, 4095])
def test_types_that_are_scaled_apart_are_a_fault(tmp_path, kind, faults, white):
    geotiles(tmp_path, {"train": "<u2", "val": kind})
    report, _ = check(tmp_path, "--input_channels", "4", *([] if white is None else ["--input_range", str(white)]))
    found = [fault for fault in report["faults"] if "--input_range" in fault["message"]]
    assert len(found) == (faults if white is None else 0)
    for fault in found:
        assert fault["split"] == "val"
        assert all(part in fault["message"] for part in ("int16", "255", "uint16", "train", "65535"))


@pytest.mark.parametrize(("factor", "warned"), [(1, False), (5, False), (20, True)])
def test_means_far_apart_are_logged(tmp_path, caplog, factor, warned):
    geotiles(tmp_path, {"train": "<u2", "val": "<u2"}, factor)
    check(tmp_path, "--input_channels", "4")
    assert ("in val and" in caplog.text) == warned


def test_another_number_of_channels_is_a_fault(tiles):
    report, _ = check(tiles[0], "--input_channels", "5")
    messages = [fault["message"] for fault in report["faults"] if "channels" in fault["message"]]
    assert len(messages) == 3
    assert all("4 channels (float32), expected 5 by --input_channels" in message for message in messages)


@pytest.mark.parametrize(("labels", "words"), [(0, "the label gives 100 % of them a class"), (255, "ignores them")])
@pytest.mark.parametrize(("channels", "flags"), [(4, ("--input_channels", "4")), (3, ())])
def test_pixels_without_data_are_reported(tmp_path, labels, words, channels, flags):
    for folder in ("images/train", "labels/train"):
        (tmp_path / folder).mkdir(parents=True)
    image = np.full((10, 20, channels), 9, "u1")
    image[:, :5] = 0
    image[0, 19, 0] = 0  # the others of its channels have data
    changes = {42113: ("s", b"0\0"), 262: ("H", [2 if channels == 3 else 1])}
    write_tiff(tmp_path / "images/train/tile.tif", image, changes=changes)
    write_tiff(tmp_path / "images/train/whole.tif", image[:, 5:19], changes=changes)
    for name, columns in (("tile", slice(0, 20)), ("whole", slice(5, 19))):
        label = np.ones((10, 20), np.uint8)
        label[:, :5] = labels
        Image.fromarray(label[:, columns]).save(tmp_path / f"labels/train/{name}.png")
    report, text = check(tmp_path, *flags)
    [line] = report["splits"]["train"]["without_data"]
    assert line.startswith("tile: 25 % of the pixels are 0, its number for no data")
    assert words in line
    assert f"- {line}" in text


def test_a_missing_split_that_training_needs_says_so(tiles):
    report, _ = check(tiles[0], "--input_channels", "4")
    [message] = [fault["message"] for fault in report["faults"] if fault["split"] == "val"]
    assert message.endswith("; train.py rejects the data without this split")
