"""Compares synchronized batch normalization with float64 NumPy, TensorFlow's fused kernel and algebra."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import sync_batch_norm
from model import utils_mg as layers
from tests.differences import relative_difference
from tests.model import reference
from tests.model.sessions import device_of, open_session, run, towers

CHANNELS = 6
DECAY = 0.9
SIZES = ((4, 16, 16), (2, 9, 13), (1, 20, 7), (3, 8, 8), (1, 1, 30), (2, 5, 6), (5, 4, 3), (1, 11, 2))


def _data(num_towers: int, mean: float = 0.0) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(num_towers)
    xs = [rng.normal(mean, 1, (*size, CHANNELS)).astype(np.float32) for size in SIZES[:num_towers]]
    dys = [rng.normal(size=x.shape).astype(np.float32) for x in xs]
    gamma = rng.uniform(0.5, 1.5, CHANNELS).astype(np.float32)
    return xs, dys, gamma, rng.normal(size=CHANNELS).astype(np.float32)


def _variables() -> dict[str, tf.Variable]:
    return {v.op.name.split("/")[-1]: v for v in tf.global_variables()}


def _batch_norm_and_gradients(arrays, dys, gamma, beta, dtype=tf.float32, known=True):
    """Computes outputs, d_inputs, d_gamma, d_beta and the running averages after one step, in a new graph."""
    with tf.Graph().as_default():
        xs, feed = towers(arrays, dtype, known)
        ys = layers.batch_norm(xs, decay=DECAY)
        loss = tf.add_n([tf.reduce_sum(tf.cast(y, tf.float32) * dy) for y, dy in zip(ys, dys, strict=True)])
        variables = _variables()
        gradients = tf.gradients(loss, [*xs, variables["gamma"], variables["beta"]])
        with open_session() as session:
            session.run(tf.global_variables_initializer())
            variables["gamma"].load(gamma, session)
            variables["beta"].load(beta, session)
            outputs = session.run([ys, gradients, tf.get_collection(tf.GraphKeys.UPDATE_OPS)], feed)
            averages = session.run([variables["moving_mean"], variables["moving_variance"]])
    *dxs, d_gamma, d_beta = outputs[1]
    return outputs[0], dxs, d_gamma, d_beta, averages


# Relative to the largest value. At mean 1000, float32 numbers are 6e-5 apart, which limits the precision of the mean
# and of everything computed from it. E[x^2] - E[x]^2 would have an error of a tenth.
NAMES = ("y", "dx", "dgamma", "dbeta", "running mean", "running variance")
BOUNDS = {
    0.0: dict.fromkeys(NAMES, 3e-6),
    1000.0: dict.fromkeys(NAMES, 3e-6) | {"y": 5e-5, "dx": 1e-5, "dgamma": 1e-4},
}


@pytest.mark.parametrize("known", [True, False], ids=["known sizes", "unknown sizes"])
@pytest.mark.parametrize("num_towers", range(1, 9))
@pytest.mark.parametrize("mean", BOUNDS)
def test_equals_float64_over_all_towers(num_towers, known, mean, record_property):
    xs, dys, gamma, beta = _data(num_towers, mean)
    ys, dxs, d_gamma, d_beta, (moving_mean, moving_variance) = _batch_norm_and_gradients(
        xs, dys, gamma, beta, known=known
    )
    expected_dxs, expected_gamma, expected_beta = reference.batch_norm_gradient(xs, dys, gamma)
    batch_mean, variance, count = reference.moments(xs)
    differences = {
        "y": relative_difference(ys, reference.batch_norm(xs, gamma, beta)),
        "dx": relative_difference(dxs, expected_dxs),
        "dgamma": relative_difference(d_gamma, expected_gamma),
        "dbeta": relative_difference(d_beta, expected_beta),
        "running mean": relative_difference(moving_mean, (1 - DECAY) * batch_mean),
        "running variance": relative_difference(moving_variance, DECAY + (1 - DECAY) * variance * count / (count - 1)),
    }
    for name, difference in differences.items():
        record_property(f"{name} at mean {mean:g}", difference)
        assert difference < BOUNDS[mean][name], name


# The inputs are exact in the narrow dtype; the bounds are its rounding of outputs up to about 5.
@pytest.mark.usefixtures("half_precision")
@pytest.mark.parametrize(("dtype", "spacing"), [(tf.bfloat16, 2.0**-8), (tf.float16, 2.0**-11)])
@pytest.mark.parametrize("num_towers", [1, 3, 8])
def test_half_precision_input_has_float32_moments(num_towers, dtype, spacing, record_property):
    xs, dys, gamma, beta = _data(num_towers, mean=8.0)
    xs = [np.round(x * 16) / 16 for x in xs]
    dys = [np.round(dy * 16) / 16 for dy in dys]
    ys, dxs, d_gamma, d_beta, (moving_mean, _) = _batch_norm_and_gradients(xs, dys, gamma, beta, dtype)
    expected_dxs, expected_gamma, expected_beta = reference.batch_norm_gradient(xs, dys, gamma)
    expected_ys = reference.batch_norm(xs, gamma, beta)
    assert ys[0].dtype == dxs[0].dtype == dtype.as_numpy_dtype
    for name, actual, expected in (("y", ys, expected_ys), ("dx", dxs, expected_dxs)):
        record_property(f"{name} in {dtype.name}", relative_difference(actual, expected))
        for a, e in zip(actual, expected, strict=True):
            np.testing.assert_allclose(a.astype(np.float64), e, rtol=2 * spacing, atol=4 * spacing)
    np.testing.assert_allclose(d_gamma, expected_gamma, atol=2e-3)
    np.testing.assert_allclose(d_beta, expected_beta, atol=2e-3)
    np.testing.assert_allclose(moving_mean, (1 - DECAY) * reference.moments(xs)[0], rtol=1e-6)


@pytest.mark.parametrize("num_towers", [1, 3, 8])
def test_equals_tensorflows_kernel_on_the_concatenated_batch(num_towers, record_property):
    xs, dys, gamma, beta = _data(num_towers)
    ys, dxs, d_gamma, d_beta, (moving_mean, moving_variance) = _batch_norm_and_gradients(xs, dys, gamma, beta)

    def pixels(arrays: list[np.ndarray]) -> np.ndarray:
        """Flattens pixels: towers of different height and width cannot be concatenated, but their pixels can."""
        return np.concatenate([array.reshape(1, -1, 1, CHANNELS) for array in arrays], axis=1)

    with tf.Graph().as_default():
        x, scale, offset = (tf.constant(a) for a in (pixels(xs), gamma, beta))
        y, mean, variance = tf.nn.fused_batch_norm(x, scale, offset, epsilon=1e-5)
        gradients = tf.gradients(y, [x, scale, offset], pixels(dys))
        # The kernel returns the unbiased variance.
        averages = [(1 - DECAY) * mean, DECAY + (1 - DECAY) * variance]
        expected = run([y, *gradients, *averages])
    actual = [pixels(ys), pixels(dxs), d_gamma, d_beta, moving_mean, moving_variance]
    record_property("all outputs", relative_difference(actual, expected))
    assert relative_difference(actual, expected) < 1e-5


def test_prediction_normalizes_with_the_averages():
    xs, *_ = _data(2)
    with tf.Graph().as_default():
        inputs, feed = towers(xs)
        ys = layers.batch_norm(inputs, is_training=False)
        variables = _variables()
        values = {"gamma": 2.0, "beta": -1.0, "moving_mean": 0.3, "moving_variance": 4.0}
        assigned = [variables[name].assign(tf.fill([CHANNELS], value)) for name, value in values.items()]
        assert not tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        with open_session() as session:
            session.run(assigned)
            outputs = session.run(ys, feed)
    for x, y in zip(xs, outputs, strict=True):
        np.testing.assert_allclose(y, 2 * (x - 0.3) / np.sqrt(4 + 1e-5) - 1, atol=1e-5)


def test_averages_move_through_one_operation_each():
    with tf.Graph().as_default():
        xs, _ = towers(_data(3)[0])
        layers.batch_norm(xs)
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        moved = [op.inputs[0].op.name for op in updates]
    assert sorted(moved) == ["BatchNorm/moving_mean", "BatchNorm/moving_variance"]


def test_overflow_does_not_change_the_averages_of_its_channel():
    (array,), *_ = _data(1)
    array[0, 0, 0, 1], array[0, 0, 0, 2] = np.inf, np.nan
    *_, (moving_mean, moving_variance) = _batch_norm_and_gradients(
        [array], [np.ones_like(array)], np.ones(CHANNELS), np.zeros(CHANNELS)
    )
    np.testing.assert_array_equal(moving_mean[1:3], 0)
    np.testing.assert_array_equal(moving_variance[1:3], 1)
    sound = [0, 3, 4, 5]
    mean, variance, count = reference.moments([array[..., sound]])
    np.testing.assert_allclose(moving_mean[sound], 0.1 * mean, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(moving_variance[sound], 0.9 + 0.1 * variance * count / (count - 1), rtol=1e-5)


def test_second_pass_without_updates_gives_the_same_output():
    arrays, *_ = _data(2)
    with tf.Graph().as_default():
        xs, feed = towers(arrays)
        first = layers.batch_norm(xs)
        count = len(tf.get_collection(tf.GraphKeys.UPDATE_OPS))
        with tf.variable_scope(tf.get_variable_scope(), reuse=True):
            second = layers.batch_norm(xs, update_averages=False)
        assert len(tf.get_collection(tf.GraphKeys.UPDATE_OPS)) == count == 2
        assert len(tf.global_variables()) == 4
        first, second = run([first, second], feed)
    for y, again in zip(first, second, strict=True):
        np.testing.assert_array_equal(y, again)


def test_operations_run_on_the_device_of_their_tower():
    arrays, *_ = _data(4)
    with tf.Graph().as_default() as graph:
        xs, feed = towers(arrays)
        ys = layers.batch_norm(xs)
        dxs = tf.gradients(ys, xs, colocate_gradients_with_ops=True)
        assert [device_of(y) for y in ys] == [0, 1, 2, 3]
        assert [device_of(dx) for dx in dxs] == [0, 1, 2, 3]
        # FusedBatchNormV3 computes moments, normalization and the gradient of the moments.
        for kind, per_tower in (("FusedBatchNormV3", 3), ("FusedBatchNormGradV3", 1)):
            kernels = [op for op in graph.get_operations() if op.type == kind]
            assert sorted(device_of(op.outputs[0]) for op in kernels) == sorted([0, 1, 2, 3] * per_tower)
        metadata = tf.RunMetadata()
        options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
        with open_session() as session:
            session.run(tf.global_variables_initializer())
            session.run([ys, dxs], feed, options, metadata)
    placed = {
        device.device[-1]
        for device in metadata.step_stats.dev_stats
        for node in device.node_stats
        if "FusedBatchNorm" in node.node_name
    }
    assert placed == {"0", "1", "2", "3"}


def test_combined_moments_are_those_of_the_union():
    rng = np.random.default_rng(5)
    sets = [rng.normal(3 * i, 1 + i, (n, 2)) for i, n in enumerate((5, 11, 2))]
    with tf.Graph().as_default():
        combined = sync_batch_norm.combine_moments(
            [tf.constant(s.mean(axis=0), tf.float32) for s in sets],
            [tf.constant(s.var(axis=0), tf.float32) for s in sets],
            [tf.constant(len(s), tf.float32) for s in sets],
        )
        mean, variance, count = run(combined)
    union = np.concatenate(sets)
    np.testing.assert_allclose(mean, union.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(variance, union.var(axis=0), rtol=1e-6)
    assert count == 18


def test_gradient_of_normalization_in_all_that_goes_in():
    rng = np.random.default_rng(6)
    x, dy = rng.normal(size=(2, 2, 3, 4, CHANNELS))
    gamma, beta, mean = rng.normal(size=(3, CHANNELS))
    variance = rng.uniform(0.5, 2, CHANNELS)
    with tf.Graph().as_default():
        inputs = [tf.constant(a, tf.float32) for a in (x, gamma, beta, mean, variance)]
        scale = sync_batch_norm.normalization_scale(inputs[1], inputs[4], 1e-3)
        y = sync_batch_norm.normalize(inputs[0], scale, inputs[2], inputs[3])
        gradients = run(tf.gradients(y, inputs, tf.constant(dy, tf.float32)))

    def loss(*arguments):
        x, gamma, beta, mean, variance = arguments
        return (dy * (gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta)).sum()

    values = [x, gamma, beta, mean, variance]
    for position in range(1, 5):
        for channel in range(CHANNELS):
            step = np.zeros(CHANNELS)
            step[channel] = 1e-6
            shifted = [[v + sign * step if i == position else v for i, v in enumerate(values)] for sign in (1, -1)]
            expected = (loss(*shifted[0]) - loss(*shifted[1])) / 2e-6
            np.testing.assert_allclose(gradients[position][channel], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradients[0], dy * gamma / np.sqrt(variance + 1e-3), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("count", "factor"), [(1, 1.0), (2, 2.0), (5, 1.25)])
def test_bessel_correction(count, factor):
    with tf.Graph().as_default():
        corrected = run(sync_batch_norm.unbiased(tf.constant([3.0]), tf.constant(float(count))))
    np.testing.assert_allclose(corrected, [3.0 * factor])
