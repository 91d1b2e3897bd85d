"""The plain styles compute what the package does, so that their speed may be compared."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import choices, resnet
from model.architecture import Architecture
from model.pspnet_mg import pspnet
from tests.differences import relative_difference
from tests.tools.toy_runs import NARROW, NETWORK
from tools.benchmark.plain_network import STYLES, PlainNetwork, plain_train_op

ARCHITECTURE = Architecture(NETWORK, 3, resize_grid="legacy")
BOTTLENECKS = choices.ResNet((1, 1, 1, 1), (16, 32, 64, 128), bottleneck=True)
# Divisible at stride 8 by all bins of the pyramid, as plain average pooling needs.
SIZE = 48


def heads_of(build, images):
    """What a network gives on images whose variables have values by their order among those of equal shape."""
    with tf.Graph().as_default(), tf.Session() as session:
        heads = build([tf.constant(images)])
        session.run(tf.global_variables_initializer())
        seen, assigned = {}, []
        for variable in tf.trainable_variables():
            shape = tuple(variable.shape.as_list())
            seen[shape] = seen.get(shape, -1) + 1
            rng = np.random.default_rng([seen[shape], *shape])
            if len(shape) > 1:
                assigned.append(variable.assign(rng.normal(0, (2 / np.prod(shape[:3])) ** 0.5, shape)))
        session.run(assigned)
        return session.run(heads)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("style", "network"), [("bare", BOTTLENECKS), ("reference", NARROW)], ids=["bare", "reference"]
)
def test_plain_logits_are_those_of_the_package(monkeypatch, style, network):
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, network)
    images = np.random.default_rng(0).normal(0, 60, (2, SIZE, SIZE, 3)).astype(np.float32)

    def ours(xs):
        predictions = pspnet(xs, ARCHITECTURE, is_training=True, has_auxiliary=True)
        return [predictions.logits[0], predictions.auxiliary[0][0]]

    def plain(xs):
        return [head[0] for head in PlainNetwork(STYLES[style], ARCHITECTURE, is_training=True).logits(xs)]

    for actual, expected in zip(heads_of(plain, images), heads_of(ours, images), strict=True):
        assert relative_difference(actual, expected) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("style", "num_towers"), [("bare", 1), ("reference", 2)])
def test_plain_training_changes_every_variable(monkeypatch, style, num_towers):
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, NARROW)
    rng = np.random.default_rng(0)
    with tf.Graph().as_default(), tf.Session() as session:
        images = [tf.constant(rng.normal(0, 60, (2, SIZE, SIZE, 3)), tf.float32) for _ in range(num_towers)]
        labels = [tf.constant(rng.integers(0, 3, (2, SIZE, SIZE)), tf.int32) for _ in range(num_towers)]
        train_op = plain_train_op(style, ARCHITECTURE, images, labels, 0.1)
        session.run(tf.global_variables_initializer())
        variables = [v for v in tf.global_variables() if not v.op.name.endswith("Momentum")]
        before = session.run(variables)
        session.run(train_op)
        for variable, old, new in zip(variables, before, session.run(variables), strict=True):
            assert np.isfinite(new).all(), variable.op.name
            assert (new != old).any(), variable.op.name
