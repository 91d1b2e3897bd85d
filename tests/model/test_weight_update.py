"""Tests clipping, decoupled decay, rates of parts and accumulation on whole training steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import training_graph
from model.regularizers import is_decayed
from tests.model.sessions import open_session, towers
from tests.model.training_step import ARCHITECTURE, OPTIONS, Step, batch, initialize, take_step

pytestmark = pytest.mark.usefixtures("small_resnet")

RATE = 0.5
SGD = replace(OPTIONS, optimizer="sgd", weight_decay_rate=0.0, weight_decay_rate2=0.0)
DECODER_PARTS = ("/psp/", "/block4/unit_2/", "/block3/unit_2/", "/logits/", "/aux_logits/")


@pytest.fixture(scope="module")
def small_batch(small_resnet):
    return batch((2, 33, 33))


@pytest.fixture(scope="module")
def plain_step(small_batch) -> Step:
    """The gradients of the loss, without decay."""
    return take_step(*small_batch, replace(OPTIONS, weight_decay_rate=0.0, weight_decay_rate2=0.0))


def _changes(arrays, options, rate=RATE, fetch=(), **arguments):
    """Runs one step; returns the initial values, the changes of the trained variables, and fetched tensors."""
    with tf.Graph().as_default():
        (xs, feed), (ys, more) = towers(arrays[0]), towers(arrays[1])
        graph = training_graph.train_graph(xs, ys, ARCHITECTURE, options, **arguments)
        with open_session(rewrite_graph=False) as session:
            values = initialize(session)
            fetched, _ = session.run(
                [[getattr(graph, name) for name in fetch], graph.train_op], feed | more | {graph.learning_rate: rate}
            )
            changed = session.run({v.op.name: v for v in graph.trained})
    return values, {name: changed[name] - values[name].astype(np.float64) for name in changed}, fetched


def _require_changes(changes, values, gradients, factor):
    """`factor` maps the name of a variable to the expected change divided by its gradient."""
    assert set(changes) == set(gradients)
    for name, gradient in gradients.items():
        expected = factor(name) * gradient.astype(np.float64)
        spacing = np.spacing(np.abs(values[name]).max().astype(np.float32))  # the change is a difference of float32
        tolerance = 2e-4 * np.abs(expected).max() + 2 * spacing
        np.testing.assert_allclose(changes[name], expected, atol=tolerance, rtol=0, err_msg=name)


def _norm(gradients) -> float:
    return float(np.sqrt(sum(np.sum(np.square(gradient, dtype=np.float64)) for gradient in gradients.values())))


@pytest.mark.parametrize("part", [0.25, pytest.param(4.0, marks=pytest.mark.slow)])
def test_gradients_are_clipped_by_the_norm_of_all(small_batch, plain_step, part):
    norm = _norm(plain_step.gradients)
    options = replace(SGD, clip_norm=part * norm)
    values, changes, [measured] = _changes(small_batch, options, fetch=["gradient_norm"])
    assert measured == pytest.approx(norm, rel=1e-4)
    _require_changes(changes, values, plain_step.gradients, lambda name: -RATE * min(1.0, part))


@pytest.mark.slow
def test_decay_is_not_clipped(small_batch, plain_step):
    norm = _norm(plain_step.gradients)
    options = replace(SGD, clip_norm=1e-6 * norm, weight_decay_rate=0.1, weight_decay_rate2=0.1)
    values, changes, _ = _changes(small_batch, options)
    for name in changes:
        if name.endswith("/weights"):
            expected = -RATE * 0.1 * values[name].astype(np.float64)
            np.testing.assert_allclose(changes[name], expected, atol=1e-3 * np.abs(expected).max())


def test_parts_have_their_own_rates(small_batch, plain_step):
    options = replace(SGD, encoder_multiplier=0.1, decoder_multiplier=3.0)
    values, changes, _ = _changes(small_batch, options)

    def factor(name):
        return -RATE * (3.0 if any(part in name for part in DECODER_PARTS) else 0.1)

    _require_changes(changes, values, plain_step.gradients, factor)


@pytest.mark.parametrize("mode", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_adamw_decays_apart_from_the_gradient(small_batch, plain_step, mode):
    """The first step of Adam is rate * sign(g) for |g| >> epsilon; the decay is rate * 0.1 * (w - w0), as is."""
    options = replace(OPTIONS, optimizer="adamw", weight_decay_mode=mode, weight_decay_rate=0.1, weight_decay_rate2=0.3)
    starts = {}

    def starting_points(variables):
        starts.update({v.op.name: np.full(v.shape.as_list(), 0.05, np.float32) for v in variables})
        return {name: tf.constant(value) for name, value in starts.items()}

    values, changes, _ = _changes(small_batch, options, rate=0.01, starting_points=starting_points)
    assert bool(starts) == (mode == 1)
    for name, gradient in plain_step.gradients.items():
        is_decoder = any(part in name for part in DECODER_PARTS)
        rate = (0.3 if is_decoder else 0.1) if name.endswith("/weights") else 0.0
        gradient = gradient.astype(np.float64)
        # Adam's first step with its bias corrections: m = 0.1 g and v = 0.001 g^2 become g and g^2.
        corrected = 0.01 * gradient / (np.abs(gradient) + 1e-8 / np.sqrt(0.001))
        expected = -corrected - 0.01 * rate * (values[name] - starts.get(name, 0.0))
        far = np.abs(gradient) > 1e-3 * np.abs(gradient).max()
        np.testing.assert_allclose(changes[name][far], expected[far], atol=3e-5, err_msg=name)


def _accumulated(arrays, options, rate=RATE):
    """Runs one step over a list of batches, and returns as `_changes`, and the sums afterwards."""
    with tf.Graph().as_default():
        (xs, feed), (ys, more) = towers([arrays[0][0][0]]), towers([arrays[0][1][0]])
        graph = training_graph.train_graph(xs, ys, ARCHITECTURE, replace(options, accumulate=len(arrays)))
        [x], [y] = feed, more
        with open_session(rewrite_graph=False) as session:
            values = initialize(session)
            session.run(tf.local_variables_initializer())
            for number, (images, labels) in enumerate(arrays[:-1]):
                session.run(graph.accumulate_op, {x: images[0], y: labels[0], graph.accumulation.number: number})
                assert session.run(graph.global_step) == 0
            images, labels = arrays[-1]
            session.run(graph.train_op, {x: images[0], y: labels[0], graph.learning_rate: rate})
            assert session.run(graph.global_step) == 1
            changed = session.run({v.op.name: v for v in graph.trained})
            sums = session.run(tf.local_variables())
            averages = session.run({v.op.name: v for v in tf.model_variables() if "/moving_" in v.op.name})
        saved = {v.op.name for v in tf.global_variables()}
    assert len(sums) == len(changed)
    assert not any(np.any(total) for total in sums)
    assert not [name for name in saved if name.endswith("/accumulated")]
    return values, {name: changed[name] - values[name].astype(np.float64) for name in changed}, averages


def _batches_and_mean(count, seed, noise):
    """Batches that differ by noise, the step of each without decay, and the mean of their gradients."""
    rng = np.random.default_rng(seed)
    arrays = [batch((2, 33, 33)) for _ in range(count)]
    arrays = [([image + rng.normal(0, noise, image.shape).astype(np.float32) for image in x], y) for x, y in arrays]
    plain = replace(OPTIONS, weight_decay_rate=0.0, weight_decay_rate2=0.0)
    steps = [take_step(*each, plain) for each in arrays]
    return (
        arrays,
        steps,
        {name: np.mean([step.gradients[name] for step in steps], axis=0) for name in steps[0].gradients},
    )


@pytest.mark.slow
def test_accumulated_gradients_are_the_mean_of_the_batches():
    arrays, steps, gradients = _batches_and_mean(3, seed=7, noise=20)
    values, changes, averages = _accumulated(arrays, SGD)
    _require_changes(changes, values, gradients, lambda name: -RATE)
    # The running averages move at every batch, by a tenth of the way to its moments.
    for name, average in averages.items():
        expected = values[name].astype(np.float64)
        for step in steps:
            moment = values[name] + (step.averages[name] - values[name].astype(np.float64)) / 0.1
            expected = expected + 0.1 * (moment - expected)
        np.testing.assert_allclose(average, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max(), err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("part", [0.25, 1.01])
def test_the_mean_of_the_batches_is_clipped(part):
    """Not each batch: clipped ones would have another mean, which is shorter than the limit."""
    arrays, steps, gradients = _batches_and_mean(2, seed=8, noise=40)
    norm = _norm(gradients)
    assert all(_norm(step.gradients) > 1.02 * norm for step in steps)
    values, changes, _ = _accumulated(arrays, replace(SGD, clip_norm=part * norm))
    _require_changes(changes, values, gradients, lambda name: -RATE * min(1.0, part))


@pytest.mark.slow
def test_accumulated_batches_have_different_dropout_masks():
    images, labels = batch((2, 33, 33))
    with tf.Graph().as_default():
        (xs, feed), (ys, more) = towers(images), towers(labels)
        graph = training_graph.train_graph(xs, ys, ARCHITECTURE, replace(SGD, dropout=True, accumulate=2))
        fed = feed | more
        with open_session(rewrite_graph=False) as session:
            initialize(session)
            session.run(tf.local_variables_initializer())
            losses = [session.run(graph.loss, fed | {graph.accumulation.number: number}) for number in (0, 1, 1)]
    assert losses[0] != losses[1] == losses[2]


def test_averages_of_the_weights_follow_a_step(small_batch):
    with tf.Graph().as_default():
        (xs, feed), (ys, more) = towers(small_batch[0]), towers(small_batch[1])
        graph = training_graph.train_graph(xs, ys, ARCHITECTURE, replace(SGD, ema_decay=0.9))
        fed = feed | more | {graph.learning_rate: 0.01}
        averaged = {v.op.name.removesuffix("/average"): v for v in tf.global_variables() if "/average" in v.op.name}
        assert set(averaged) == {v.op.name for v in tf.model_variables()}
        courses = []
        with open_session(rewrite_graph=False) as session:
            initialize(session)
            for _ in range(2):
                session.run(graph.train_op, fed)
                courses.append(session.run([graph.weights, averaged]))
    (first, _), (second, average) = courses
    for name in average:  # the second step keeps a tenth of the first
        expected = 0.1 * first[name].astype(np.float64) + 0.9 * second[name]
        np.testing.assert_allclose(average[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)


def test_weights_that_decay_are_convolution_weights(small_batch):
    with tf.Graph().as_default():
        (xs, _), (ys, _) = towers(small_batch[0]), towers(small_batch[1])
        graph = training_graph.train_graph(xs, ys, ARCHITECTURE, replace(OPTIONS, optimizer="adamw"))
        assert {d.variable.op.name for d in graph.decayed} == {v.op.name for v in graph.trained if is_decayed(v)}
