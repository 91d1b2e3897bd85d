"""Compares weight decay with float64 formulas written from the definitions."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import regularizers
from model.errors import MissingStartingPointError
from tests.differences import relative_difference
from tests.model.operations import needed_for
from tests.model.sessions import run

ALPHA, BETA = 0.3, 0.07
SHAPES = {
    "net/conv1/weights": (3, 3, 2, 4),
    "net/conv1/BatchNorm/gamma": (4,),
    "net/conv1/BatchNorm/beta": (4,),
    "net/block1/weights": (1, 1, 4, 3),
    "net/logits/weights": (1, 1, 3, 2),
    "net/logits/biases": (2,),
}
BACKBONE, NEW = ("net/conv1/weights", "net/block1/weights"), "net/logits/weights"
MODE_NAMES = {0: "L2", 1: "L2-SP", 2: "L2-SP-perpendicular-scaled", 3: "L2-SP-perpendicular"}


def _values(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def _starting_points() -> dict[str, np.ndarray]:
    starts = {name: _values(1)[name] for name in BACKBONE}
    starts["net/conv1/weights"][..., 2] = 0
    return starts


def _is_new(name: str) -> bool:
    return name.startswith("net/logits/")


def _penalty(mode: int, weights: np.ndarray, start: np.ndarray) -> float:
    """Computes the penalty of the backbone in float64, filter by filter."""
    weights, start = weights.astype(np.float64), start.astype(np.float64)
    if mode == 0:
        return (weights**2).sum()
    if mode == 1:
        return ((weights - start) ** 2).sum()
    total = 0.0
    for c in range(weights.shape[-1]):
        w, w0 = weights[..., c].ravel(), start[..., c].ravel()
        # Pythagoras: the squared length minus that of the part parallel to w0.
        along = (w @ w0) ** 2 / (w0 @ w0) if w0.any() else 0.0
        total += w @ w - along
    return total * (weights[..., 0].size ** 0.5 if mode == 2 else 1.0)


def _build(values, mode, starting_points, **options):
    variables = [tf.get_variable(name, initializer=value, use_resource=True) for name, value in values.items()]
    decay = regularizers.weight_decay(
        variables,
        mode=mode,
        rate=ALPHA,
        new_rate=BETA,
        is_new=_is_new,
        starting_points={name: tf.constant(value) for name, value in starting_points.items()},
        **options,
    )
    return variables, decay


def _decay(values, mode, starting_points):
    """Returns the decay and its gradients by variable; variables without a gradient are left out."""
    with tf.Graph().as_default():
        variables, decay = _build(values, mode, starting_points)
        gradients = dict(zip(values, decay.add_gradients([None] * len(variables), variables), strict=True))
        present = {name: gradient for name, gradient in gradients.items() if gradient is not None}
        return run([decay.value(), present])


def _central_differences(function, weights: np.ndarray, step: float = 1e-3) -> np.ndarray:
    """Computes the gradient of a quadratic function, exact except for rounding."""
    gradient = np.zeros(weights.shape)
    for position in np.ndindex(weights.shape):
        shift = np.zeros(weights.shape)
        shift[position] = step
        gradient[position] = (function(weights + shift) - function(weights - shift)) / (2 * step)
    return gradient


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_value_and_gradient(mode, record_property):
    values, starts = _values(0), _starting_points()
    decay, gradients = _decay(values, mode, starts)

    def total(name: str, weights: np.ndarray) -> float:
        current = values | {name: weights}
        penalties = sum(_penalty(mode, current[n], starts[n]) for n in BACKBONE)
        return 0.5 * ALPHA * penalties + 0.5 * BETA * (current[NEW].astype(np.float64) ** 2).sum()

    assert set(gradients) == {*BACKBONE, NEW}
    expected = [_central_differences(lambda x, n=name: total(n, x), values[name]) for name in gradients]
    differences = {
        "value": relative_difference(decay, total(NEW, values[NEW])),
        "gradient": relative_difference(list(gradients.values()), expected),
    }
    for name, difference in differences.items():
        record_property(f"{name}, mode {mode}", difference)
        assert difference < 1e-6, name


@pytest.mark.parametrize("mode", [2, 3])
def test_filter_without_starting_point_decays_towards_zero(mode):
    values = _values(0)
    _, gradients = _decay(values, mode, _starting_points())
    factor = 18**0.5 if mode == 2 else 1.0
    expected = ALPHA * factor * values["net/conv1/weights"][..., 2]
    np.testing.assert_allclose(gradients["net/conv1/weights"][..., 2], expected, rtol=1e-5)


@pytest.mark.parametrize(("mode", "length"), [(1, 1.0), (2, 1.0), (2, 2.5), (3, 1.0), (3, 2.5)])
def test_backbone_costs_nothing_at_its_starting_point(mode, length):
    starts = {name: _values(1)[name] for name in BACKBONE}
    values = _values(0) | {name: np.float32(length) * start for name, start in starts.items()}
    decay, _ = _decay(values, mode, starts)
    np.testing.assert_allclose(decay, 0.5 * BETA * (values[NEW] ** 2).sum(), rtol=1e-5)


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_every_decayed_variable_is_named(mode):
    with tf.Graph().as_default():
        _, decay = _build(_values(0), mode, _starting_points())
    assert [(decayed.variable.op.name, decayed.mode, decayed.rate) for decayed in decay.variables] == [
        ("net/conv1/weights", MODE_NAMES[mode], ALPHA),
        ("net/block1/weights", MODE_NAMES[mode], ALPHA),
        ("net/logits/weights", "L2", BETA),
    ]


def test_gradient_is_added_to_that_of_the_loss():
    values = _values(0)
    with tf.Graph().as_default():
        variables, decay = _build(values, 0, {})
        factors = [2.0 + i for i in range(len(variables))]
        loss = tf.add_n([k * tf.reduce_sum(v) for k, v in zip(factors, variables, strict=True)])
        gradients = run(decay.add_gradients(tf.gradients(loss, variables), variables))
    rates = {name: ALPHA for name in BACKBONE} | {NEW: BETA}
    for (name, value), factor, gradient in zip(values.items(), factors, gradients, strict=True):
        np.testing.assert_allclose(gradient, factor + rates.get(name, 0.0) * value, rtol=1e-6)


def test_gradient_of_the_decay_waits_for_that_of_the_loss_and_for_the_value():
    with tf.Graph().as_default():
        variables, decay = _build(_values(0), 3, _starting_points())
        of_loss = [tf.ones(v.shape) + 1.0 for v in variables]
        gradients = decay.add_gradients(of_loss, variables)
        for decayed in decay.variables:
            place = variables.index(decayed.variable)
            first, second = gradients[place].op.inputs
            assert first is of_loss[place]
            assert {first.op, decayed.value.op} <= needed_for(second.op)


@pytest.mark.parametrize("mode", [1, 2, 3])
@pytest.mark.parametrize(
    ("present", "found"),
    [(BACKBONE[:1], "'net/block1/weights' has"), ((), "'net/conv1/weights' (and 1 more) has")],
)
def test_missing_starting_point_is_named(mode, present, found):
    starts = {name: value for name, value in _starting_points().items() if name in present}
    with pytest.raises(MissingStartingPointError) as caught:
        _decay(_values(0), mode, starts)
    message = str(caught.value)
    assert found in message
    assert MODE_NAMES[mode] in message
    assert "--weight_decay_mode 0" in message
    assert "\n" not in message


def test_plain_decay_needs_no_starting_point():
    decay, _ = _decay(_values(0), 0, {})
    assert decay > 0


def test_nothing_to_decay_gives_zero():
    values = {name: value for name, value in _values(0).items() if not name.endswith("/weights")}
    with tf.Graph().as_default():
        variables, decay = _build(values, 1, {})
        assert run(decay.value()) == 0
        assert decay.add_gradients([None] * len(variables), variables) == [None] * len(variables)


@pytest.mark.parametrize("mode", [0, 1])
def test_decay_of_all_variables(mode):
    """Biases, gamma and beta too, each with the penalty and the rate of its layer."""
    values, starts = _values(0), {name: value for name, value in _values(1).items() if not _is_new(name)}
    with tf.Graph().as_default():
        variables, decay = _build(values, mode, starts, decay_all=True)
        gradients = run(decay.gradients(dict.fromkeys(values)), {})
    assert gradients.keys() == values.keys()
    for name, value in values.items():
        start = starts[name] if mode == 1 and name in starts else 0
        np.testing.assert_allclose(gradients[name], (BETA if _is_new(name) else ALPHA) * (value - start), rtol=1e-5)
