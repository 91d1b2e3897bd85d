"""Computes weight decay towards zero (L2) or towards the pre-trained weights (L2-SP).

L2-SP is eq. 2 of Li, Grandvalet & Davoine 2018, "Explicit Inductive Bias for Transfer Learning with Convolutional
Networks": the backbone decays towards its pre-trained weights with rate alpha, the new layers towards zero with rate
beta. Decay applies only to convolution weights, not to biases and not to gamma and beta of batch normalization, unless
all variables are decayed, as PyTorch's optimizers do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import tensorflow.compat.v1 as tf

from model.errors import MissingStartingPointError


def half_squared_norm(weights: tf.Tensor) -> tf.Tensor:
    """Computes sum(w^2) / 2."""
    return tf.nn.l2_loss(weights)


def half_squared_distance(weights: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Computes sum((w - w0)^2) / 2."""
    return tf.nn.l2_loss(weights - start)


def half_squared_perpendicular(weights: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Computes half the squared length of the part of each filter w_c perpendicular to its pre-trained value w0_c.

    The value is 1/2 sum over output channels c of |w_c - w0_c (w_c . w0_c) / |w0_c|^2|^2. It does not penalize the
    length of a filter, because the batch normalization after it cancels that. If w0_c is zero, all of w_c counts.

    Args:
        weights, start: float32 [k, k, C, filters].

    Returns:
        float32 scalar.
    """
    axes = [0, 1, 2]
    dot = tf.reduce_sum(weights * start, axes, keepdims=True)
    projection = start * tf.math.divide_no_nan(dot, tf.reduce_sum(tf.square(start), axes, keepdims=True))
    return tf.nn.l2_loss(weights - projection)


def scaled_half_squared_perpendicular(weights: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Computes `half_squared_perpendicular` times sqrt(kernel height * kernel width * input channels)."""
    height, width, channels, _ = weights.shape.as_list()
    return (height * width * channels) ** 0.5 * half_squared_perpendicular(weights, start)


@dataclass(frozen=True)
class DecayMode:
    """A way to decay backbone weights.

    Attributes:
        name: name in logs and messages.
        penalty: maps the weights and, if `needs_start`, the pre-trained weights `start` to a float32 scalar.
        needs_start: whether it needs the pre-trained weights.
    """

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
    """A variable with its decay.

    Attributes:
        variable: convolution weights.
        mode: `DecayMode.name`.
        rate: factor of the penalty.
        penalty: maps the value of the variable to a float32 scalar.
        value: rate * penalty of the variable, a float32 scalar.
    """

    variable: tf.Variable
    mode: str
    rate: float
    penalty: Callable[[tf.Tensor], tf.Tensor]
    value: tf.Tensor


class WeightDecay:
    """The decay of all variables. Its gradients are computed separately from those of the loss, to save memory.

    The gradient of a variable's decay is as large as the variable and depends only on it. If `tf.gradients`
    differentiated loss and decay together, these gradients would be computed at the beginning of a step and stay in
    memory until those of the loss are ready.
    """

    def __init__(self, variables: Sequence[DecayedVariable]) -> None:
        self.variables = list(variables)

    def value(self) -> tf.Tensor:
        """Returns the sum over the variables, a float32 scalar."""
        return tf.add_n([decayed.value for decayed in self.variables] or [tf.zeros([], tf.float32)])

    def gradients(self, of_loss: Mapping[str, tf.Tensor | None]) -> dict[str, tf.Tensor]:
        """Computes d decay / d variable for the decayed variables, by name.

        Args:
            of_loss: gradients of the loss by the name of the variable, None if the loss does not depend on it. The
                gradient of a variable's decay is computed after that of the loss.
        """
        weights = [self._read_after(decayed, of_loss[decayed.variable.op.name]) for decayed in self.variables]
        penalties = [decayed.penalty(read) for decayed, read in zip(self.variables, weights, strict=True)]
        rates = [tf.constant(decayed.rate, tf.float32) for decayed in self.variables]
        gradients = tf.gradients(penalties, weights, grad_ys=rates, colocate_gradients_with_ops=True)
        return {d.variable.op.name: gradient for d, gradient in zip(self.variables, gradients, strict=True)}

    def add_gradients(
        self, gradients: Sequence[tf.Tensor | None], variables: Sequence[tf.Variable]
    ) -> list[tf.Tensor | None]:
        """Adds the gradients of the decay to those of the loss.

        Args:
            gradients: d loss / d variable, one per variable; None if the loss does not depend on it.
            variables: all trained variables.

        Returns:
            d (loss + decay) / d variable, in the order of `variables`.
        """
        sums = {variable.op.name: gradient for gradient, variable in zip(gradients, variables, strict=True)}
        of_decay = self.gradients(sums)
        for decayed in self.variables:
            name = decayed.variable.op.name
            with tf.device(decayed.variable.device):
                sums[name] = of_decay[name] if sums[name] is None else sums[name] + of_decay[name]
        return list(sums.values())

    @staticmethod
    def _read_after(decayed: DecayedVariable, gradient: tf.Tensor | None) -> tf.Tensor:
        """Reads the variable after `gradient` and `decayed.value` have been computed.

        The update of the variable depends on this read, so `decayed.value` always uses the value before the update.
        """
        with tf.control_dependencies([decayed.value] if gradient is None else [decayed.value, gradient]):
            return decayed.variable.read_value()


def is_decayed(variable: tf.Variable, *, decay_all: bool = False) -> bool:
    """Returns whether weight decay applies to a variable: only to convolution weights, unless to all."""
    return decay_all or variable.op.name.endswith("/weights")


def weight_decay(
    variables: Sequence[tf.Variable],
    *,
    mode: int,
    rate: float,
    new_rate: float,
    is_new: Callable[[str], bool],
    starting_points: Mapping[str, tf.Tensor],
    decay_all: bool = False,
) -> WeightDecay:
    """Builds rate * (sum of backbone penalties) + new_rate / 2 * (sum of squared new weights).

    Args:
        variables: trainable variables; those that are not convolution weights are ignored without `decay_all`.
        mode: key of `DECAY_MODES`, for backbone weights; new weights always decay towards zero.
        rate: rate of the backbone weights, alpha.
        new_rate: rate of the new weights, beta.
        is_new: returns whether a variable, given by name, is in a new layer.
        starting_points: pre-trained values by variable name, float32 of the shape of the variable.
        decay_all: whether to decay biases, gamma and beta too, which modes 2 and 3 are not defined for.

    Raises:
        MissingStartingPointError: if `mode` needs pre-trained values and a backbone weight has none.
    """
    chosen, of_new = DECAY_MODES[mode], DECAY_MODES[0]
    decayed = [v for v in variables if is_decayed(v, decay_all=decay_all)]
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
        others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise MissingStartingPointError(
            f"backbone weight '{missing[0]}'{others} has no pre-trained value, which {mode} needs: give a ResNet "
            "checkpoint that holds it, name its layer in --new_layer_names, or use --weight_decay_mode 0"
        )
