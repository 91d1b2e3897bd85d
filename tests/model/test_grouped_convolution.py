"""Grouped convolutions: value and gradients against a float64 convolution per group."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model.grouped_convolution import grouped_conv2d
from tests.differences import relative_difference
from tests.model import reference
from tests.model.sessions import random_arrays, run, towers


def _split(array: np.ndarray, groups: int) -> list[np.ndarray]:
    return np.split(array, groups, axis=-1)


def _expected(x, kernel, dy, groups, rate):
    """Computes value, input gradient and filter gradient in float64, tap by tap, with one convolution per group."""
    border = rate * (kernel.shape[0] // 2)
    ys, dxs, d_kernels = [], [], []
    for part, weights, dy_part in zip(_split(x, groups), _split(kernel, groups), _split(dy, groups), strict=True):
        part, weights, dy_part = (array.astype(np.float64) for array in (part, weights, dy_part))
        ys.append(reference.conv2d(part, weights, 1, rate))
        padded = np.pad(part, [(0, 0), (border, border), (border, border), (0, 0)])
        d_padded, d_kernel = np.zeros_like(padded), np.zeros_like(weights)
        height, width = part.shape[1:3]
        for row, column in np.ndindex(*kernel.shape[:2]):
            seen = np.s_[:, row * rate : row * rate + height, column * rate : column * rate + width]
            d_kernel[row, column] = np.einsum("nhwc,nhwf->cf", padded[seen], dy_part)
            d_padded[seen] += np.einsum("nhwf,cf->nhwc", dy_part, weights[row, column])
        dxs.append(d_padded[:, border : border + height, border : border + width])
        d_kernels.append(d_kernel)
    return [np.concatenate(parts, axis=-1) for parts in (ys, dxs, d_kernels)]


@pytest.mark.parametrize("known", [True, False], ids=["known sizes", "unknown sizes"])
@pytest.mark.parametrize("rate", [1, 2, 4])
@pytest.mark.parametrize(("groups", "channels", "filters", "kernel_size"), [(4, 8, 12, 3), (2, 6, 2, 1), (5, 5, 5, 3)])
def test_equals_float64(groups, channels, filters, kernel_size, rate, known):
    x, dy = random_arrays((2, 9, 7, channels), (2, 9, 7, filters))
    (kernel,) = random_arrays((kernel_size, kernel_size, channels // groups, filters))
    with tf.Graph().as_default():
        [image], feed = towers([x], known=known)
        weights = tf.constant(kernel)
        y = grouped_conv2d(image, weights, rate)
        assert y.shape.as_list()[-1] == filters
        results = run([y, *tf.gradients(y, [image, weights], tf.constant(dy))], feed)
    for actual, answer in zip(results, _expected(x, kernel, dy, groups, rate), strict=True):
        assert relative_difference(actual, answer) < 2e-6
