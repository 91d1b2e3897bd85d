"""In-place layers: float64 values and gradients, whole steps that equal ordinary ones, and what the graph keeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import choices, in_place_batch_norm, training_graph
from model import utils_mg as layers
from tests.differences import relative_difference
from tests.model import reference
from tests.model.operations import needed_for
from tests.model.sessions import device_of, open_session, run, towers
from tests.model.training_step import ARCHITECTURE, OPTIONS, Step, batch, take_step

CHANNELS = 6
DECAY = 0.9
SIZES = ((4, 16, 16), (2, 9, 13), (1, 20, 7), (3, 8, 8), (1, 1, 30), (2, 5, 6), (5, 4, 3), (1, 11, 2))
LEAKY = replace(ARCHITECTURE, activation="leaky_relu")
IN_PLACE = replace(OPTIONS, save_memory=choices.IN_PLACE)


class _Data:
    """Inputs, added values and gradients of some towers, with gammas of both signs."""

    def __init__(self, num_towers: int, mean: float = 0.0) -> None:
        rng = np.random.default_rng(num_towers)
        shapes = [(*size, CHANNELS) for size in SIZES[:num_towers]]
        self.xs = [rng.normal(mean, 1, shape).astype(np.float32) for shape in shapes]
        self.added = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
        self.dys = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
        self.gamma = (rng.uniform(0.5, 1.5, CHANNELS) * rng.choice([-1, 1], CHANNELS)).astype(np.float32)
        self.beta = rng.normal(size=CHANNELS).astype(np.float32)


def _layer(data: _Data, activation, has_added, known=True, **arguments):
    """Computes outputs, dx, d_added, d_gamma, d_beta and the updated running averages, in a new graph."""
    with tf.Graph().as_default():
        (xs, feed), (added, more) = towers(data.xs, known=known), towers(data.added, known=known)
        ending = layers.Ending(added if has_added else None, activation)
        ys = layers.batch_norm(xs, decay=DECAY, followed_by=ending, **arguments)
        assert [device_of(y) for y in ys] == list(range(len(ys)))
        variables = {v.op.name.split("/")[-1]: v for v in tf.global_variables()}
        trained = [variables["gamma"], variables["beta"]]
        gradients = tf.gradients(ys, [*xs, *(added if has_added else []), *trained], [tf.constant(y) for y in data.dys])
        with open_session() as session:
            session.run(tf.global_variables_initializer())
            variables["gamma"].load(data.gamma, session)
            variables["beta"].load(data.beta, session)
            outputs, results, _ = session.run([ys, gradients, tf.get_collection(tf.GraphKeys.UPDATE_OPS)], feed | more)
            averages = session.run([variables["moving_mean"], variables["moving_variance"]])
    *large, d_gamma, d_beta = results
    return outputs, large[: len(ys)], large[len(ys) :], d_gamma, d_beta, averages


def _expected(data: _Data, activation, has_added):
    """Computes outputs, dx, d_added, d_gamma and d_beta in float64."""
    normalized = reference.batch_norm(data.xs, data.gamma, data.beta)
    sums = [y + a for y, a in zip(normalized, data.added, strict=True)] if has_added else normalized
    slope = 1.0 if activation is None else choices.ACTIVATIONS[activation]
    ys = [np.where(y > 0, y, slope * y) for y in sums]
    d_sums = [np.where(y > 0, dy, slope * dy) for y, dy in zip(sums, data.dys, strict=True)]
    dxs, d_gamma, d_beta = reference.batch_norm_gradient(data.xs, d_sums, data.gamma)
    return ys, dxs, d_sums if has_added else [], d_gamma, d_beta


# At mean 1000, float32 numbers are 6e-5 apart.
BOUNDS = {
    0.0: {"y": 3e-6, "dx": 3e-6, "d_added": 3e-6, "d_gamma": 1e-5, "d_beta": 3e-6},
    1000.0: {"y": 5e-5, "dx": 5e-5, "d_added": 5e-5, "d_gamma": 2e-4, "d_beta": 3e-5},
}


@pytest.mark.parametrize("known", [True, False], ids=["known sizes", "unknown sizes"])
@pytest.mark.parametrize("num_towers", [1, 2, 3, 8])
@pytest.mark.parametrize("mean", BOUNDS)
@pytest.mark.parametrize("has_added", [False, True])
@pytest.mark.parametrize("activation", ["leaky_relu", None])
def test_equals_float64_over_all_towers(num_towers, known, mean, has_added, activation, record_property):
    data = _Data(num_towers, mean)
    *actual, (moving_mean, moving_variance) = _layer(data, activation, has_added, known)
    expected = _expected(data, activation, has_added)
    for (name, bound), value, answer in zip(BOUNDS[mean].items(), actual, expected, strict=True):
        if name == "d_added" and not has_added:
            assert list(value) == list(answer) == []
            continue
        difference = relative_difference(value, answer)
        record_property(f"{name} at mean {mean:g}", difference)
        assert difference < bound, name
    batch_mean, variance, count = reference.moments(data.xs)
    np.testing.assert_allclose(moving_mean, (1 - DECAY) * batch_mean, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(moving_variance, DECAY + (1 - DECAY) * variance * count / (count - 1), rtol=1e-5)


def test_running_averages_instead_of_moments():
    data = _Data(3)
    ys, dxs, d_added, d_gamma, d_beta, _ = _layer(data, "leaky_relu", True, is_training=False)
    scale = data.gamma.astype(np.float64) / np.sqrt(1 + 1e-5)  # the averages are 0 and 1
    sums = [scale * x + data.beta + a for x, a in zip(data.xs, data.added, strict=True)]
    d_sums = [np.where(y > 0, dy, 0.01 * dy) for y, dy in zip(sums, data.dys, strict=True)]
    assert relative_difference(ys, [np.where(y > 0, y, 0.01 * y) for y in sums]) < 3e-6
    assert relative_difference(dxs, [scale * dy for dy in d_sums]) < 3e-6
    assert relative_difference(d_added, d_sums) < 3e-6
    expected = sum((dy * x).sum((0, 1, 2)) for dy, x in zip(d_sums, data.xs, strict=True)) / np.sqrt(1 + 1e-5)
    assert relative_difference(d_gamma, expected) < 1e-5
    assert relative_difference(d_beta, sum(dy.sum((0, 1, 2)) for dy in d_sums)) < 3e-6


@pytest.mark.parametrize("small", [0.0, 1e-9, 0.5 * in_place_batch_norm.SMALLEST_GAMMA])
def test_the_input_of_a_channel_without_scale_counts_as_the_mean(small):
    data = _Data(2)
    data.gamma[2] = small
    _, dxs, _, d_gamma, d_beta, _ = _layer(data, "leaky_relu", True)
    _, expected_dxs, _, expected_gamma, expected_beta = _expected(data, "leaky_relu", True)
    assert d_gamma[2] == 0
    others = [channel for channel in range(CHANNELS) if channel != 2]
    assert relative_difference(d_gamma[others], expected_gamma[others]) < 1e-5
    assert relative_difference(d_beta, expected_beta) < 3e-6
    # What the moments of the channel would add is smaller than its scale.
    assert relative_difference(dxs, expected_dxs) < max(3e-6, 3 * small)


def test_the_smallest_recovered_gamma_is_precise():
    data = _Data(3)
    data.gamma[:] = in_place_batch_norm.SMALLEST_GAMMA
    *_, d_gamma, d_beta, _ = _layer(data, "leaky_relu", True)
    *_, expected_gamma, expected_beta = _expected(data, "leaky_relu", True)
    assert relative_difference(d_gamma, expected_gamma) < 2e-3
    assert relative_difference(d_beta, expected_beta) < 3e-6


def _require_same(actual: Step, expected: Step) -> None:
    for name in ("loss", "auxiliary_loss", "weight_decay", "total_loss"):
        np.testing.assert_allclose(getattr(actual, name), getattr(expected, name), rtol=1e-6)
    for some, others in ((actual.averages, expected.averages), (actual.gradients, expected.gradients)):
        assert set(some) == set(others)
        for name, value in others.items():
            np.testing.assert_allclose(some[name], value, rtol=0, atol=1e-5 * np.abs(value).max(), err_msg=name)


# Two are built quickly.
DECODERS = [pytest.param(name, marks=() if name == "c1" else pytest.mark.slow) for name in choices.DECODERS]


@pytest.mark.usefixtures("small_resnet")
@pytest.mark.parametrize(
    ("decoder", "changes"),
    [
        *(pytest.param(*each.values, {}, marks=each.marks) for each in DECODERS),
        pytest.param("c1", {"bn_frozen": True}, marks=pytest.mark.slow),
        pytest.param("c1", {"freeze": ("conv1", "block1")}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_step_is_the_ordinary_one(decoder, changes):
    arrays = batch((2, 33, 33), (1, 33, 41))
    architecture = replace(LEAKY, decoder=decoder)
    ordinary = take_step(*arrays, replace(OPTIONS, **changes), architecture=architecture)
    actual = take_step(*arrays, replace(IN_PLACE, **changes), architecture=architecture)
    _require_same(actual, ordinary)
    assert {kind: sorted(indices) for kind, indices in actual.devices.items()} == {
        kind: sorted(indices) for kind, indices in ordinary.devices.items()
    }


@pytest.mark.slow
@pytest.mark.usefixtures("small_resnet")
@pytest.mark.parametrize("decoder", DECODERS)
def test_the_backward_pass_reads_no_input_of_a_normalization(decoder):
    def convolutions_read(options) -> set[str]:
        with tf.Graph().as_default():
            (xs, _), (ys, _) = (towers(arrays) for arrays in batch((2, 33, 33), (1, 33, 41)))
            graph = training_graph.train_graph(xs, ys, replace(LEAKY, decoder=decoder), options)
            backward = [op for op in needed_for(graph.train_op) if op.name.startswith("gradients")]
            sources = {x.op for op in backward for x in op.inputs}
            # The classifiers have no normalization; their outputs are the logits.
            return {op.name for op in sources if op.type == "Conv2D" and "logits" not in op.name}

    assert len(convolutions_read(OPTIONS)) >= 2 * 12
    assert convolutions_read(IN_PLACE) == set()


def test_recovery_waits_for_the_gradient():
    data = _Data(1)
    with tf.Graph().as_default():
        xs, _ = towers(data.xs)
        ys = layers.batch_norm(xs, followed_by=layers.Ending(None, "leaky_relu"))
        (dx,) = tf.gradients(ys, xs, [tf.constant(data.dys[0])])
        inverted = [op for op in needed_for(dx.op) if op.type == "LeakyRelu" and op.get_attr("alpha") > 1]
        assert [[each.type for each in op.control_inputs] for op in inverted] == [["LeakyReluGrad"]]
        assert np.isfinite(run([dx], {xs[0]: data.xs[0]})[0]).all()
