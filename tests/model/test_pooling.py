"""Pooling against float64 and TensorFlow's own kernels."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import pooling, resizing
from model import utils_mg as layers
from tests.model import reference
from tests.model.sessions import random_arrays, run, towers


@pytest.mark.parametrize("known", [True, False], ids=["known sizes", "unknown sizes"])
@pytest.mark.parametrize("shape", [(2, 12, 18), (1, 13, 7), (2, 4, 5), (1, 1, 2)])
@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_adaptive_avg_pool_equals_float64(bins, shape, known):
    arrays = random_arrays((*shape, 3))
    with tf.Graph().as_default():
        xs, feed = towers(arrays, known=known)
        pooled = pooling.adaptive_avg_pool(xs, [bins])[0]
        assert pooled[0].shape.as_list() == [shape[0] if known else None, bins, bins, 3]
        (y,) = run(pooled, feed)
    np.testing.assert_allclose(y, reference.adaptive_avg_pool(arrays[0], bins), atol=1e-6)


@pytest.mark.parametrize(("bins", "height", "width"), [(6, 12, 18), (3, 9, 3), (1, 7, 5)])
def test_adaptive_avg_pool_is_plain_pooling_where_the_size_divides(bins, height, width):
    arrays = random_arrays((2, height, width, 3))
    with tf.Graph().as_default():
        xs, feed = towers(arrays)
        window = [height // bins, width // bins]
        pooled, plain = (
            pooling.adaptive_avg_pool(xs, [bins])[0][0],
            tf.nn.avg_pool2d(xs[0], window, window, "VALID"),
        )
        # With gradients away from zero, their sum shows pixels that are missed or counted twice.
        results = run([pooled, plain, tf.gradients(pooled**2, xs), tf.gradients(plain**2, xs)], feed)
    np.testing.assert_allclose(results[0], results[1], atol=1e-6)
    np.testing.assert_allclose(results[2], results[3], atol=1e-6)


@pytest.mark.usefixtures("half_precision")
@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_pooling_and_resizing_keep_the_dtype_and_sum_in_float32(dtype):
    # The sum of 64 x 64 values of 100 exceeds the float16 maximum, 65504.
    arrays = [np.full((1, 64, 64, 2), 100, np.float32)]
    with tf.Graph().as_default():
        xs, feed = towers(arrays, dtype)
        pooled = pooling.adaptive_avg_pool(xs, [1])[0]
        resized = resizing.resize_bilinear(pooled, xs, "half_pixel")
        assert pooled[0].dtype == resized[0].dtype == dtype
        for y in run([layers.cast(pooled, tf.float32), layers.cast(resized, tf.float32)], feed):
            np.testing.assert_array_equal(y[0], np.full_like(y[0], 100))


@pytest.mark.parametrize(("height", "width"), [(8, 9), (5, 4), (1, 2)])
def test_max_pool_with_symmetric_padding(height, width):
    arrays = random_arrays((2, height, width, 3))
    with tf.Graph().as_default():
        xs, feed = towers(arrays, known=False)
        (y,) = run(pooling.max_pool(xs, 3, 2, "symmetric"), feed)
    padded = np.pad(arrays[0], [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
    np.testing.assert_array_equal(y, windows.max(axis=(-2, -1)))


@pytest.mark.parametrize(("height", "width"), [(8, 9), (5, 4)])
def test_max_pool_equals_float64(height, width):
    arrays = random_arrays((2, height, width, 3))
    with tf.Graph().as_default():
        xs, feed = towers(arrays)
        (y,) = run(pooling.max_pool(xs, 3, 2), feed)
    np.testing.assert_array_equal(y, reference.max_pool(arrays[0], 3, 2))
