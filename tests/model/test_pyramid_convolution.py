"""Compares the layer with a convolution of the concatenated levels, and with float64 NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import tf_slim as slim

from model import resizing
from model import utils_mg as layers
from model.pyramid_convolution import convolve_upsampled, interpolation_matrix, pyramid_conv2d_batch_norm
from tests.differences import relative_difference
from tests.model import reference
from tests.model.sessions import device_of, open_session, run, towers

BINS, DEPTH, FILTERS = (6, 3, 2, 1), 4, 5
GRIDS = ("half_pixel", "align_corners", "legacy")
SIZES = [(2, 7, 8), (1, 5, 9)]


def _arrays(sizes=SIZES, channels=3):
    rng = np.random.default_rng(len(sizes))
    features = [rng.normal(size=(*size, channels)).astype(np.float32) for size in sizes]
    levels = [[rng.normal(size=(size[0], b, b, DEPTH)).astype(np.float32) for size in sizes] for b in BINS]
    return features, levels


def _concatenated(features, levels, grid, tower):
    size = features[tower].shape[1:3]
    return [reference.resize_bilinear(level[tower], *size, grid) for level in levels]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("size", [(2, 7, 8), (1, 1, 1), (1, 2, 30), (1, 12, 12)])
@pytest.mark.parametrize("kernel_size", [3, 1])
def test_equals_float64_of_the_upsampled_levels(grid, size, kernel_size, record_property):
    features, levels = _arrays([size])
    rng = np.random.default_rng(3)
    kernels = [rng.normal(size=(kernel_size, kernel_size, DEPTH, FILTERS)).astype(np.float32) for _ in BINS]
    with tf.Graph().as_default():
        weights = [tf.constant(kernel) for kernel in kernels]
        levels_of_tower = [[tf.constant(level[0])] for level in levels]
        [actual] = run(convolve_upsampled(levels_of_tower, weights, [tf.constant(features[0])], grid))
    upsampled = np.concatenate(_concatenated(features, levels, grid, 0), axis=-1)
    expected = reference.conv2d(upsampled, np.concatenate(kernels, axis=2))
    record_property("output", relative_difference(actual, expected))
    assert relative_difference(actual, expected) < 1e-5


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("known", [True, False])
def test_interpolation_matrix_is_that_of_tensorflows_kernel(grid, known):
    for size in (1, 2, 5, 30, 61, 102):
        for bins in BINS:
            with tf.Graph().as_default():
                basis = tf.constant(np.eye(bins, dtype=np.float32)[np.newaxis, :, np.newaxis])
                [expected] = resizing.resize_bilinear([basis], [tf.zeros([1, size, 1, 1])], grid)
                matrix = interpolation_matrix(size if known else tf.constant(size), bins, grid)
                actual, expected = run([matrix, expected[0, :, 0]])
            np.testing.assert_allclose(actual, expected, atol=2e-6)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("size", [1, 2, 5])
def test_interpolation_of_unknown_sizes_after_rewriting(grid, size):
    """TensorFlow reorders sums with constants, so no sum may lose a small number that a quotient needs."""
    with tf.Graph().as_default(), tf.Session() as session:
        fed = tf.placeholder(tf.int32, [])
        matrices = session.run([interpolation_matrix(fed, bins, grid) for bins in BINS], {fed: size})
        for matrix, bins in zip(matrices, BINS, strict=True):
            expected = reference.resize_bilinear(np.eye(bins)[np.newaxis, :, np.newaxis], size, 1, grid)
            np.testing.assert_allclose(matrix, expected[0, :, 0], atol=2e-6)


def _layer_and_gradients(build, features, levels, known):
    """Computes outputs and gradients of features, levels and variables in a new graph."""
    with tf.Graph().as_default():
        xs, feed = towers(features, known=known)
        ys = []
        for level in levels:
            tensors, more = towers(level, known=True)
            ys.append(tensors)
            feed |= more
        outputs = build(xs, ys)
        rng = np.random.default_rng(4)
        weights = [rng.normal(size=(*x.shape[:3], FILTERS)).astype(np.float32) for x in features]
        loss = tf.add_n([tf.reduce_sum(y * w) for y, w in zip(outputs, weights, strict=True)])
        variables = tf.trainable_variables()
        inputs = [*xs, *(y for level in ys for y in level), *variables]
        assert [device_of(y) for y in outputs] == list(range(len(features)))
        return [v.op.name for v in variables], run([outputs, tf.gradients(loss, inputs)], feed)


@pytest.mark.parametrize("known", [True, False], ids=["known sizes", "unknown sizes"])
@pytest.mark.parametrize(("grid", "joined"), [*[(grid, True) for grid in GRIDS], ("half_pixel", False)])
def test_outputs_and_gradients_are_those_of_the_plain_layer(grid, joined, known):
    """Both layers have the same variable names and initial values."""

    def plain(xs, levels):
        upsampled = [resizing.resize_bilinear(level, xs, grid) for level in levels]
        together = layers.map_towers(lambda *parts: tf.concat(parts, -1), xs, *upsampled)
        return layers.conv2d_batch_norm(together, FILTERS, 3, scope="head")

    def ours(xs, levels):
        return pyramid_conv2d_batch_norm(xs, levels, FILTERS, grid, joined=joined, scope="head")

    arrays = _arrays()
    expected_names, expected = _layer_and_gradients(plain, *arrays, known)
    names, actual = _layer_and_gradients(ours, *arrays, known)
    assert names == expected_names
    for ours_, theirs in zip([*actual[0], *actual[1]], [*expected[0], *expected[1]], strict=True):
        assert relative_difference(ours_, theirs) < 1e-5


def test_folded_layer_takes_constants_and_leaves_no_split():
    features, levels = _arrays([(1, 6, 7)])
    kernel = np.random.default_rng(5).normal(size=(3, 3, 3 + 4 * DEPTH, FILTERS)).astype(np.float32)
    biases = np.arange(FILTERS, dtype=np.float32)

    def constant(getter, name, *arguments, **options):
        return tf.constant(kernel if name.endswith("weights") else biases)

    with tf.Graph().as_default() as graph:
        xs, feed = towers(features)
        with (
            tf.variable_scope("net", custom_getter=constant),
            slim.arg_scope([pyramid_conv2d_batch_norm], folded=True),
        ):
            outputs = pyramid_conv2d_batch_norm(xs, [[tf.constant(x[0])] for x in levels], FILTERS, "half_pixel")
        assert not [op for op in graph.get_operations() if op.type.startswith("Split")]
        assert not tf.global_variables()
        (actual,) = run(outputs, feed)
    together = np.concatenate([features[0], *_concatenated(features, levels, "half_pixel", 0)], axis=-1)
    expected = np.maximum(reference.conv2d(together, kernel) + biases, 0)
    assert relative_difference(actual, expected) < 1e-5


@pytest.mark.usefixtures("half_precision")
@pytest.mark.parametrize(("dtype", "spacing"), [(tf.bfloat16, 2.0**-8), (tf.float16, 2.0**-11)])
def test_half_precision(dtype, spacing):
    features, levels = _arrays([(1, 7, 8)])
    outputs = []
    for precision in (tf.float32, dtype):
        with tf.Graph().as_default():
            xs = [tf.cast(tf.constant(features[0]), precision)]
            ys = [[tf.cast(tf.constant(level[0]), precision)] for level in levels]
            with slim.arg_scope([layers.batch_norm], is_training=False):
                (y,) = pyramid_conv2d_batch_norm(xs, ys, FILTERS, "half_pixel", scope="head")
            assert y.dtype == precision
            with open_session() as session:
                session.run(tf.global_variables_initializer())
                outputs.append(session.run(tf.cast(y, tf.float32)))
    np.testing.assert_allclose(outputs[1], outputs[0], atol=16 * spacing * np.abs(outputs[0]).max())
