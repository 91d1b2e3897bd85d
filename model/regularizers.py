"""Weight decay towards zero (L2) or towards the pre-trained weights (L2-SP) over groups of variables.

L2-SP: Li, Grandvalet & Davoine 2018, "Explicit Inductive Bias for Transfer Learning with Convolutional
Networks", eq. 2, with one rate for the backbone, alpha, and one for the new layers, beta. Decay applies to
convolution weights only: to no gamma, no beta and no bias.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import tensorflow.compat.v1 as tf


class MissingStartingPointError(ValueError):
    """A backbone weight has no pre-trained value to be pulled towards."""


def half_squared_norm(weights: tf.Tensor) -> tf.Tensor:
    """sum(w^2) / 2."""
    return tf.nn.l2_loss(weights)


def half_squared_distance(weights: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """sum((w - w0)^2) / 2."""
    return tf.nn.l2_loss(weights - start)


def half_squared_perpendicular(weights: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """1/2 sum over output channels c of |w_c - w0_c (w_c . w0_c) / |w0_c|^2|^2, the part of w_c perpendicular to w0_c.

    It leaves the length of a filter free, which batch normalization after it cancels. Where w0_c is zero, all of
    w_c counts.
    """
    axes = [0, 1, 2]
    dot = tf.reduce_sum(weights * start, axes, keepdims=True)
    projection = start * tf.math.divide_no_nan(dot, tf.reduce_sum(tf.square(start), axes, keepdims=True))
    return tf.nn.l2_loss(weights - projection)


def scaled_half_squared_perpendicular(weights: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """`half_squared_perpendicular`, weighted by sqrt(kernel height * kernel width * input channels) of the layer."""
    height, width, channels, _ = weights.shape.as_list()
    return (height * width * channels) ** 0.5 * half_squared_perpendicular(weights, start)


@dataclass(frozen=True)
class DecayMode:
    """What a weight decay mode does with backbone weights: its name, its penalty and whether it needs w0."""

    name: str
    penalty: Callable[..., tf.Tensor]
    needs_start: bool


DECAY_MODES: dict[int, DecayMode] = {
    0: DecayMode("L2", half_squared_norm, needs_start=False),
    1: DecayMode("L2-SP", half_squared_distance, needs_start=True),
    2: DecayMode("L2-SP-perpendicular-scaled", scaled_half_squared_perpendicular, needs_start=True),
    3: DecayMode("L2-SP-perpendicular", half_squared_perpendicular, needs_start=True),
}


@dataclass(frozen=True)
class DecayedVariable:
    """One line of the report printed at the start: which variable is decayed how, at which rate."""

    name: str
    mode: str
    rate: float


def is_decayed(variable: tf.Variable) -> bool:
    """Whether weight decay applies: to convolution weights alone."""
    return variable.op.name.endswith("/weights")


def weight_decay(
    variables: Sequence[tf.Variable],
    *,
    mode: int,
    rate: float,
    new_rate: float,
    is_new: Callable[[str], bool],
    starting_points: Mapping[str, tf.Tensor],
) -> tuple[tf.Tensor, list[DecayedVariable]]:
    """rate/2 * sum of backbone penalties + new_rate/2 * sum of squared new weights.

    Args:
        variables: trainable variables; those that are no convolution weights are passed over.
        mode: key of `DECAY_MODES`, for backbone weights; new weights are always decayed towards zero.
        rate: alpha.
        new_rate: beta.
        is_new: tells by a variable's name whether it belongs to the new group.
        starting_points: w0 by variable name, float32, of the variable's shape.

    Returns:
        `(decay, report)`: float32 scalar, and what was done to each variable.

    Raises:
        MissingStartingPointError: naming the backbone weights without w0.
    """
    chosen = DECAY_MODES[mode]
    decayed = [v for v in variables if is_decayed(v)]
    backbone = [v for v in decayed if not is_new(v.op.name)]
    new = [v for v in decayed if is_new(v.op.name)]
    if chosen.needs_start:
        _require_starting_points([v.op.name for v in backbone], starting_points, chosen.name)

    def sum_of(penalties: list[tf.Tensor]) -> tf.Tensor:
        return tf.add_n(penalties) if penalties else tf.zeros([], tf.float32)

    def backbone_penalty(variable: tf.Variable) -> tf.Tensor:
        start = (starting_points[variable.op.name],) if chosen.needs_start else ()
        return chosen.penalty(tf.convert_to_tensor(variable), *start)

    decay = rate * sum_of([backbone_penalty(v) for v in backbone])
    decay += new_rate * sum_of([half_squared_norm(tf.convert_to_tensor(v)) for v in new])
    report = [DecayedVariable(v.op.name, chosen.name, rate) for v in backbone]
    report += [DecayedVariable(v.op.name, DECAY_MODES[0].name, new_rate) for v in new]
    return decay, report


def _require_starting_points(names: Sequence[str], starting_points: Mapping[str, tf.Tensor], mode: str) -> None:
    missing = [name for name in names if name not in starting_points]
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise MissingStartingPointError(
            f"backbone weight '{missing[0]}'{others} has no pre-trained value, which {mode} needs: give a ResNet "
            "checkpoint that holds it, name its layer in --new_layer_names, or use --weight_decay_mode 0"
        )
