"""A small MobileNetV2 in training: on two towers, with activations recomputed or in place, and with frozen parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import choices, training_graph
from model.architecture import Architecture
from model.choices import InvertedStage
from model.training_options import trained_variables
from tests.model.sessions import open_session, towers
from tests.model.training_step import CLASSES, OPTIONS, batch, initialize, require_same_values, take_step

NARROW = choices.MobileNetV2(
    (
        (InvertedStage(1, 4, 1, 1), InvertedStage(2, 6, 2, 2)),
        (InvertedStage(2, 8, 2, 2),),
        (InvertedStage(2, 12, 1, 2), InvertedStage(2, 12, 1, 1)),
        (InvertedStage(2, 16, 2, 2), InvertedStage(2, 24, 1, 1)),
    )
)
ARCHITECTURE = Architecture("mobilenet_v2", CLASSES, head_depth=8, auxiliary_depth=8)
LEAKY = replace(ARCHITECTURE, activation="leaky_relu")
UNEVEN_TOWERS = [(2, 33, 33), (1, 33, 41)]


@pytest.fixture(scope="module", autouse=True)
def narrow():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(choices.NETWORKS, ARCHITECTURE.network, NARROW)
        yield


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "save_memory"), [(ARCHITECTURE, choices.RECOMPUTED), (LEAKY, choices.IN_PLACE)]
)
def test_saved_memory_leaves_the_step_as_it_is(architecture, save_memory):
    arrays = batch(*UNEVEN_TOWERS)
    expected = take_step(*arrays, OPTIONS, architecture=architecture)
    actual = take_step(*arrays, replace(OPTIONS, save_memory=save_memory), architecture=architecture)
    np.testing.assert_allclose(actual.total_loss, expected.total_loss, rtol=1e-5)
    require_same_values(actual.averages, expected.averages, 1e-5)
    require_same_values(actual.gradients, expected.gradients, 1e-4)


@pytest.mark.slow
def test_two_towers_equal_one():
    """The statistics and the mean of the loss are those of the whole batch."""
    images, labels = batch((4, 33, 33))
    one = take_step(images, labels, architecture=ARCHITECTURE)
    two = take_step(np.split(images[0], 2), np.split(labels[0], 2), architecture=ARCHITECTURE)
    np.testing.assert_allclose(two.loss, one.loss, rtol=1e-5)
    require_same_values(two.averages, one.averages, 1e-5)
    require_same_values(two.gradients, one.gradients, 1e-4)


@pytest.mark.slow
def test_the_loss_falls_on_two_towers():
    """The class of an image is the channel that is brightest on average."""
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, CLASSES, (2, 1, 1)).repeat(33, 1).repeat(33, 2).astype(np.int32) for _ in range(2)]
    images = [(rng.normal(0, 20, (*y.shape, 3)) + 60 * np.eye(3)[y] - 20).astype(np.float32) for y in labels]
    with tf.Graph().as_default():
        (xs, feed), (ys, more) = towers(images), towers(labels)
        graph = training_graph.train_graph(xs, ys, ARCHITECTURE, OPTIONS)
        with open_session() as session:
            initialize(session)
            losses = [
                session.run([graph.loss, graph.train_op], feed | more | {graph.learning_rate: 0.05})[0]
                for _ in range(30)
            ]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


@pytest.mark.parametrize(
    "freeze",
    [
        ("conv1", "block1", "block2"),
        *(pytest.param(parts, marks=pytest.mark.slow) for parts in (("conv1",), ("block4",), choices.ENCODER_PARTS)),
    ],
)
def test_frozen_parts(freeze):
    with tf.Graph().as_default():
        images = [tf.zeros([2, 33, 33, 3])]
        options = replace(OPTIONS, freeze=freeze)
        training_graph.train_graph(images, [tf.zeros([2, 33, 33], tf.int32)], ARCHITECTURE, options)
        trained = {v.op.name for v in trained_variables(ARCHITECTURE, options)}
        every = {v.op.name for v in trained_variables(ARCHITECTURE, OPTIONS)}
    # The head and the auxiliary head follow the last units of blocks 4 and 3.
    heads = ("mobilenet_v2/block4/unit_4/", "mobilenet_v2/block3/unit_3/")
    frozen = tuple(f"mobilenet_v2/{part}/" for part in freeze)
    assert trained == {name for name in every if name.startswith(heads) or not name.startswith(frozen)}
    assert trained < every
