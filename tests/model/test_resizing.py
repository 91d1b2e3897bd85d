"""Compares resizing with float64 NumPy and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from scipy import ndimage

from model import resizing
from tests.model import reference
from tests.model.sessions import random_arrays, run, towers


@pytest.mark.parametrize("known", [True, False], ids=["known sizes", "unknown sizes"])
@pytest.mark.parametrize("grid", ["half_pixel", "align_corners", "legacy"])
@pytest.mark.parametrize(
    ("size", "new_size"), [((5, 7), (17, 25)), ((9, 6), (4, 6)), ((1, 1), (3, 2)), ((3, 3), (1, 1))]
)
def test_resize_equals_float64(size, new_size, grid, known):
    (x, like) = random_arrays((2, *size, 3), (2, *new_size, 1))
    with tf.Graph().as_default():
        xs, feed = towers([x], known=known)
        targets, more = towers([like], known=known)
        resized = resizing.resize_bilinear(xs, targets, grid)
        assert resized[0].shape.as_list()[1:] == ([*new_size, 3] if known else [None, None, 3])
        (y,) = run(resized, feed | more)
    np.testing.assert_allclose(y, reference.resize_bilinear(x, *new_size, grid), atol=1e-5)


@pytest.mark.parametrize("known", [True, False], ids=["known sizes", "unknown sizes"])
@pytest.mark.parametrize(
    ("grid", "position"),
    [
        ("half_pixel", lambda i, old, new: np.floor((i + 0.5) * old / new)),
        ("align_corners", lambda i, old, new: np.round(i * (old - 1) / (new - 1))),
        ("legacy", lambda i, old, new: np.floor(i * old / new)),
    ],
)
def test_resize_nearest_takes_the_pixels_of_the_grid(grid, position, known):
    labels = np.random.default_rng(0).integers(0, 256, (2, 33, 25)).astype(np.int32)
    like = np.zeros((2, 5, 4, 1), np.float32)
    with tf.Graph().as_default():
        (xs, feed), (targets, more) = towers([labels]), towers([like], known=known)
        resized = resizing.resize_nearest(xs, targets, grid)
        assert resized[0].shape.as_list() == ([2, 5, 4] if known else [2, None, None])
        assert resized[0].dtype == tf.int32
        (y,) = run(resized, feed | more)
    rows, columns = (position(np.arange(new), old, new).astype(int) for old, new in ((33, 5), (25, 4)))
    np.testing.assert_array_equal(y, labels[:, rows][:, :, columns])


@pytest.mark.parametrize("known", [True, False], ids=["known sizes", "unknown sizes"])
@pytest.mark.parametrize("grid", ["half_pixel", "align_corners", "legacy"])
def test_halve_equals_float64(grid, known):
    (x,) = random_arrays((2, 7, 10, 3))
    with tf.Graph().as_default():
        xs, feed = towers([x], known=known)
        halves = resizing.halve(xs, grid)
        assert halves[0].shape.as_list() == ([2, 4, 5, 3] if known else [None, None, None, 3])
        (y,) = run(halves, feed)
    np.testing.assert_allclose(y, reference.resize_bilinear(x, 4, 5, grid), atol=1e-5)


def test_half_of_an_even_size_is_the_mean_of_squares():
    (x,) = random_arrays((1, 6, 8, 2))
    with tf.Graph().as_default():
        xs, feed = towers([x])
        (y,) = run(resizing.halve(xs, "half_pixel"), feed)
    np.testing.assert_allclose(y, x.reshape(1, 3, 2, 4, 2, 2).mean(axis=(2, 4)), atol=1e-6)


def test_half_pixel_grid_equals_scipy():
    (x, like) = random_arrays((1, 5, 6, 1), (1, 13, 9, 1))
    with tf.Graph().as_default():
        xs, feed = towers([x])
        targets, more = towers([like])
        (y,) = run(resizing.resize_bilinear(xs, targets, "half_pixel"), feed | more)
    rows, columns = (np.arange(13) + 0.5) * 5 / 13 - 0.5, (np.arange(9) + 0.5) * 6 / 9 - 0.5
    expected = ndimage.map_coordinates(
        x[0, :, :, 0].astype(np.float64), np.meshgrid(rows, columns, indexing="ij"), order=1, mode="nearest"
    )
    np.testing.assert_allclose(y[0, :, :, 0], expected, atol=1e-6)


def test_align_corners_grid_keeps_the_corners():
    (x, like) = random_arrays((1, 4, 5, 2), (1, 11, 8, 1))
    with tf.Graph().as_default():
        xs, feed = towers([x])
        targets, more = towers([like])
        (y,) = run(resizing.resize_bilinear(xs, targets, "align_corners"), feed | more)
    np.testing.assert_allclose(y[:, [0, 0, -1, -1], [0, -1, 0, -1]], x[:, [0, 0, -1, -1], [0, -1, 0, -1]], atol=1e-6)
