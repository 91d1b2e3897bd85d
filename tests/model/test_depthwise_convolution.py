"""Depthwise convolutions: value and gradients against a float64 sum over the taps of the kernel."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model.convolution import convolve
from tests.differences import relative_difference
from tests.model.sessions import random_arrays, run, towers


def _expected(x, kernel, dy, stride, rate):
    """Computes value, input gradient and filter gradient in float64, tap by tap."""
    border = rate * (kernel.shape[0] // 2)
    padded = np.pad(x.astype(np.float64), [(0, 0), (border, border), (border, border), (0, 0)])
    kernel, dy = kernel[:, :, 0].astype(np.float64), dy.astype(np.float64)
    y, d_padded, d_kernel = np.zeros_like(dy), np.zeros_like(padded), np.zeros_like(kernel)
    for row, column in np.ndindex(*kernel.shape[:2]):
        rows = slice(row * rate, row * rate + x.shape[1], stride)
        seen = np.s_[:, rows, column * rate : column * rate + x.shape[2] : stride]
        y += padded[seen] * kernel[row, column]
        d_padded[seen] += dy * kernel[row, column]
        d_kernel[row, column] = np.einsum("nhwc,nhwc->c", padded[seen], dy)
    dx = d_padded[:, border : border + x.shape[1], border : border + x.shape[2]]
    return [y, dx, d_kernel[:, :, np.newaxis]]


@pytest.mark.parametrize("known", [True, False], ids=["known sizes", "unknown sizes"])
@pytest.mark.parametrize(("stride", "rate"), [(1, 1), (2, 1), (1, 2), (1, 4)])
def test_equals_float64(stride, rate, known):
    height, width, channels = 9, 7, 5
    x, kernel = random_arrays((2, height, width, channels), (3, 3, 1, channels))
    (dy,) = random_arrays((2, -(-height // stride), -(-width // stride), channels))
    with tf.Graph().as_default():
        [image], feed = towers([x], known=known)
        weights = tf.constant(kernel)
        y = convolve(image, weights, stride, rate)
        assert y.shape.as_list()[-1] == channels
        results = run([y, *tf.gradients(y, [image, weights], tf.constant(dy))], feed)
    for actual, answer in zip(results, _expected(x, kernel, dy, stride, rate), strict=True):
        assert relative_difference(actual, answer) < 2e-6


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
@pytest.mark.parametrize(("stride", "rate"), [(1, 1), (2, 1), (1, 2)])
def test_half_precision_has_a_gradient(dtype, stride, rate):
    x, kernel = random_arrays((1, 8, 8, 4), (3, 3, 1, 4))
    with tf.Graph().as_default():
        images, weights = tf.constant(x, dtype), tf.constant(kernel, dtype)
        y = convolve(images, weights, stride, rate)
        assert y.dtype == dtype
        results = run([tf.cast(value, tf.float32) for value in (y, *tf.gradients(y, [images, weights]))], {})
    expected = _expected(x, kernel, np.ones_like(results[0]), stride, rate)
    for actual, answer in zip(results, expected, strict=True):
        assert relative_difference(actual, answer) < 0.02
