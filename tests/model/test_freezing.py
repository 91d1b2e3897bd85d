"""Frozen parts of the encoder: neither gradient nor decay nor new statistics, and no backward pass through them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import choices, training_graph
from tests.model.operations import needed_for
from tests.model.sessions import open_session, towers
from tests.model.training_step import ARCHITECTURE, OPTIONS, batch, initialize

pytestmark = pytest.mark.usefixtures("small_resnet")

PARTS = choices.ENCODER_PARTS
BACKWARD = ("Conv2DBackpropInput", "Conv2DBackpropFilter", "MaxPoolGrad")


@pytest.fixture(scope="module")
def small_batch(small_resnet):
    return batch((2, 33, 33))


def _part(name: str) -> str:
    """Returns the part of the encoder of a variable; the heads have scopes of their own in block3 and block4."""
    scope = name.split("/")[1]
    is_head = name.split("/")[2:3] == ["unit_2"] and scope in ("block3", "block4")
    return "head" if is_head or scope not in PARTS else scope


def _step(arrays, options):
    """Runs a step; returns the loss, sets of trained, decayed and changed names, and the backward operations."""
    with tf.Graph().as_default():
        (xs, feed), (ys, more) = towers(arrays[0]), towers(arrays[1])
        graph = training_graph.train_graph(xs, ys, ARCHITECTURE, options)
        model = {v.op.name: v for v in tf.model_variables()}
        slots = {v.op.name.removesuffix("/Momentum") for v in tf.global_variables() if "/Momentum" in v.op.name}
        with open_session(rewrite_graph=False) as session:
            values = initialize(session)
            loss, _ = session.run([graph.loss, graph.train_op], feed | more | {graph.learning_rate: 0.1})
            after = session.run(model)
        backward = sum(op.type in BACKWARD for op in needed_for(graph.train_op))
        trained = {v.op.name for v in graph.trained}
        decayed = {d.variable.op.name for d in graph.decayed}
    changed = {name for name in after if not np.array_equal(after[name], values[name])}
    return loss, trained, decayed, slots, changed, backward


@pytest.fixture(scope="module")
def plain(small_batch):
    return _step(small_batch, OPTIONS)


@pytest.mark.parametrize(
    "freeze",
    [
        *(
            pytest.param(parts, marks=pytest.mark.slow)
            for parts in (("conv1",), ("block2",), ("conv1", "block1", "block2", "block3"))
        ),
        *(("conv1", "block1"), PARTS),
    ],
    ids=str,
)
@pytest.mark.parametrize("save_memory", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_frozen_parts_stay_as_they_are(small_batch, plain, freeze, save_memory):
    loss, trained, decayed, slots, changed, _ = _step(
        small_batch, replace(OPTIONS, freeze=freeze, save_memory=save_memory)
    )
    _, all_trained, all_decayed, _, all_changed, _ = plain
    assert np.isfinite(loss)
    assert all_trained < all_changed
    assert slots == trained
    for actual, of_all in ((trained, all_trained), (decayed, all_decayed), (changed, all_changed)):
        assert actual == {name for name in of_all if _part(name) not in freeze}


def _count(part: str) -> int:
    """Returns the number of convolutions in a part of the small network."""
    counts = {"conv1": 1}
    for index, units in enumerate(choices.NETWORKS[ARCHITECTURE.network].units, start=1):
        counts[f"block{index}"] = 2 * units + 1  # of the first unit's shortcut
    return counts[part]


@pytest.mark.parametrize("save_memory", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_backward_pass_ends_at_the_frozen_parts(small_batch, plain, save_memory):
    plain_backward = plain[-1]
    freeze = ("conv1", "block1")
    backward = _step(small_batch, replace(OPTIONS, freeze=freeze, save_memory=save_memory))[-1]
    frozen = sum(map(_count, freeze))
    # Two operations per frozen convolution, except that of the images, and the pooling; the two first convolutions
    # after them have no gradient of their input.
    assert plain_backward - backward == 2 * frozen - 1 + 1 + 2


@pytest.mark.slow
def test_other_parts_train_as_without_freezing_below(small_batch):
    """With the statistics of the encoder kept anyway, freezing its beginning changes no other gradient."""
    kept = replace(OPTIONS, bn_frozen=True)
    results = []
    for options in (kept, replace(kept, freeze=("conv1", "block1"))):
        with tf.Graph().as_default():
            (xs, feed), (ys, more) = towers(small_batch[0]), towers(small_batch[1])
            graph = training_graph.train_graph(xs, ys, ARCHITECTURE, options)
            slots = {v.op.name: v for v in tf.global_variables() if v.op.name.endswith("/Momentum")}
            with open_session(rewrite_graph=False) as session:
                initialize(session)
                session.run(graph.train_op, feed | more | {graph.learning_rate: 0.0})
                results.append(session.run(slots))
    whole, part = results
    assert len(part) < len(whole)
    for name, gradient in part.items():
        np.testing.assert_allclose(gradient, whole[name], rtol=1e-4, atol=1e-5 * np.abs(whole[name]).max())


def test_beta_and_gamma_can_be_kept(small_batch, plain):
    _, trained, _, slots, changed, _ = _step(small_batch, replace(OPTIONS, train_beta_gamma=False))
    kept = {name for name in plain[1] if name.endswith(("/BatchNorm/beta", "/BatchNorm/gamma"))}
    assert kept
    assert trained == slots == plain[1] - kept
    assert changed == plain[4] - kept
