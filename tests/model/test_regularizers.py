"""Weight decay against float64 formulas written from the definitions."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import regularizers
from model.regularizers import DecayedVariable
from tests.differences import relative_difference
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
    """The backbone's penalty in float64, filter by filter."""
    weights, start = weights.astype(np.float64), start.astype(np.float64)
    if mode == 0:
        return (weights**2).sum()
    if mode == 1:
        return ((weights - start) ** 2).sum()
    total = 0.0
    for c in range(weights.shape[-1]):
        w, w0 = weights[..., c].ravel(), start[..., c].ravel()
        # Pythagoras: the squared length less that of the part along w0.
        along = (w @ w0) ** 2 / (w0 @ w0) if w0.any() else 0.0
        total += w @ w - along
    return total * (weights[..., 0].size ** 0.5 if mode == 2 else 1.0)


def _decay(values, mode, starting_points):
    """The decay, the report, and the gradient in every variable; None where there is none."""
    with tf.Graph().as_default():
        variables = [tf.get_variable(name, initializer=value) for name, value in values.items()]
        decay, report = regularizers.weight_decay(
            variables,
            mode=mode,
            rate=ALPHA,
            new_rate=BETA,
            is_new=_is_new,
            starting_points={name: tf.constant(value) for name, value in starting_points.items()},
        )
        gradients = dict(zip(values, tf.gradients(decay, variables), strict=True))
        present = {name: gradient for name, gradient in gradients.items() if gradient is not None}
        return (*run([decay, present]), report)


def _central_differences(function, weights: np.ndarray, step: float = 1e-3) -> np.ndarray:
    """The gradient of a quadratic function: exact, but for rounding."""
    gradient = np.zeros(weights.shape)
    for position in np.ndindex(weights.shape):
        shift = np.zeros(weights.shape)
        shift[position] = step
        gradient[position] = (function(weights + shift) - function(weights - shift)) / (2 * step)
    return gradient


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_value_and_gradient(mode, record_property):
    values, starts = _values(0), _starting_points()
    decay, gradients, _ = _decay(values, mode, starts)

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
    _, gradients, _ = _decay(values, mode, _starting_points())
    factor = 18**0.5 if mode == 2 else 1.0
    expected = ALPHA * factor * values["net/conv1/weights"][..., 2]
    np.testing.assert_allclose(gradients["net/conv1/weights"][..., 2], expected, rtol=1e-5)


@pytest.mark.parametrize(("mode", "length"), [(1, 1.0), (2, 1.0), (2, 2.5), (3, 1.0), (3, 2.5)])
def test_backbone_costs_nothing_at_its_starting_point(mode, length):
    starts = {name: _values(1)[name] for name in BACKBONE}
    values = _values(0) | {name: np.float32(length) * start for name, start in starts.items()}
    decay, *_ = _decay(values, mode, starts)
    np.testing.assert_allclose(decay, 0.5 * BETA * (values[NEW] ** 2).sum(), rtol=1e-5)


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_report_names_every_decayed_variable(mode):
    *_, report = _decay(_values(0), mode, _starting_points())
    assert report == [
        DecayedVariable("net/conv1/weights", MODE_NAMES[mode], ALPHA),
        DecayedVariable("net/block1/weights", MODE_NAMES[mode], ALPHA),
        DecayedVariable("net/logits/weights", "L2", BETA),
    ]


@pytest.mark.parametrize("mode", [1, 2, 3])
@pytest.mark.parametrize(
    ("present", "found"),
    [(BACKBONE[:1], "'net/block1/weights' has"), ((), "'net/conv1/weights' and 1 more has")],
)
def test_missing_starting_point_is_named(mode, present, found):
    starts = {name: value for name, value in _starting_points().items() if name in present}
    with pytest.raises(regularizers.MissingStartingPointError) as caught:
        _decay(_values(0), mode, starts)
    message = str(caught.value)
    assert found in message
    assert MODE_NAMES[mode] in message
    assert "--weight_decay_mode 0" in message
    assert "\n" not in message


def test_plain_decay_needs_no_starting_point():
    decay, *_ = _decay(_values(0), 0, {})
    assert decay > 0


def test_nothing_to_decay_gives_zero():
    values = {name: value for name, value in _values(0).items() if not name.endswith("/weights")}
    with tf.Graph().as_default():
        variables = [tf.get_variable(name, initializer=value) for name, value in values.items()]
        decay, report = regularizers.weight_decay(
            variables, mode=1, rate=ALPHA, new_rate=BETA, is_new=_is_new, starting_points={}
        )
        assert run(decay) == 0
        assert report == []
