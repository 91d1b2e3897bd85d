"""Compares the dilated convolution with a float64 loop over taps, and its gradient with the transpose of that loop."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import dilated_convolution
from model.dilated_convolution import dilated_conv2d
from tests.model.sessions import run

CASES = [((2, 7, 9, 3), 3, 2), ((1, 5, 4, 2), 3, 4), ((2, 6, 6, 4), 5, 3), ((1, 1, 1, 2), 3, 2), ((2, 9, 5, 3), 1, 2)]


def _taps(x, kernel_size, rate):
    """Yields (row, column, input of each output pixel at that tap)."""
    border = rate * (kernel_size // 2)
    padded = np.pad(x, [(0, 0), (border, border), (border, border), (0, 0)])
    for row, column in itertools.product(range(kernel_size), repeat=2):
        yield row, column, padded[:, row * rate :, column * rate :][:, : x.shape[1], : x.shape[2]]


def _reference(x, kernel, dy, rate):
    """Computes y, dx and dkernel in float64."""
    size = kernel.shape[0]
    border = rate * (size // 2)
    y = np.zeros(dy.shape)
    dx = np.zeros((x.shape[0], x.shape[1] + 2 * border, x.shape[2] + 2 * border, x.shape[3]))
    dkernel = np.zeros(kernel.shape)
    for row, column, seen in _taps(x, size, rate):
        y += seen @ kernel[row, column]
        dkernel[row, column] = np.einsum("nhwc,nhwd->cd", seen, dy)
        shifted = dx[:, row * rate :, column * rate :][:, : x.shape[1], : x.shape[2]]
        shifted += dy @ kernel[row, column].T
    return y, dx[:, border:, border:][:, : x.shape[1], : x.shape[2]], dkernel


def _random_case(shape, kernel_size, rate):
    generator = np.random.default_rng(rate)
    x = generator.normal(size=shape)
    kernel = generator.normal(size=(kernel_size, kernel_size, shape[-1], 4))
    return x, kernel, generator.normal(size=(*shape[:3], 4))


@pytest.mark.parametrize(("shape", "kernel_size", "rate"), CASES)
@pytest.mark.parametrize("known", [True, False])
def test_output_and_gradients(shape, kernel_size, rate, known):
    x, kernel, dy = _random_case(shape, kernel_size, rate)
    with tf.Graph().as_default():
        fed = tf.placeholder(tf.float64, shape if known else [None, None, None, shape[-1]])
        weights = tf.constant(kernel)
        y = dilated_conv2d(fed, weights, rate)
        results = run([y, *tf.gradients(y, [fed, weights], tf.constant(dy))], {fed: x})
    for result, expected in zip(results, _reference(x, kernel, dy, rate), strict=True):
        np.testing.assert_allclose(result, expected, atol=1e-12 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("own_kernels", [True, False])
@pytest.mark.parametrize(("dtype", "epsilon"), [("float32", 2**-23), ("float16", 2**-10), ("bfloat16", 2**-7)])
def test_every_precision_has_a_gradient(half_precision, monkeypatch, dtype, epsilon, own_kernels):
    if not own_kernels:
        monkeypatch.setattr(dilated_convolution, "_cpu_has_float32_kernels", lambda: False)
    x, kernel, dy = (array.astype(np.float32) for array in _random_case((2, 8, 8, 6), 3, 2))
    with tf.Graph().as_default():
        inputs = [tf.cast(tf.constant(array), dtype) for array in (x, kernel, dy)]
        y = dilated_conv2d(*inputs[:2], 2)
        gradients = tf.gradients(y, inputs[:2], inputs[2])
        assert {tensor.dtype.base_dtype.name for tensor in (y, *gradients)} == {dtype}
        results = run([tf.cast(tensor, tf.float32) for tensor in (y, *gradients)])
    for result, expected in zip(results, _reference(x, kernel, dy, 2), strict=True):
        # Inputs are rounded once. Some CPUs accumulate the sum, of at most 128 terms, in the narrow format.
        np.testing.assert_allclose(result, expected, atol=8 * epsilon * np.abs(expected).max())


def _gradient_kernels(device, dtype):
    with tf.Graph().as_default() as graph, tf.device(device):
        x = tf.placeholder(dtype, [1, 4, 4, 2])
        tf.gradients(dilated_conv2d(x, tf.ones([3, 3, 2, 2], dtype), 2), x)
        return [op.type for op in graph.get_operations() if op.type.startswith("Conv2DBackprop")]


@pytest.mark.parametrize("cpu_has_kernels", [True, False])
def test_tensorflows_own_gradient_is_kept_where_it_runs(monkeypatch, cpu_has_kernels):
    monkeypatch.setattr(dilated_convolution, "_cpu_has_float32_kernels", lambda: cpu_has_kernels)
    own = ["Conv2DBackpropInput", "Conv2DBackpropFilter"]
    assert _gradient_kernels("/device:GPU:0", tf.float32) == own
    assert _gradient_kernels("/device:GPU:0", tf.float16) == own
    assert _gradient_kernels("/device:CPU:0", tf.float32) == (own if cpu_has_kernels else [])
    assert _gradient_kernels("/device:CPU:0", tf.bfloat16) == []


def test_what_a_cpu_lacks_is_found_out(monkeypatch):
    def refuse(self, fetches):
        raise tf.errors.UnimplementedError(None, None, "dilation rates larger than 1")

    monkeypatch.setattr(tf.Session, "run", refuse)
    assert dilated_convolution._cpu_has_float32_kernels.__wrapped__() is False
    monkeypatch.setattr(tf.Session, "run", lambda self, fetches: None)
    assert dilated_convolution._cpu_has_float32_kernels.__wrapped__() is True
