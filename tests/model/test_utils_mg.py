"""Compares layers over tower lists with float64 NumPy, SciPy and algebra."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from scipy import ndimage

from model import pooling, resizing
from model import utils_mg as layers
from tests.model import reference
from tests.model.sessions import device_of, open_session, random_arrays, run, towers


def _convolve(arrays, known=True, **arguments):
    """Returns the outputs of a convolution, and its weights and biases by name."""
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        xs, feed = towers(arrays, known=known)
        return run(
            [layers.conv2d(xs, scope="layer", **arguments), {v.op.name: v for v in tf.global_variables()}],
            feed,
        )


@pytest.mark.parametrize("known", [True, False], ids=["known sizes", "unknown sizes"])
@pytest.mark.parametrize(
    ("kernel_size", "stride", "rate"),
    [(1, 1, 1), (3, 1, 1), (3, 1, 4), (1, 2, 1), (3, 2, 1), (7, 2, 1)],
)
def test_conv2d_equals_float64(kernel_size, stride, rate, known):
    arrays = random_arrays((2, 9, 12, 3), (1, 8, 7, 3))
    ys, variables = _convolve(arrays, known, filters=4, kernel_size=kernel_size, stride=stride, rate=rate)
    assert list(variables) == ["layer/weights"]
    weights = variables["layer/weights"]
    assert weights.shape == (kernel_size, kernel_size, 3, 4)
    for x, y in zip(arrays, ys, strict=True):
        np.testing.assert_allclose(y, reference.conv2d(x, weights, stride, rate), atol=2e-5)


@pytest.mark.parametrize("size", [8, 9])
def test_reference_convolution_equals_scipy(size):
    x, kernel = random_arrays((1, size, size, 2), (3, 3, 2, 1))
    expected = sum(
        ndimage.correlate(x[0, :, :, c].astype(np.float64), kernel[:, :, c, 0], mode="constant") for c in range(2)
    )
    np.testing.assert_allclose(reference.conv2d(x, kernel)[0, :, :, 0], expected, atol=1e-6)


@pytest.mark.parametrize("kernel_size", [1, 3, 7])
@pytest.mark.parametrize("size", [8, 9])
def test_strided_output_is_subsampled_dense_output(size, kernel_size):
    arrays = random_arrays((2, size, size + 3, 3))
    with tf.Graph().as_default():
        xs, feed = towers(arrays)
        strided = layers.conv2d(xs, 4, kernel_size, 2, scope="layer")
        with tf.variable_scope(tf.get_variable_scope(), reuse=True):
            dense = pooling.subsample(layers.conv2d(xs, 4, kernel_size, 1, scope="layer"), 2)
        (strided,), (dense,) = run([strided, dense], feed)
    np.testing.assert_allclose(strided, dense, atol=1e-5)


def test_a_stride_together_with_a_dilation_is_refused():
    with tf.Graph().as_default():
        xs, _ = towers(random_arrays((1, 8, 8, 3)))
        words = "^block/layer: stride 2 and rate 3 .*: set one of them to 1"
        with tf.variable_scope("block"), pytest.raises(ValueError, match=words):
            layers.conv2d(xs, 4, 3, 2, 3, scope="layer")


def test_biases_are_added_after_the_convolution():
    arrays = random_arrays((1, 4, 5, 3))
    with tf.Graph().as_default():
        xs, feed = towers(arrays)
        ys = layers.conv2d(xs, 2, 1, use_bias=True, scope="layer")
        weights, biases = tf.global_variables()
        assert [v.op.name for v in (weights, biases)] == ["layer/weights", "layer/biases"]
        with open_session() as session:
            session.run(tf.global_variables_initializer())
            np.testing.assert_array_equal(session.run(biases), [0, 0])
            biases.load([3.0, -1.0], session)
            (y,), kernel = session.run([ys, weights], feed)
    np.testing.assert_allclose(y, reference.conv2d(arrays[0], kernel) + [3, -1], atol=1e-5)


def test_weights_are_created_once_and_layers_stay_on_their_device():
    arrays = random_arrays((1, 4, 4, 3), (2, 5, 5, 3), (1, 6, 4, 3))
    with tf.Graph().as_default():
        xs, _ = towers(arrays)
        ys = layers.conv2d_batch_norm(xs, 4, 3, 2, scope="layer")
        pooled = pooling.adaptive_avg_pool(pooling.max_pool(ys, 3, 2), [2])[0]
        resized = resizing.resize_bilinear(layers.add(pooled, pooled), xs, "half_pixel")
        dropped = layers.dropout(layers.cast(resized, tf.float32), 0.1, tf.constant([1, 2]))
        names = {v.op.name for v in tf.global_variables()}
        for outputs in (ys, pooled, resized, dropped, pooling.subsample(resized, 2)):
            assert [device_of(y) for y in outputs] == [0, 1, 2]
        assert [device_of(op.outputs[0]) for op in tf.get_default_graph().get_operations() if op.type == "Conv2D"] == [
            0,
            1,
            2,
        ]
    batch_norm = {f"layer/BatchNorm/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")}
    assert names == {"layer/weights"} | batch_norm


@pytest.mark.parametrize("has_activation", [True, False])
def test_conv2d_batch_norm(has_activation):
    arrays = random_arrays((2, 5, 6, 3), (1, 4, 4, 3))
    with tf.Graph().as_default():
        xs, feed = towers(arrays)
        ys = layers.conv2d_batch_norm(xs, 4, 3, has_activation=has_activation, scope="layer")
        ys, weights = run([ys, tf.global_variables()[0]], feed)
    expected = reference.batch_norm([reference.conv2d(x, weights) for x in arrays], np.ones(4), np.zeros(4))
    for y, answer in zip(ys, expected, strict=True):
        np.testing.assert_allclose(y, np.maximum(answer, 0) if has_activation else answer, atol=2e-5)


@pytest.mark.parametrize("in_place", [False, True])
def test_each_tower_normalized_alone(in_place):
    """Outputs have the moments of their tower; the running averages move by those of the first."""
    arrays = random_arrays((2, 5, 4, 3), (3, 4, 6, 3))
    added = [x[..., ::-1] for x in arrays]
    with tf.Graph().as_default():
        (xs, feed), (shortcut, more) = towers(arrays), towers(added)
        ending = layers.Ending(shortcut, "leaky_relu")
        ys = layers.batch_norm(xs, synchronized=False, followed_by=ending if in_place else None)
        ys = ys if in_place else ending.apply(ys)
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            averages = {v.op.name: v.read_value() for v in tf.model_variables()}
        ys, averages = run([ys, averages], {**feed, **more})
    for x, shift, y in zip(arrays, added, ys, strict=True):
        expected = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + layers.BATCH_NORM_EPSILON) + shift
        np.testing.assert_allclose(y, np.maximum(expected, 0.01 * expected), atol=1e-5)
    np.testing.assert_allclose(averages["BatchNorm/moving_mean"], 0.1 * arrays[0].mean((0, 1, 2)), atol=1e-6)
    expected = 0.9 + 0.1 * arrays[0].var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(averages["BatchNorm/moving_variance"], expected, rtol=1e-5)


def _initial_weights(graph_seed, num_towers):
    with tf.Graph().as_default():
        tf.set_random_seed(graph_seed)
        xs, _ = towers(random_arrays((1, 3, 3, 2)) * num_towers)
        for scope in ("first", "second"):
            xs = layers.conv2d(xs, 2, 3, scope=scope)
        return run(tf.global_variables())


def test_initial_weights_depend_only_on_seed_and_name():
    one, three, other = _initial_weights(5, 1), _initial_weights(5, 3), _initial_weights(6, 1)
    np.testing.assert_array_equal(one, three)
    assert not np.array_equal(one[0], one[1])
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("initializer", "deviation", "is_uniform"),
    [("he", (2 / (9 * 64)) ** 0.5, False), ("xavier", (2 / (9 * (64 + 128))) ** 0.5, True)],
)
def test_initializers(initializer, deviation, is_uniform):
    _, variables = _convolve(random_arrays((1, 3, 3, 64)), filters=128, kernel_size=3, initializer=initializer)
    weights = variables["layer/weights"]
    np.testing.assert_allclose(weights.std(), deviation, rtol=0.02)
    np.testing.assert_allclose(weights.mean(), 0, atol=deviation / 100)
    # A uniform distribution ends at sqrt(3) standard deviations; 73728 normal values exceed 3.5.
    assert (abs(weights).max() <= 3**0.5 * deviation * 1.001) == is_uniform
    assert is_uniform or abs(weights).max() > 3.5 * deviation


def test_map_towers_refuses_lists_of_different_length():
    with tf.Graph().as_default():
        xs, _ = towers(random_arrays((1, 2), (1, 2)))
        with pytest.raises(ValueError, match="shorter"):
            layers.map_towers(tf.add, xs, xs[:1])


def test_elementwise_layers():
    a, b = random_arrays((1, 3, 5, 2), (1, 3, 5, 2))
    with tf.Graph().as_default():
        (xs, feed), (ys, more) = towers([a]), towers([b])
        assert pooling.subsample(xs, 1) is xs
        activated = [layers.Ending(None, activation).apply(xs) for activation in ("relu", "leaky_relu")]
        results = run([*activated, layers.add(xs, ys), pooling.subsample(xs, 2)], feed | more)
    expected = [
        np.where(a > 0, a, 0),
        np.where(a > 0, a, np.float32(0.01) * a),
        a + b,
        a[:, [0, 2]][:, :, [0, 2, 4]],
    ]
    for (actual,), answer in zip(results, expected, strict=True):
        np.testing.assert_array_equal(actual, answer)


def test_dynamic_shape_is_static_where_it_can_be():
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, 4, None, 3])
        batch, height, width, channels = layers.dynamic_shape(x)
        assert (height, channels) == (4, 3)
        assert run([batch, width], {x: np.zeros((2, 4, 5, 3))}) == [2, 5]
