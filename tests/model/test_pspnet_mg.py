"""The network: the scopes of its new layers, and prediction."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import pspnet_mg
from model.pspnet_mg import Architecture
from tests.model import reference
from tests.model.reference_network import ReferenceNetwork
from tests.model.sessions import open_session, towers
from tests.model.training_step import ARCHITECTURE, CLASSES, batch, initialize


@pytest.mark.parametrize(
    ("network", "scopes"),
    [
        ("resnet_v1_50", {"block4/unit_4", "block3/unit_7", "logits", "aux_logits", "psp"}),
        ("resnet_v1_101", {"block4/unit_4", "block3/unit_24", "logits", "aux_logits", "psp"}),
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
    # Nothing but the averages bounds the activations: small images keep some probabilities away from 0 and 1.
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


def test_architecture_defaults_are_those_of_the_reference():
    defaults = Architecture("resnet_v1_50", 19, 8, "reference", "half_pixel", "conv7", "same", None, 512, 256)
    assert Architecture("resnet_v1_50", 19) == defaults
