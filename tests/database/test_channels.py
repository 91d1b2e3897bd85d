"""Normalizing channels, and pictures of them."""

from __future__ import annotations

import numpy as np

from database.channels import USUAL_DEVIATION, Channels, picture

IMAGE = np.random.default_rng(0).normal(500, 200, (9, 7, 4)).astype(np.float32)
MEAN, DEVIATION = (510.0, -3.5, 0.0, 490.0), (190.0, 2.0, 0.25, 57.6)


def test_the_deviation_becomes_that_of_colours():
    channels = Channels(4, MEAN, DEVIATION)
    expected = (IMAGE.astype(np.float64) - MEAN) / DEVIATION * USUAL_DEVIATION
    found = channels.normalized(IMAGE)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(channels.restored(found), IMAGE, rtol=1e-4)


def test_without_mean_or_deviation():
    np.testing.assert_array_equal(Channels(4).normalized(IMAGE), IMAGE)
    only_mean = Channels(4, MEAN)
    np.testing.assert_allclose(only_mean.normalized(IMAGE), IMAGE - np.array(MEAN), rtol=1e-6)
    np.testing.assert_allclose(only_mean.restored(only_mean.normalized(IMAGE)), IMAGE, rtol=1e-5)


def test_picture_of_colours_is_the_image():
    colours = np.random.default_rng(1).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    assert picture(colours) is colours


def test_picture_stretches_the_first_three_channels():
    ramp = np.linspace(-100, 5000, 101).astype(np.float32).reshape(1, 101, 1)
    image = np.concatenate([ramp, 2 * ramp, -ramp, ramp], axis=2)
    shown = picture(image)
    assert shown.shape == (1, 101, 3)
    assert shown.dtype == np.uint8
    # 101 equally spaced numbers: the second and the 98th percentile are the third and the third last.
    expected = np.clip(np.rint((np.arange(101) - 2) / 96 * 255), 0, 255)
    np.testing.assert_array_equal(shown[0, :, 0], expected)
    np.testing.assert_array_equal(shown[0, :, 1], expected)
    np.testing.assert_array_equal(shown[0, :, 2], expected[::-1])


def test_picture_of_one_or_two_channels_is_grey():
    for channels in (1, 2):
        shown = picture(IMAGE[..., :channels])
        np.testing.assert_array_equal(shown, np.repeat(picture(IMAGE)[..., :1], 3, axis=2))


def test_picture_of_one_number_is_black():
    np.testing.assert_array_equal(picture(np.full((2, 3, 1), 7, np.float32)), np.zeros((2, 3, 3)))
