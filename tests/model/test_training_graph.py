"""Tests what each option of the training step does."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import training_graph
from model.errors import BatchSizeError, LayerNameError
from tests.model import reference
from tests.model.reference_network import NETWORK, ReferenceNetwork
from tests.model.sessions import open_session, towers
from tests.model.training_step import ARCHITECTURE, CLASSES, OPTIONS, Step, batch, initialize, take_step

pytestmark = pytest.mark.usefixtures("small_resnet")

NEW_PARTS = ("/psp/", "/block4/unit_2/", "/block3/unit_2/", "/logits/", "/aux_logits/")


def _is_new(name: str) -> bool:
    return any(part in name for part in NEW_PARTS)


@pytest.fixture(scope="module")
def small_batch(small_resnet) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return batch((2, 33, 33))


@pytest.fixture(scope="module")
def plain_step(small_batch) -> Step:
    return take_step(*small_batch)


def _build(arrays, options=OPTIONS, **arguments):
    """Builds the training step in the default graph; returns it and its feed."""
    (xs, feed), (ys, more) = towers(arrays[0]), towers(arrays[1])
    graph = training_graph.train_graph(xs, ys, ARCHITECTURE, options, **arguments)
    return graph, feed | more


@dataclass(frozen=True)
class Training:
    """Six steps of a finalized graph: the initial weights, the final weights by name, and the losses."""

    values: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]
    losses: list[float]
    operations_added: int


@pytest.fixture(scope="module")
def training(small_resnet) -> Training:
    # The right half of every image has another class and is brighter.
    right = np.broadcast_to(np.arange(33) > 16, (2, 33, 33))
    images = np.where(right[..., np.newaxis], 100.0, -100.0).astype(np.float32) * np.ones(3, np.float32)
    with tf.Graph().as_default() as default:
        graph, feed = _build(([images], [right.astype(np.int32)]))
        assert graph.loss_scale is None
        with open_session() as session:
            values = initialize(session)
            weights = session.run(graph.weights)
            default.finalize()
            num_operations = len(default.get_operations())
            feed[graph.learning_rate] = 0.005
            losses = [session.run([graph.loss, graph.train_op], feed)[0] for _ in range(6)]
            assert session.run(graph.global_step) == 6
        return Training(values, weights, losses, len(default.get_operations()) - num_operations)


def test_training_lowers_the_loss_of_a_finalized_graph(training):
    assert training.operations_added == 0
    assert training.losses[-1] < 0.5 * training.losses[0]


def test_weights_by_name_are_all_that_a_checkpoint_holds(training):
    assert set(training.weights) == set(training.values)
    for name, values in training.values.items():
        np.testing.assert_array_equal(training.weights[name], values)


def test_labels_shrunk_to_the_logits(small_batch):
    with tf.Graph().as_default():
        graph, feed = _build(small_batch, replace(OPTIONS, upsample_logits=False))
        with open_session(rewrite_graph=False) as session:
            initialize(session)
            small = [graph.endpoints[name][0] for name in ("logits", "auxiliary_logits")]
            (*logits, loss, auxiliary_loss) = session.run([*small, graph.loss, graph.auxiliary_loss], feed)
    positions = np.floor((np.arange(5) + 0.5) * 33 / 5).astype(int)
    labels = small_batch[1][0][:, positions][:, :, positions]
    for head, actual in zip(logits, (loss, auxiliary_loss), strict=True):
        assert head.shape == (2, 5, 5, CLASSES)
        np.testing.assert_allclose(actual, reference.pixel_cross_entropy(head, labels).mean(), rtol=1e-5)


def test_unknown_new_layer_is_refused(small_batch):
    options = replace(OPTIONS, new_layer_names=("logits", "block4/unit_9"))
    words = "--new_layer_names: 'block4/unit_9' .* resnet_v1_18.* psp"
    with tf.Graph().as_default(), pytest.raises(LayerNameError, match=words):
        _build(small_batch, options)


def test_plain_step_equals_float64(small_batch, plain_step):
    losses = ReferenceNetwork(plain_step.values).total_loss(*small_batch, OPTIONS.weight_decay_rate)
    actual = (plain_step.loss, plain_step.auxiliary_loss, plain_step.total_loss)
    np.testing.assert_allclose(actual, losses, rtol=2e-6)


def test_frozen_batch_norm(small_batch, plain_step):
    step = take_step(*small_batch, replace(OPTIONS, bn_frozen=True))
    network = ReferenceNetwork(step.values, bn_frozen=True)
    losses = network.total_loss(*small_batch, OPTIONS.weight_decay_rate)
    np.testing.assert_allclose((step.loss, step.auxiliary_loss, step.total_loss), losses, rtol=1e-5)
    for name, average in step.averages.items():
        assert np.array_equal(average, step.values[name]) == (not _is_new(name))
        assert not np.array_equal(plain_step.averages[name], step.values[name])
    assert set(step.gradients) == set(plain_step.gradients)


@pytest.mark.slow
def test_all_batch_norm_frozen_and_another_weight_of_the_auxiliary_loss(small_batch, plain_step):
    step = take_step(*small_batch, replace(OPTIONS, bn_frozen="all", aux_weight=0.75))
    network = ReferenceNetwork(step.values, bn_frozen="all")
    losses = network.total_loss(*small_batch, OPTIONS.weight_decay_rate)
    np.testing.assert_allclose((step.loss, step.auxiliary_loss), losses[:2], rtol=1e-5)
    np.testing.assert_allclose(step.total_loss, step.loss + 0.75 * step.auxiliary_loss + step.weight_decay, rtol=1e-6)
    for name, average in step.averages.items():
        np.testing.assert_array_equal(average, step.values[name])
    assert set(step.gradients) == set(plain_step.gradients)


def test_an_image_normalized_alone_is_refused():
    images, labels = batch((1, 9, 9), (2, 9, 9))
    with (
        tf.Graph().as_default(),
        pytest.raises(BatchSizeError, match="--sync_bn 0 normalizes each tower alone"),
    ):
        _build((images, labels), replace(OPTIONS, sync_bn=False))


@pytest.mark.parametrize(
    ("layer", "bias", "flags"),
    [
        pytest.param(10, 20, {}, marks=pytest.mark.slow),
        (3, 7, {"new_layer_multiplier": 3.0, "new_bias_multiplier": 7.0}),
    ],
)
def test_new_layers_learn_faster_like_in_caffe(small_batch, plain_step, layer, bias, flags):
    options = replace(OPTIONS, optimizer="sgd", train_like_in_caffe=True, **flags)
    with tf.Graph().as_default():
        graph, feed = _build(small_batch, options)
        with open_session(rewrite_graph=False) as session:
            values = initialize(session)
            session.run(graph.train_op, feed | {graph.learning_rate: 0.5})
            changed = session.run({v.op.name: v for v in tf.trainable_variables()})
    assert set(changed) == set(plain_step.gradients)
    for name, gradient in plain_step.gradients.items():
        multiplier = 1 if not _is_new(name) else bias if name.endswith("/biases") else layer
        expected = -0.5 * multiplier * gradient
        tolerance = 2e-4 * np.abs(expected).max() + 2e-7
        np.testing.assert_allclose(changed[name] - values[name], expected, atol=tolerance, rtol=1e-3)


def _decay_report(small_batch, **options):
    """Returns (mode, rate) by variable name, and the names whose pre-trained values were requested."""
    asked = []

    def starting_points(variables):
        asked.extend(v.op.name for v in variables)
        return {v.op.name: tf.zeros(v.shape) for v in variables}

    rates = {"weight_decay_rate": 0.1, "weight_decay_rate2": 0.2, "weight_decay_mode": 1}
    with tf.Graph().as_default():
        graph, _ = _build(small_batch, replace(OPTIONS, **rates, **options), starting_points=starting_points)
        weights = {v.op.name for v in tf.trainable_variables() if v.op.name.endswith("/weights")}
    report = {decayed.variable.op.name: (decayed.mode, decayed.rate) for decayed in graph.decayed}
    assert len(graph.decayed) == len(report)
    assert set(report) == weights
    assert set(asked) == {name for name, (mode, _) in report.items() if mode == "L2-SP"}
    return report


def test_dilated_blocks_decay_as_new_layers(small_batch):
    report = _decay_report(small_batch, consider_dilated=True, has_aux_loss=False)
    for name, line in report.items():
        as_new = _is_new(name) or "/block3/" in name or "/block4/" in name
        assert line == (("L2", 0.2) if as_new else ("L2-SP", 0.1))


def test_new_layers_can_be_named(small_batch):
    report = _decay_report(small_batch, new_layer_names=("logits", "conv1/"), has_aux_loss=False)
    new = {name for name, (mode, _) in report.items() if mode == "L2"}
    assert new == {f"{NETWORK}/logits/weights", f"{NETWORK}/conv1/weights"}


@pytest.mark.parametrize("sizes", [(1,), (0, 1)])
def test_one_image_is_refused(sizes):
    images, labels = batch(*[(size, 33, 33) for size in sizes])
    with tf.Graph().as_default(), pytest.raises(BatchSizeError) as caught:
        _build((images, labels))
    message = str(caught.value)
    assert "psp/pool1" in message
    assert "--batch_size or --gpu_num" in message
    assert "\n" not in message


@pytest.mark.usefixtures("half_precision")
def test_bfloat16_step(small_batch, plain_step):
    step = take_step(*small_batch, replace(OPTIONS, float_type="bf16"))
    np.testing.assert_allclose(step.loss, plain_step.loss, rtol=0.03)
    np.testing.assert_allclose(step.weight_decay, plain_step.weight_decay, rtol=1e-5)
    for name in (f"{NETWORK}/logits/weights", f"{NETWORK}/block4/unit_2/weights"):
        cosine = np.corrcoef(step.gradients[name].ravel(), plain_step.gradients[name].ravel())[0, 1]
        assert cosine > 0.95


# Most processors have no fast kernel for float16 convolutions.
@pytest.mark.slow
@pytest.mark.usefixtures("half_precision")
def test_float16_skips_a_step_whose_gradients_overflow():
    images, labels = batch((2, 17, 17))
    with tf.Graph().as_default():
        graph, feed = _build((images, labels), replace(OPTIONS, float_type="16"))
        variables = {v.op.name: v for v in tf.global_variables()}
        trainable = [v.op.name for v in tf.trainable_variables()]
        feed[graph.learning_rate] = 0.01
        with open_session(rewrite_graph=False) as session:
            values = initialize(session)
            states = []
            for scale in (2.0**120, 2.0**10):
                graph.loss_scale.value.load(scale, session)
                loss, _ = session.run([graph.loss, graph.train_op], feed)
                states.append(session.run(variables))
    skipped, stepped = states
    assert (skipped["loss_scale/value"], stepped["loss_scale/value"]) == (2.0**119, 2.0**10)
    assert (skipped["global_step"], stepped["global_step"]) == (1, 2)
    assert (skipped["loss_scale/skipped_steps"], stepped["loss_scale/skipped_steps"]) == (1, 1)
    for name in trainable:
        # The first step is skipped, including the state of the optimizer.
        np.testing.assert_array_equal(skipped[name], values[name])
        np.testing.assert_array_equal(skipped[f"{name}/Momentum"], 0)
        assert np.isfinite(stepped[name]).all()
        assert np.abs(stepped[name] - values[name]).max() > 0
    logits, _ = ReferenceNetwork(values).logits(images)
    valid = labels[0] != 255
    np.testing.assert_allclose(loss, reference.pixel_cross_entropy(logits[0], labels[0]).mean(), rtol=0.01)
    # A bias is added to every pixel, so its gradient is the mean of (probability - truth).
    errors = np.exp(reference.log_softmax(logits[0]))[valid] - np.eye(CLASSES)[labels[0][valid]]
    gradient = stepped[f"{NETWORK}/logits/biases/Momentum"]
    np.testing.assert_allclose(gradient, errors.mean(axis=0), atol=0.01)


@pytest.fixture(scope="module")
def dropout_losses(small_batch) -> list[list[dict[str, float]]]:
    """Returns the losses of the first two steps at rate 0, in each of two sessions, without the auxiliary head."""
    with tf.Graph().as_default():
        graph, feed = _build(small_batch, replace(OPTIONS, dropout=True, has_aux_loss=False))
        assert not [v for v in tf.model_variables() if "aux_logits" in v.op.name or "block3/unit_2" in v.op.name]
        feed[graph.learning_rate] = 0.0
        fetches = {name: getattr(graph, name) for name in ("loss", "auxiliary_loss", "weight_decay", "total_loss")}
        runs = []
        for _ in range(2):
            with open_session(rewrite_graph=False) as session:
                initialize(session)
                runs.append([session.run([fetches, graph.train_op], feed)[0] for _ in range(2)])
    return runs


def test_dropout_follows_seed_and_step(dropout_losses, plain_step):
    first, again = ([step["loss"] for step in run] for run in dropout_losses)
    np.testing.assert_allclose(first, again, rtol=1e-6)
    assert abs(first[0] - first[1]) > 1e-3 * first[0]
    np.testing.assert_allclose(first, plain_step.loss, rtol=0.2)


def test_without_auxiliary_head(dropout_losses):
    for step in dropout_losses[0]:
        assert step["auxiliary_loss"] == 0
        np.testing.assert_allclose(step["total_loss"], step["loss"] + step["weight_decay"], rtol=1e-6)
