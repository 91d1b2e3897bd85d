"""Compares groups, optimizers and loss scaling with float64 arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import optimizers
from model.optimizers import LossScale
from tests.model.sessions import open_session, run

RATE, MOMENTUM = 0.05, 0.8


@pytest.mark.parametrize(
    ("name", "is_new", "multiplier"),
    [
        ("net/logits/biases", True, 20),
        ("net/logits/weights", True, 10),
        ("net/psp/pool1/BatchNorm/beta", True, 10),
        ("net/conv1/weights", False, 1),
        ("net/conv1/biases", False, 1),
    ],
)
def test_multiplier_of_the_caffe_code(name, is_new, multiplier):
    assert optimizers.caffe_multiplier(name, is_new=is_new) == multiplier
    others = {10: 5, 20: 7, 1: 1}
    assert optimizers.caffe_multiplier(name, is_new=is_new, layer=5, bias=7) == others[multiplier]


def _variables() -> list[tf.Variable]:
    names = ("net/conv1/weights", "net/logits/weights", "net/logits/biases", "net/conv2/weights")
    return [tf.get_variable(name, initializer=tf.constant([1.0, -2.0, 3.0])) for name in names]


def _like_caffe(name: str) -> float:
    return optimizers.caffe_multiplier(name, is_new="logits" in name)


@pytest.mark.parametrize(
    ("multiplier", "expected"),
    [(lambda name: 1.0, {1.0: [0, 1, 2, 3]}), (_like_caffe, {1.0: [0, 3], 10.0: [1], 20.0: [2]})],
)
def test_groups(multiplier, expected):
    with tf.Graph().as_default():
        variables = _variables()
        groups = optimizers.group_by_multiplier(variables, multiplier)
    positions = {id(variable): i for i, variable in enumerate(variables)}
    assert {k: [positions[id(v)] for v in group] for k, group in groups.items()} == expected


def _sgd(gradients, rate):
    return -rate * sum(gradients)


def _momentum(gradients, rate):
    change, velocity = 0.0, 0.0
    for gradient in gradients:
        velocity = MOMENTUM * velocity + gradient
        change = change - rate * velocity
    return change


def _adam(gradients, rate):
    # Kingma & Ba 2015, the form at the end of section 2, with the bias corrections in the rate.
    change, first, second = 0.0, 0.0, 0.0
    for step, gradient in enumerate(gradients, start=1):
        first = MOMENTUM * first + (1 - MOMENTUM) * gradient
        second = 0.999 * second + 0.001 * gradient**2
        corrected = rate * np.sqrt(1 - 0.999**step) / (1 - MOMENTUM**step)
        change = change - corrected * first / (np.sqrt(second) + 1e-8)
    return change


def _rmsprop(gradients, rate):
    # TensorFlow initializes the mean square with one.
    change, square, velocity = 0.0, 1.0, 0.0
    for gradient in gradients:
        square = 0.9 * square + 0.1 * gradient**2
        velocity = MOMENTUM * velocity + rate * gradient / np.sqrt(square + 1e-10)
        change = change - velocity
    return change


@pytest.mark.parametrize(
    ("name", "expected"),
    [("sgd", _sgd), ("mom", _momentum), ("adam", _adam), ("adamw", _adam), ("rmsp", _rmsprop)],
)
def test_two_steps_of_every_optimizer(name, expected):
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(2, 4, 3)).astype(np.float32)
    with tf.Graph().as_default():
        variables = _variables()
        gradient = tf.placeholder(tf.float32, [4, 3])
        rate = tf.placeholder(tf.float32, [])
        # The pairs are in another order than the groups.
        pairs = list(zip(tf.unstack(gradient), variables, strict=True))[::-1]
        groups = optimizers.group_by_multiplier(variables, _like_caffe)
        updates = optimizers.apply_gradients(pairs, groups, optimizer=name, learning_rate=rate, momentum=MOMENTUM)
        assert len(updates) == 3
        with open_session() as session:
            session.run(tf.global_variables_initializer())
            for step in steps:
                session.run(updates, {gradient: step, rate: RATE})
            results = session.run(variables)
    for index, multiplier in enumerate((1, 10, 20, 1)):
        change = expected(steps[:, index].astype(np.float64), RATE * multiplier)
        np.testing.assert_allclose(results[index], [1, -2, 3] + change, rtol=1e-4, atol=1e-5)


def test_optimizer_names():
    assert set(optimizers.OPTIMIZERS) == {"sgd", "mom", "adam", "adamw", "rmsp"}
    assert set(optimizers.OPTIMIZERS) > optimizers.DECOUPLED_DECAY


def test_decay_apart_follows_the_rate_of_the_group():
    """Two steps of AdamW as in PyTorch: w -= rate * decay, then Adam's step from the gradient alone."""
    rng = np.random.default_rng(1)
    steps, rate_of_decay = rng.normal(size=(2, 4, 3)).astype(np.float32), 0.7
    with tf.Graph().as_default():
        variables = _variables()
        gradient = tf.placeholder(tf.float32, [4, 3])
        pairs = list(zip(tf.unstack(gradient), variables, strict=True))
        decays = {variables[index].op.name: rate_of_decay * variables[index].read_value() for index in (0, 1)}
        groups = optimizers.group_by_multiplier(variables, _like_caffe)
        updates = optimizers.apply_gradients(
            pairs, groups, optimizer="adamw", learning_rate=tf.constant(RATE), momentum=MOMENTUM, decays=decays
        )
        with open_session() as session:
            session.run(tf.global_variables_initializer())
            for step in steps:
                session.run(updates, {gradient: step})
            results = session.run(variables)
    for index, (multiplier, decay) in enumerate(((1, 0.7), (10, 0.7), (20, 0.0), (1, 0.0))):
        rate, value = RATE * multiplier, np.array([1.0, -2.0, 3.0])
        done = 0.0
        for count in (1, 2):
            change = _adam(steps[:count, index].astype(np.float64), rate)
            value = value * (1 - rate * decay) + (change - done)
            done = change
        np.testing.assert_allclose(results[index], value, rtol=1e-4, atol=1e-5)


