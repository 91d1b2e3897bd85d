"""Sizes of crops and windows that suit a grid with aligned corners."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import resizing
from model.architecture import Architecture
from tools.flags.limits import SMALLEST_SIDE
from tools.prediction.grid_sizes import (
    aligns_corners,
    nearest_aligned_sizes,
    stretches,
    warn_of_misaligned_size,
    warn_of_stretched_crops,
    whole_sizes,
)

ICNET = Architecture("resnet_v1_18", 11, decoder="icnet", output_stride=16)


def features_end_on_the_last_pixel(size, output_stride):
    """Features lie on every output_stride-th pixel from the first on."""
    return list(range(0, size, output_stride))[-1] == size - 1


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_sizes_whose_last_feature_lies_on_the_last_pixel(output_stride):
    for size in range(SMALLEST_SIDE, 200):
        fits = features_end_on_the_last_pixel(size, output_stride)
        assert aligns_corners(size, output_stride) == fits
        if not fits:
            below, above = nearest_aligned_sizes(size, output_stride)
            fitting = [s for s in range(SMALLEST_SIDE, 300) if features_end_on_the_last_pixel(s, output_stride)]
            smaller = [s for s in fitting if s < size]
            larger = [s for s in fitting if s > size]
            assert (below, above) == ((smaller[-1], larger[0]) if smaller else tuple(larger[:2]))


@pytest.mark.parametrize(("grid", "sizes"), [("half_pixel", (16, 0)), ("align_corners", (16, 1)), ("legacy", (16, 0))])
def test_sizes_of_whole_images(grid, sizes):
    assert whole_sizes(Architecture("resnet_v1_18", 3, output_stride=16, resize_grid=grid)) == sizes


def test_networks_of_segmentation_models_take_multiples_though_their_grid_aligns_corners(caplog):
    network = Architecture("resnet_v1_18", 3, resize_grid="align_corners", decoder="ppm_1x1", encoder_blocks=2)
    assert whole_sizes(network) == (8, 0)
    for size in (480, "360x480"):
        warn_of_misaligned_size("test_image_size", size, network)
        warn_of_stretched_crops(size, 480, network)
    assert not caplog.messages
    warn_of_stretched_crops(41, 480, network)
    [line] = caplog.messages
    assert "crops of 40 and 48 suit both" in line


@pytest.mark.parametrize(("rows", "apart"), [(15, 30.0), (16, 32.0)])
def test_crops_are_squeezed_where_their_features_are_halved(rows, apart):
    """The rows at 1/16 of a crop of 240 or 256 pixels, each with its position in the crop, are halved as in ICNet."""
    positions = (np.arange(rows, dtype=np.float64) * 16 + 8).reshape(1, rows, 1, 1)
    with tf.Graph().as_default(), tf.Session() as session:
        [halved] = session.run(resizing.halve([tf.constant(positions, tf.float32)], "half_pixel"))
    assert len(halved[0]) == 8
    np.testing.assert_allclose(np.diff(halved[0, 1:-1, 0, 0]), apart, rtol=1e-6)
    factor, _ = stretches(f"{16 * rows}x64", ICNET)
    assert factor == pytest.approx(32 / apart)


@pytest.mark.parametrize(
    ("crops", "windows", "architecture", "nearest"),
    [
        ("240x320", 0, ICNET, "192x320 and 256x320"),
        ("256x320", 0, ICNET, None),
        (480, 480, ICNET, None),
        (480, 512, ICNET, "448 and 512"),
        (40, 0, ICNET, "64"),
        (713, 0, Architecture("resnet_v1_50", 19), None),
        (41, 0, Architecture("resnet_v1_50", 19, resize_grid="legacy"), "40 and 48"),
        (41, 0, Architecture("resnet_v1_50", 19, resize_grid="align_corners"), None),
    ],
)
def test_warning_of_stretched_crops(caplog, crops, windows, architecture, nearest):
    warn_of_stretched_crops(crops, windows, architecture)
    assert len(caplog.messages) == (nearest is not None)
    if nearest:
        [line] = caplog.messages
        assert line.startswith(f"--train_image_size {crops}: ")
        assert f"--test_image_size {windows}: crops of {nearest} " in line


@pytest.mark.parametrize(
    ("grid", "output_stride", "size", "nearest"),
    [
        ("align_corners", 8, 480, (473, 481)),
        ("align_corners", 8, 713, None),
        ("align_corners", 16, 713, (705, 721)),
        ("half_pixel", 8, 480, None),
        ("legacy", 8, 480, None),
        ("align_corners", 8, "360x473", ("353x473", "361x473")),
        ("align_corners", 8, "473x12", ("473x9", "473x17")),
        ("align_corners", 16, "472x488", ("465x481", "481x497")),
        ("align_corners", 16, "12x30", (17, 33)),
        ("align_corners", 8, "361x481", None),
        ("half_pixel", 8, "360x480", None),
        ("align_corners", 8, 0, None),
    ],
)
def test_warning(caplog, grid, output_stride, size, nearest):
    architecture = Architecture("resnet_v1_50", 19, output_stride=output_stride, resize_grid=grid)
    warn_of_misaligned_size("test_image_size", size, architecture)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * (nearest is not None)
    if nearest:
        [line] = caplog.messages
        assert line.startswith(f"--test_image_size {size} does not suit --resize_grid align_corners")
        assert line.endswith(": the nearest are {} and {}".format(*nearest))
        assert f"{output_stride}n+1" in line
