"""Tests the variable names of ICNet, and compares all of its heads and losses with float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import choices, pspnet_mg, resnet, training_graph
from tests.differences import relative_difference
from tests.model import reference
from tests.model.reference_network import ReferenceNetwork, Towers
from tests.model.sessions import open_session, towers
from tests.model.training_step import ARCHITECTURE, CLASSES, OPTIONS, SMALL, batch, initialize

ICNET = replace(ARCHITECTURE, decoder="icnet")
GRID = "half_pixel"
# From here on a small change of the activations is a small change of the outputs; smaller images leave the last block
# a handful of values per channel to normalize.
SHAPES = ((1, 97, 70), (2, 64, 83))


def _half(x: np.ndarray) -> np.ndarray:
    return reference.resize_bilinear(x, (x.shape[1] + 1) // 2, (x.shape[2] + 1) // 2, GRID)


def _at_size_of(xs: Towers, others: Towers) -> Towers:
    return [reference.resize_bilinear(x, y.shape[1], y.shape[2], GRID) for x, y in zip(xs, others, strict=True)]


class ReferenceICNet(ReferenceNetwork):
    """Implements the cascade of section 3 and figure 4 of the paper."""

    def heads(self, images: Towers) -> list[Towers]:
        """Computes the logits at 1/4, 1/8 and 1/16 of the image."""
        detail, quarter = [np.asarray(x, np.float64) for x in images], []
        for number in (1, 2, 3):
            detail = self._layer(detail, f"icnet/detail{number}", 2)
            quarter = detail if number == 2 else quarter
        xs = [reference.max_pool(x, 3, 2) for x in self._layer([_half(x) for x in images], "conv1", 2)]
        shared: Towers = []
        for unit in self.units:
            xs = self._unit(xs, *unit)
            if unit[0] == "block2/unit_1":
                shared, xs = xs, [_half(x) for x in xs]
        xs = self._layer(self._pyramid(xs), self.head_scope)
        at_16, fused = self._fuse(xs, shared, "fusion16")
        at_8, fused = self._fuse(fused, detail, "fusion8")
        inputs = {"logits": _at_size_of(fused, quarter), "icnet/logits8": at_8, "icnet/logits16": at_16}
        return [
            [reference.conv2d(x, self._value(f"{scope}/weights")) + self._value(f"{scope}/biases") for x in xs]
            for scope, xs in inputs.items()
        ]

    def _fuse(self, coarse: Towers, fine: Towers, scope: str) -> tuple[Towers, Towers]:
        upsampled = _at_size_of(coarse, fine)
        context = self._layer(upsampled, f"icnet/{scope}/context", rate=2, activation=False)
        detail = self._layer(fine, f"icnet/{scope}/detail", activation=False)
        return upsampled, [np.maximum(x + y, 0) for x, y in zip(context, detail, strict=True)]


@pytest.mark.slow
def test_names_and_shapes_of_what_a_pspnet_does_not_have():
    def shapes(architecture):
        with tf.Graph().as_default():
            images = [tf.placeholder(tf.float32, [1, None, None, 3])]
            pspnet_mg.pspnet(images, architecture, is_training=True, has_auxiliary=True)
            return {v.op.name: v.shape.as_list() for v in tf.global_variables()}

    pspnet, icnet = shapes(ARCHITECTURE), shapes(ICNET)
    own = {name: shape for name, shape in icnet.items() if pspnet.get(name) != shape and "/BatchNorm/" not in name}
    assert own == {
        "resnet_v1_18/icnet/detail1/weights": [3, 3, 3, 32],
        "resnet_v1_18/icnet/detail2/weights": [3, 3, 32, 32],
        "resnet_v1_18/icnet/detail3/weights": [3, 3, 32, 64],
        "resnet_v1_18/icnet/fusion16/context/weights": [3, 3, 512, 128],
        "resnet_v1_18/icnet/fusion16/detail/weights": [1, 1, 128, 128],
        "resnet_v1_18/icnet/fusion8/context/weights": [3, 3, 128, 128],
        "resnet_v1_18/icnet/fusion8/detail/weights": [1, 1, 64, 128],
        "resnet_v1_18/icnet/logits16/weights": [1, 1, 512, CLASSES],
        "resnet_v1_18/icnet/logits16/biases": [CLASSES],
        "resnet_v1_18/icnet/logits8/weights": [1, 1, 128, CLASSES],
        "resnet_v1_18/icnet/logits8/biases": [CLASSES],
        "resnet_v1_18/logits/weights": [1, 1, 128, CLASSES],
    }
    missing = {name.split("/")[1] for name in set(pspnet) - set(icnet)}
    assert missing == {"aux_logits", "block3"}  # the auxiliary head
    assert all("block3/unit_3" in name or "aux_logits" in name for name in set(pspnet) - set(icnet))


def run_step(shapes=SHAPES, options=OPTIONS):
    """Runs a step of towers; returns values, results, images and labels."""
    images, labels = batch(*shapes)
    with pytest.MonkeyPatch.context() as patch, tf.Graph().as_default():
        patch.setitem(resnet.NETWORKS, ICNET.network, SMALL)
        (xs, feed), (ys, more) = towers(images, known=False), towers(labels)
        graph = training_graph.train_graph(xs, ys, ICNET, options)
        names = ("logits", *pspnet_mg.AUXILIARY_ENDPOINTS)
        fetches = {
            "heads": [graph.endpoints[name] for name in names],
            "losses": [graph.loss, graph.auxiliary_loss, graph.total_loss - graph.weight_decay],
            "predictions": graph.predictions,
        }
        with open_session(rewrite_graph=False) as session:
            values = initialize(session)
            return values, session.run(fetches, feed | more), images, labels


@pytest.fixture(scope="module")
def step():
    """A step of two towers of different sizes."""
    return run_step()


def test_heads_equal_float64(step, record_property):
    values, outputs, images, _ = step
    for head, expected in zip(outputs["heads"], ReferenceICNet(values).heads(images), strict=True):
        for actual, answer in zip(head, expected, strict=True):
            difference = relative_difference(actual, answer)
            record_property("logits", difference)
            assert difference < 1e-3
    sizes = [[x.shape[1:3] for x in head] for head in outputs["heads"]]
    assert sizes == [[(25, 18), (16, 21)], [(13, 9), (8, 11)], [(7, 5), (4, 6)]]


def losses_of_heads(outputs, labels):
    """The loss of each head at the size of its logits, by NumPy."""
    losses = []
    for head in outputs["heads"]:
        pixels = []
        for logits, truth in zip(head, labels, strict=True):
            rows, columns = (
                np.floor((np.arange(n) + 0.5) * m / n).astype(int)
                for n, m in zip(logits.shape[1:3], truth.shape[1:3], strict=True)
            )
            pixels.append(reference.pixel_cross_entropy(logits, truth[:, rows][:, :, columns]))
        losses.append(np.concatenate(pixels).mean())
    return losses


def test_losses_are_taken_at_the_size_of_the_logits_and_weigh_1_and_04_and_016(step):
    _, outputs, _, labels = step
    losses = losses_of_heads(outputs, labels)
    loss, auxiliary, total = outputs["losses"]
    assert loss == pytest.approx(losses[0], rel=1e-5)
    assert auxiliary == pytest.approx(losses[1] + 0.4 * losses[2], rel=1e-5)
    assert total == pytest.approx(losses[0] + 0.4 * losses[1] + 0.16 * losses[2], rel=1e-5)


@pytest.mark.slow
def test_weights_of_the_losses():
    _, outputs, _, labels = run_step(((2, 64, 64),), replace(OPTIONS, cascade_loss_weights=(2.0, 0.5, 0.25)))
    losses = losses_of_heads(outputs, labels)
    loss, auxiliary, total = outputs["losses"]
    assert loss == pytest.approx(losses[0], rel=1e-5)
    assert auxiliary == pytest.approx(losses[1] + 0.5 * losses[2], rel=1e-5)
    assert total == pytest.approx(2 * losses[0] + 0.5 * losses[1] + 0.25 * losses[2], rel=1e-5)


@pytest.mark.slow
def test_filter_scale_halves_the_encoder_and_the_wide_branches():
    def filters(decoder, scale):
        with tf.Graph().as_default():
            architecture = replace(ICNET, decoder=decoder, filter_scale=scale)
            pspnet_mg.pspnet([tf.placeholder(tf.float32, [1, 64, 64, 3])], architecture, is_training=False)
            kernels = [v for v in tf.model_variables() if v.op.name.endswith("/weights")]
            return {v.op.name: v.shape.as_list()[3] for v in kernels}

    for decoder, scaled in (("icnet", ("conv1", "block", "psp")), ("icnet_wide", ("conv1", "block", "psp", "icnet"))):
        whole, half = filters(decoder, 1.0), filters(decoder, 0.5)
        assert whole.keys() == half.keys()
        for name, count in half.items():
            scope = name.partition("/")[2]
            is_scaled = scope.startswith(scaled) and not scope.startswith("block4/unit_3")  # that is `head_depth`
            assert count == whole[name] * (0.5 if is_scaled else 1), name


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["icnet", "icnet_wide"])
@pytest.mark.parametrize("network", ["resnet_v1_18", "mobilenet_v2"])
def test_branches_meet_at_a_sixteenth_with_every_stride_convention(decoder, network):
    for convention in choices.NETWORKS[network].conventions:
        with tf.Graph().as_default():
            architecture = replace(ICNET, network=network, decoder=decoder, stride_convention=convention, stem="")
            images = [tf.placeholder(tf.float32, [1, 256, 256, 3])]
            endpoints = pspnet_mg.pspnet(images, architecture, is_training=False).endpoints
            sizes = {name: endpoints[name][0].shape.as_list()[1] for name in ("fusion16", "fusion8", "logits")}
        assert sizes == {"fusion16": 16, "fusion8": 32, "logits": 64}, convention


def test_predictions_have_the_size_of_the_images(step):
    _, outputs, images, _ = step
    for predicted, image, logits in zip(outputs["predictions"], images, outputs["heads"][0], strict=True):
        upsampled = reference.resize_bilinear(logits, *image.shape[1:3], GRID)
        assert (predicted == upsampled.argmax(axis=-1)).mean() > 0.999  # except for ties within rounding


def test_prediction_equals_float64(monkeypatch):
    monkeypatch.setitem(resnet.NETWORKS, ICNET.network, SMALL)
    images = [x / 1000 for x in batch((1, 97, 70))[0]]
    with tf.Graph().as_default():
        xs, feed = towers(images, known=False)
        probabilities = pspnet_mg.forward_graph(xs, ICNET)
        assert not any("logits8" in v.op.name or "logits16" in v.op.name for v in tf.global_variables())
        with open_session(rewrite_graph=False) as session:
            values = initialize(session)
            (actual,) = session.run(probabilities, feed)
    rng = np.random.default_rng(0)
    for stride, depth in ((8, 128), (16, 512)):  # absent from prediction, but the reference computes them
        values[f"resnet_v1_18/icnet/logits{stride}/weights"] = rng.normal(size=(1, 1, depth, CLASSES))
        values[f"resnet_v1_18/icnet/logits{stride}/biases"] = np.zeros(CLASSES)
    logits = ReferenceICNet(values, is_training=False).heads(images)[0][0]
    answer = np.exp(reference.log_softmax(reference.resize_bilinear(logits, 97, 70, GRID)))
    np.testing.assert_allclose(actual, answer, atol=1e-4)


def test_sizes_that_suit_are_multiples_of_32():
    assert ICNET.smallest_stride == 32
    assert replace(ICNET, output_stride=16).smallest_stride == 64
    assert ARCHITECTURE.smallest_stride == 8