def _scales(finite: list[bool], initial: float | None = None) -> list[tuple[float, int]]:
    """Returns (value, finite_steps) after each step."""
    return [state[:2] for state in _states(finite, initial)]


def _states(finite: list[bool], initial: float | None = None) -> list[tuple[float, int, int]]:
    """Returns (value, finite_steps, skipped_steps) after each step."""
    with tf.Graph().as_default():
        loss_scale = LossScale.create()
        is_finite = tf.placeholder(tf.bool, [])
        updates = loss_scale.update(is_finite)
        assert not tf.trainable_variables()
        names = ["loss_scale/value", "loss_scale/finite_steps", "loss_scale/skipped_steps"]
        assert [v.op.name for v in tf.global_variables()] == names
        with open_session() as session:
            session.run(tf.global_variables_initializer())
            if initial is not None:
                loss_scale.value.load(initial, session)
            scales = []
            for step in finite:
                session.run(updates, {is_finite: step})
                state = [loss_scale.value, loss_scale.finite_steps, loss_scale.skipped_steps]
                scales.append(tuple(session.run(state)))
            return scales


def test_loss_scale_grows_after_an_interval_of_finite_steps(monkeypatch):
    monkeypatch.setattr(LossScale, "GROWTH_INTERVAL", 3)
    start = 2.0**15
    assert _scales([True] * 7) == [
        (start, 1),
        (start, 2),
        (2 * start, 0),
        (2 * start, 1),
        (2 * start, 2),
        (4 * start, 0),
        (4 * start, 1),
    ]


def test_loss_scale_halves_and_counts_anew(monkeypatch):
    monkeypatch.setattr(LossScale, "GROWTH_INTERVAL", 3)
    start = 2.0**15
    assert _scales([True, True, False, True, False]) == [
        (start, 1),
        (start, 2),
        (start / 2, 0),
        (start / 2, 1),
        (start / 4, 0),
    ]


def test_skipped_steps_are_counted():
    finite = np.random.default_rng(4).random(50) < 0.7
    assert [state[2] for state in _states(finite.tolist())] == np.cumsum(~finite).tolist()


def test_loss_scale_has_limits(monkeypatch):
    monkeypatch.setattr(LossScale, "GROWTH_INTERVAL", 1)
    assert _scales([True], initial=2.0**24) == [(2.0**24, 0)]
    assert _scales([False], initial=1.0) == [(1.0, 0)]


@pytest.mark.parametrize(
    ("bad", "expected"), [(0.0, True), (np.inf, False), (-np.inf, False), (np.nan, False), (3e38, True)]
)
def test_all_finite(bad, expected):
    arrays = [np.ones((2, 3), np.float32), np.float32([1, bad]), np.zeros((0,), np.float32)]
    with tf.Graph().as_default():
        assert run(optimizers.all_finite([tf.constant(a) for a in arrays])) == expected
