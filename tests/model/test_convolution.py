"""Tests the convolution of one tower, and compares its half-precision gradient with TensorFlow's and with float64."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model.convolution import convolve
from tests.differences import relative_difference
from tests.model import reference
from tests.model.sessions import run

# Input, kernel size, filters, stride: 1x1, 3x3, and 3x3 with the channels in three parts and in parts of unequal size.
CASES = [
    ((2, 7, 6, 5), 1, 4, 1),
    ((2, 7, 6, 5), 1, 4, 2),
    ((2, 7, 6, 5), 3, 4, 1),
    ((2, 8, 7, 5), 3, 4, 2),
    ((1, 3, 4, 1536), 3, 2, 1),
    ((1, 4, 4, 1100), 3, 2, 2),
]


def _arrays(shape, kernel_size, filters, stride):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)
    kernel = rng.normal(size=(kernel_size, kernel_size, shape[-1], filters)).astype(np.float32) / shape[-1] ** 0.5
    output = (shape[0], -(-shape[1] // stride), -(-shape[2] // stride), filters)
    return x, kernel, rng.normal(size=output).astype(np.float32)


def _output_and_gradients(arrays, stride, dtype, device="/device:CPU:0", known=True):
    with tf.Graph().as_default(), tf.device(device):
        x, kernel, dy = arrays
        fed = tf.placeholder(tf.float32, x.shape if known else [None, None, None, x.shape[-1]])
        inputs = [tf.cast(fed, dtype), tf.cast(tf.constant(kernel), dtype)]
        y = convolve(*inputs, stride)
        gradients = tf.gradients(y, inputs, tf.cast(tf.constant(dy), dtype))
        assert {tensor.dtype for tensor in (y, *gradients)} == {dtype}
        return run([tf.cast(tensor, tf.float32) for tensor in (y, *gradients)], {fed: x})


@pytest.mark.usefixtures("half_precision")
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("dtype", "spacing"), [(tf.bfloat16, 2.0**-8), (tf.float16, 2.0**-11)])
def test_half_precision_is_float32_rounded(case, known, dtype, spacing):
    arrays = [tf.dtypes.as_dtype(dtype).as_numpy_dtype(array).astype(np.float32) for array in _arrays(*case)]
    stride = case[-1]
    expected = _output_and_gradients(arrays, stride, tf.float32)
    actual = _output_and_gradients(arrays, stride, dtype, known=known)
    for a, e in zip(actual, expected, strict=True):
        # Some CPUs accumulate in the narrow format.
        np.testing.assert_allclose(a, e, atol=16 * spacing * np.abs(e).max())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_output_equals_float64(case):
    x, kernel, dy = _arrays(*case)
    y, *_ = _output_and_gradients((x, kernel, dy), case[-1], tf.float32)
    assert relative_difference(y, reference.conv2d(x, kernel, case[-1])) < 1e-5


def _kernels_of_gradient(case, dtype, device):
    with tf.Graph().as_default() as graph, tf.device(device):
        x, kernel, _ = _arrays(*case)
        inputs = [tf.placeholder(dtype, x.shape), tf.placeholder(dtype, kernel.shape)]
        tf.gradients(convolve(*inputs, case[-1]), inputs)
        return [op.type for op in graph.get_operations() if op.type in ("Conv2DBackpropFilter", "MatMul")]


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_only_half_precision_on_cpus_has_a_separate_gradient(dtype):
    one_by_one, few, many = CASES[0], CASES[2], CASES[4]
    own = ["Conv2DBackpropFilter"]
    for case in (one_by_one, few, many):
        assert _kernels_of_gradient(case, dtype, "/device:GPU:0") == own
        assert _kernels_of_gradient(case, tf.float32, "/device:CPU:0") == own
    assert _kernels_of_gradient(one_by_one, dtype, "/device:CPU:0") == ["MatMul"]
    assert _kernels_of_gradient(few, dtype, "/device:CPU:0") == own
    assert _kernels_of_gradient(many, dtype, "/device:CPU:0") == 3 * own
