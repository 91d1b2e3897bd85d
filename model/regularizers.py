"""Weight decay towards zero (L2) or towards the pre-trained weights (L2-SP) over groups of variables.

L2-SP: Li, Grandvalet & Davoine 2018, "Explicit Inductive Bias for Transfer Learning with Convolutional
Networks", eq. 2, with one rate for the backbone, alpha, and one for the new layers, beta. Decay applies to
convolution weights only: to no gamma, no beta and no bias.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import tensorflow.compat.v1 as tf

from model.errors import MissingStartingPointError


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
    """Which variable is decayed how.

    Attributes:
        variable: convolution weights.
        mode: name of a mode.
        rate: of the penalty.
        penalty: maps the value of the variable to its penalty, a float32 scalar.
        value: rate * penalty.
    """

    variable: tf.Variable
    mode: str
    rate: float
    penalty: Callable[[tf.Tensor], tf.Tensor]
    value: tf.Tensor


class WeightDecay:
    """The decay of all variables: its value, and its gradient apart from that of the loss.

    The gradient of the decay of a variable is as large as the variable and needs nothing but it. Were it part of what
    `tf.gradients` differentiates, the gradients for all variables would be computed as a step begins, and wait in
    memory for those of the loss.
    """

    def __init__(self, variables: Sequence[DecayedVariable]) -> None:
        self.variables = list(variables)

    def value(self) -> tf.Tensor:
        """The sum over the variables: a float32 scalar."""
        return tf.add_n([decayed.value for decayed in self.variables] or [tf.zeros([], tf.float32)])

    def add_gradients(
        self, gradients: Sequence[tf.Tensor | None], variables: Sequence[tf.Variable]
    ) -> list[tf.Tensor | None]:
        """The gradients of the loss and the decay, from those of the loss.

        Args:
            gradients: of the loss, by `variables`; None where it does not depend on one.
            variables: all that are trained.

        Returns:
            As `gradients`. That of a decayed variable is the sum; its second term waits for the first.
        """
        of_loss = {variable.op.name: gradient for gradient, variable in zip(gradients, variables, strict=True)}
        weights = [self._read_after(decayed, of_loss[decayed.variable.op.name]) for decayed in self.variables]
        penalties = [decayed.penalty(read) for decayed, read in zip(self.variables, weights, strict=True)]
        rates = [tf.constant(decayed.rate, tf.float32) for decayed in self.variables]
        of_decay = tf.gradients(penalties, weights, grad_ys=rates, colocate_gradients_with_ops=True)
        for decayed, gradient in zip(self.variables, of_decay, strict=True):
            name = decayed.variable.op.name
            with tf.device(decayed.variable.device):
                of_loss[name] = gradient if of_loss[name] is None else of_loss[name] + gradient
        return list(of_loss.values())

    @staticmethod
    def _read_after(decayed: DecayedVariable, gradient: tf.Tensor | None) -> tf.Tensor:
        """The variable's value, once the gradient is there, and `decayed.value`, which must not see the update."""
        with tf.control_dependencies([decayed.value] if gradient is None else [decayed.value, gradient]):
            return decayed.variable.read_value()


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
) -> WeightDecay:
    """rate/2 * sum of backbone penalties + new_rate/2 * sum of squared new weights.

    Args:
        variables: trainable variables; those that are no convolution weights are passed over.
        mode: key of `DECAY_MODES`, for backbone weights; new weights are always decayed towards zero.
        rate: alpha.
        new_rate: beta.
        is_new: tells by a variable's name whether it belongs to the new group.
        starting_points: w0 by variable name, float32, of the variable's shape.

    Raises:
        MissingStartingPointError: naming the backbone weights without w0.
    """
    chosen, of_new = DECAY_MODES[mode], DECAY_MODES[0]
    decayed = [v for v in variables if is_decayed(v)]
    backbone = [v for v in decayed if not is_new(v.op.name)]
    new = [v for v in decayed if is_new(v.op.name)]
    if chosen.needs_start:
        _require_starting_points([v.op.name for v in backbone], starting_points, chosen.name)

    def decay(variable: tf.Variable, mode: DecayMode, rate: float) -> DecayedVariable:
        penalty = mode.penalty
        if mode.needs_start:
            penalty = functools.partial(penalty, start=starting_points[variable.op.name])
        with tf.device(variable.device):
            value = rate * penalty(variable.read_value())
        return DecayedVariable(variable, mode.name, rate, penalty, value)

    return WeightDecay([*(decay(v, chosen, rate) for v in backbone), *(decay(v, of_new, new_rate) for v in new)])


def _require_starting_points(names: Sequence[str], starting_points: Mapping[str, tf.Tensor], mode: str) -> None:
    missing = [name for name in names if name not in starting_points]
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise MissingStartingPointError(
            f"backbone weight '{missing[0]}'{others} has no pre-trained value, which {mode} needs: give a ResNet "
            "checkpoint that holds it, name its layer in --new_layer_names, or use --weight_decay_mode 0"
        )
