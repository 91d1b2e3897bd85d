"""Tests the scopes of new layers, and prediction."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import pspnet_mg
from model.architecture import Architecture
from tests.model import reference
from tests.model.reference_network import ReferenceNetwork
from tests.model.sessions import open_session, towers
from tests.model.training_step import ARCHITECTURE, CLASSES, batch, initialize

pytestmark = pytest.mark.usefixtures("small_resnet")

CLASSIFIERS = {"logits", "aux_logits", "icnet/logits8", "icnet/logits16"}


@pytest.mark.parametrize(
    ("network", "scopes"),
    [
        ("resnet_v1_50", {"block4/unit_4", "block3/unit_7", *CLASSIFIERS, "psp", "fpn", "icnet"}),
        ("resnet_v1_101", {"block4/unit_4", "block3/unit_24", *CLASSIFIERS, "psp", "fpn", "icnet"}),
    ],
)
def test_scopes_of_new_layers(network, scopes):
    assert set(pspnet_mg.new_layer_scopes(network)) == scopes


def test_scopes_match_whole_components():
    is_inside = pspnet_mg.in_scopes("net", ("block4/unit_1", "/logits/"))
    assert is_inside("net/block4/unit_1/weights")
    assert is_inside("net/logits/biases")
    assert not is_inside("net/block4/unit_10/weights")
    assert not is_inside("net/aux_logits/weights")
    assert not is_inside("other/logits/weights")
    assert not pspnet_mg.in_scopes("net", ())("net/logits/weights")


def test_forward_graph_of_unknown_sizes_equals_float64():
    # Only the running averages limit the activations; with small images some probabilities differ from 0 and 1.
    images = [x / 1000 for x in batch((1, 33, 41), (2, 40, 25))[0]]
    with tf.Graph().as_default():
        xs, feed = towers(images, known=False)
        probabilities = pspnet_mg.forward_graph(xs, ARCHITECTURE)
        num_variables = len(tf.global_variables())
        logits = pspnet_mg.pspnet(xs, ARCHITECTURE, is_training=False, reuse=True).logits
        assert len(tf.global_variables()) == num_variables
        assert not tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        with open_session(rewrite_graph=False) as session:
            values = initialize(session)
            outputs, logits = session.run([probabilities, logits], feed)
    expected, _ = ReferenceNetwork(values, is_training=False).logits(images)
    for output, actual, image, answer in zip(outputs, logits, images, expected, strict=True):
        assert output.dtype == np.float32
        assert output.shape == (*image.shape[:3], CLASSES)
        np.testing.assert_allclose(actual, answer, atol=1e-5 * np.abs(answer).max())
        np.testing.assert_allclose(output.sum(axis=-1), 1, atol=1e-6)
        np.testing.assert_allclose(output, np.exp(reference.log_softmax(answer)), atol=1e-4)


@pytest.mark.parametrize("decoder", ["ppm", "ppm_1x1", "upernet", "icnet"])
@pytest.mark.parametrize(("order", "is_inside"), [("reduce_first", False), ("upsample_first", True)])
def test_order_of_the_pyramid_with_every_decoder_that_has_one(decoder, order, is_inside):
    """Checks whether there is an upsampling between the convolution and the normalization of a level."""
    architecture = dataclasses.replace(ARCHITECTURE, decoder=decoder, pyramid_order=order)
    with tf.Graph().as_default() as graph:
        pspnet_mg.forward_graph([tf.placeholder(tf.float32, [1, 64, 64, 3])], architecture)
        resizing = [op.name for op in graph.get_operations() if op.type == "ResizeBilinear"]
    assert resizing
    levels = {level for level in ("pool6", "pool3", "pool2", "pool1") if any(f"/psp/{level}/" in x for x in resizing)}
    assert levels == ({"pool6", "pool3", "pool2", "pool1"} if is_inside else set())


def test_architecture_defaults_are_those_of_the_reference():
    defaults = Architecture(
        "resnet_v1_50", 19, 8, "reference", "half_pixel", "conv7", "same", None, 512, 256, "ppm", "reduce_first",
    )  # fmt: skip
    assert Architecture("resnet_v1_50", 19) == defaults


def _training_logits(images, architecture, known=True):
    """Computes the logits of each head and tower in training, and the gradients of their squares by variable."""
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        xs, feed = towers(images, known=known)
        has_auxiliary = architecture.encoder_blocks > 2
        outputs = pspnet_mg.pspnet(xs, architecture, is_training=True, has_auxiliary=has_auxiliary)
        squares = tf.add_n([tf.reduce_sum(tf.square(y)) for head in (outputs.logits, *outputs.auxiliary) for y in head])
        variables = tf.trainable_variables()
        gradients = tf.gradients(squares, variables)
        assert None not in gradients
        assert {v.op.name.split("/")[0] for v in variables} == {architecture.network}
        with open_session(rewrite_graph=False) as session:
            initialize(session)
            return session.run([[outputs.logits, *outputs.auxiliary], gradients], feed)


# With smaller images, ICNet's last block has so few values that rounding changes its gradients by several percent.
@pytest.mark.parametrize(
    ("decoder", "output_stride", "blocks", "heads", "size"),
    [
        pytest.param("c1", 8, 4, 2, (49, 41), marks=pytest.mark.slow),
        pytest.param("ppm_1x1", 16, 3, 2, (49, 41), marks=pytest.mark.slow),
        ("ppm_1x1", 8, 2, 1, (49, 41)),
        pytest.param("upernet", 16, 4, 2, (49, 41), marks=pytest.mark.slow),
        pytest.param("icnet", 8, 4, 3, (97, 81), marks=pytest.mark.slow),
        pytest.param("icnet_wide", 8, 4, 3, (97, 81), marks=pytest.mark.slow),
    ],
)
def test_towers_of_other_decoders_are_one_tower(decoder, output_stride, blocks, heads, size):
    architecture = dataclasses.replace(
        ARCHITECTURE, decoder=decoder, output_stride=output_stride, encoder_blocks=blocks, head_depth=32
    )
    (images,) = batch((3, *size))[0]
    one_tower = _training_logits([images], architecture)
    shared = _training_logits([images[:1], images[1:]], architecture, known=False)
    assert len(one_tower[0]) == heads
    for one, several in zip(one_tower[0], shared[0], strict=True):
        joined = np.concatenate(several)
        assert joined.shape == (*images.shape[:3], CLASSES)
        np.testing.assert_allclose(joined, one[0], atol=1e-4 * np.abs(one[0]).max())
    # Compare lengths: if rounding changes the sign before a ReLU, single values differ much.
    differences = [np.linalg.norm(several - one) for one, several in zip(one_tower[1], shared[1], strict=True)]
    assert np.linalg.norm(differences) < 1e-2 * np.linalg.norm([np.linalg.norm(one) for one in one_tower[1]])


@pytest.mark.parametrize(
    ("decoder", "output_stride"), [("upernet", 32), ("icnet", 8), pytest.param("icnet_wide", 8, marks=pytest.mark.slow)]
)
def test_other_decoders_predict_at_the_size_of_the_image(decoder, output_stride):
    architecture = dataclasses.replace(ARCHITECTURE, decoder=decoder, output_stride=output_stride)
    images = batch((1, 40, 33))[0]
    with tf.Graph().as_default():
        xs, feed = towers(images, known=False)
        (probabilities,) = pspnet_mg.forward_graph(xs, architecture)
        with open_session(rewrite_graph=False) as session:
            initialize(session)
            output = session.run(probabilities, feed)
    assert output.shape == (1, 40, 33, CLASSES)
    np.testing.assert_allclose(output.sum(axis=-1), 1, atol=1e-5)
