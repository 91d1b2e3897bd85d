"""Tests colour changes and blur against float64 NumPy and SciPy."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from database.colors import color_jitter, gaussian_blur, jitter_colors
from tests.database import reference
from tests.database.pictures import SIZE, random_image


@pytest.mark.parametrize(
    "draws", [(0.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.9, 0.1, 0.3), (0.1, 0.999, 0.999), (0.999, 0.5, 0.999)]
)
@pytest.mark.parametrize("share", [None, 1.0, 0.5])
def test_jitter_colors_matches_its_formulas(draws, share):
    image = random_image().astype(np.float32)
    inside = np.random.default_rng(6).random(SIZE) < (1.0 if share is None else share)
    with tf.Graph().as_default(), tf.Session() as session:
        mask = None if share is None else tf.constant(inside)
        jittered = session.run(jitter_colors(tf.constant(image), mask, tf.constant(draws)))
    np.testing.assert_allclose(jittered, reference.jitter_colors(image, inside, draws), atol=2e-3)
    assert jittered.min() >= 0.0
    assert jittered.max() <= 255.0


def test_jitter_colors_where_no_pixel_counts():
    image = random_image().astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        nowhere = tf.zeros(SIZE, tf.bool)
        jittered = session.run(jitter_colors(tf.constant(image), nowhere, tf.constant([0.1, 0.9, 0.3])))
    assert np.isfinite(jittered).all()


def test_jitter_colors_in_the_middle_of_its_ranges_changes_nothing():
    image = random_image().astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        jittered = session.run(jitter_colors(tf.constant(image), tf.ones(SIZE, tf.bool), tf.constant([0.5] * 3)))
    np.testing.assert_allclose(jittered, image, atol=1e-3)


@pytest.mark.parametrize("sigma", [0.2, 0.8, 1.5])
@pytest.mark.parametrize("size", [SIZE, (3, 2), (1, 20)])
def test_gaussian_blur_is_scipys(sigma, size):
    image = random_image(size)
    with tf.Graph().as_default(), tf.Session() as session:
        blurred = session.run(gaussian_blur(tf.constant(image, tf.float32), tf.constant(sigma)))
    np.testing.assert_allclose(blurred, reference.gaussian_blur(image, sigma), atol=1e-3)


def torchvisions_jitter(image, inside, strength, draws):
    """The formulas of torchvision.transforms.functional for floats, one pixel at a time for hue."""
    image = image.astype(np.float64) / 255.0
    brightness, contrast, saturation = 1.0 + strength * (2.0 * np.array(draws[:3]) - 1.0)
    turn = strength / 4.0 * (2.0 * draws[3] - 1.0)
    image = np.clip(brightness * image, 0.0, 1.0)
    grey = (image @ [0.299, 0.587, 0.114])[inside].mean() if inside.any() else 0.0
    image = np.clip(contrast * image + (1.0 - contrast) * grey, 0.0, 1.0)
    greys = (image @ [0.299, 0.587, 0.114])[..., np.newaxis]
    image = np.clip(saturation * image + (1.0 - saturation) * greys, 0.0, 1.0)
    pixels = []
    for pixel in image.reshape(-1, 3):
        hue, whiteness, value = colorsys.rgb_to_hsv(*pixel)
        pixels.append(colorsys.hsv_to_rgb((hue + turn) % 1.0, whiteness, value))
    return 255.0 * np.reshape(pixels, image.shape)


@pytest.mark.parametrize("strength", [0.2, 0.5, 1.0])
@pytest.mark.parametrize(
    "draws", [(0.0, 0.0, 0.0, 0.0), (0.5, 0.5, 0.5, 0.5), (0.9, 0.1, 0.3, 0.8), (0.2, 0.9, 0.999, 0.1)]
)
@pytest.mark.parametrize("share", [None, 0.5, 0.0])
def test_color_jitter_is_torchvisions(strength, draws, share):
    image = random_image().astype(np.float32)
    inside = np.random.default_rng(6).random(SIZE) < (1.0 if share is None else share)
    with tf.Graph().as_default(), tf.Session() as session:
        mask = None if share is None else tf.constant(inside)
        jittered = session.run(color_jitter(tf.constant(image), mask, strength, tf.constant(draws)))
    np.testing.assert_allclose(jittered, torchvisions_jitter(image, inside, strength, draws), atol=5e-3)
    if draws == (0.5, 0.5, 0.5, 0.5):
        np.testing.assert_allclose(jittered, image, atol=5e-3)
