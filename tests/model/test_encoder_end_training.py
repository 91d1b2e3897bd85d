"""Encoders that end before block 4 in training, with the head `ppm_1x1`: losses and gradients, memory and towers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import choices, training_graph
from model.decoders import PYRAMID_BINS
from model.encoder_end import built_parts
from model.training_options import trained_variables
from tests.model.reference_network import NETWORK, ReferenceNetwork
from tests.model.training_step import ARCHITECTURE, OPTIONS, batch, require_same_step, take_step

pytestmark = pytest.mark.usefixtures("small_resnet")

UNEVEN_TOWERS = [(2, 17, 17), (1, 17, 25)]


def ended(blocks, **changes):
    return replace(ARCHITECTURE, decoder="ppm_1x1", encoder_blocks=blocks, head_depth=12, **changes)


def options_of(blocks, **changes):
    """Block 3 has the features of the auxiliary head."""
    return replace(OPTIONS, has_aux_loss=blocks > 2, **changes)


@pytest.mark.parametrize("blocks", [2, 3])
def test_losses_and_gradients_equal_float64(blocks, record_property):
    """The gradients along a random direction are the slope of the loss there."""
    images, labels = batch((2, 33, 33))
    step = take_step(images, labels, options_of(blocks), architecture=ended(blocks))
    assert {name.split("/")[1] for name in step.values if "/basic_v1/" in name} == {*built_parts(blocks)} - {"conv1"}
    assert step.values[f"{NETWORK}/logits/weights"].shape[:2] == (3, 3)
    expected = ReferenceNetwork(step.values).total_loss(images, labels, OPTIONS.weight_decay_rate)
    actual = (step.loss, step.auxiliary_loss, step.total_loss)
    np.testing.assert_allclose(actual, expected, rtol=2e-6)
    assert (step.auxiliary_loss > 0) == (blocks == 3)
    rng, small = np.random.default_rng(0), 1e-6
    direction = {name: rng.normal(size=gradient.shape) for name, gradient in sorted(step.gradients.items())}
    ahead, behind = (
        ReferenceNetwork(
            {name: value + sign * small * direction.get(name, 0) for name, value in step.values.items()}
        ).total_loss(images, labels, OPTIONS.weight_decay_rate)[2]
        for sign in (1, -1)
    )
    slope = sum((step.gradients[name] * values).sum() for name, values in direction.items())
    record_property("slope", abs(slope / ((ahead - behind) / (2 * small)) - 1))
    np.testing.assert_allclose(slope, (ahead - behind) / (2 * small), rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("save_memory", [choices.RECOMPUTED, choices.IN_PLACE])
def test_saved_memory_leaves_the_step_as_it_is(save_memory):
    activation = "leaky_relu" if save_memory == choices.IN_PLACE else ARCHITECTURE.activation
    architecture, arrays = ended(3, activation=activation), batch(*UNEVEN_TOWERS)
    expected = take_step(*arrays, options_of(3), architecture=architecture)
    actual = take_step(*arrays, options_of(3, save_memory=save_memory), architecture=architecture)
    require_same_step(actual, expected)


@pytest.mark.slow
def test_two_towers_equal_one():
    """The statistics and the mean of the loss are those of the whole batch."""
    [images], [labels] = batch((4, 17, 17))
    one = take_step([images], [labels], options_of(2), architecture=ended(2))
    require_same_step(take_step(np.split(images, 2), np.split(labels, 2), options_of(2), architecture=ended(2)), one)


def test_the_head_learns_while_the_encoder_is_frozen():
    """Its layers are called block4/unit_2 and block3/unit_2, as those of heads on all four blocks."""
    with tf.Graph().as_default():
        images, options = [tf.zeros([2, 33, 33, 3])], options_of(3, freeze=choices.ENCODER_PARTS)
        training_graph.train_graph(images, [tf.zeros([2, 33, 33], tf.int32)], ended(3), options)
        trained = {variable.op.name.split("/", 1)[1] for variable in trained_variables(ended(3), options)}
    layers = ("block3/unit_2", "block4/unit_2", *(f"psp/pool{bins}" for bins in PYRAMID_BINS))
    kernels = {f"{scope}/weights" for scope in (*layers, "logits", "aux_logits")}
    assert {name for name in trained if name.endswith("/weights")} == kernels
    assert not [name for name in trained if "/basic_v1/" in name or name.startswith("conv1")]
