"""Provides learning-rate multipliers, optimizers and loss scaling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import tensorflow.compat.v1 as tf

# The setting of the PSPNet authors' Caffe code: new layers learn at 10x the base rate, their biases at 20x.
NEW_LAYER_MULTIPLIER = 10.0
NEW_BIAS_MULTIPLIER = 20.0

OPTIMIZERS: dict[str, Callable[[tf.Tensor, float], tf.train.Optimizer]] = {
    "mom": lambda rate, momentum: tf.train.MomentumOptimizer(rate, momentum),
    "sgd": lambda rate, momentum: tf.train.GradientDescentOptimizer(rate),
    "adam": lambda rate, momentum: tf.train.AdamOptimizer(rate, beta1=momentum),
    "adamw": lambda rate, momentum: tf.train.AdamOptimizer(rate, beta1=momentum),
    "rmsp": lambda rate, momentum: tf.train.RMSPropOptimizer(rate, momentum=momentum),
}

# Optimizers whose weight decay is not part of the gradient (Loshchilov & Hutter 2019, "Decoupled Weight Decay
# Regularization", algorithm 2): the weights shrink by learning rate * decay rate, or move that part of the way to their
# pre-trained values.
DECOUPLED_DECAY = frozenset({"adamw"})


def caffe_multiplier(
    name: str, *, is_new: bool, layer: float = NEW_LAYER_MULTIPLIER, bias: float = NEW_BIAS_MULTIPLIER
) -> float:
    """Returns the learning rate of the variable `name` divided by the base rate, as in the authors' Caffe code.

    Args:
        name: of the variable.
        is_new: whether it is in a new layer; the others have the base rate.
        layer, bias: the result for new layers, and for their biases.
    """
    if not is_new:
        return 1.0
    return bias if name.endswith("/biases") else layer


def group_by_multiplier(
    variables: Sequence[tf.Variable], multiplier: Callable[[str], float]
) -> dict[float, list[tf.Variable]]:
    """Groups the variables by their learning-rate multiplier, keeping their order.

    Args:
        variables: trained variables.
        multiplier: maps the name of a variable to its learning rate divided by the base rate.
    """
    groups: dict[float, list[tf.Variable]] = {}
    for variable in variables:
        groups.setdefault(multiplier(variable.op.name), []).append(variable)
    return groups


def apply_gradients(
    gradients: Sequence[tuple[tf.Tensor, tf.Variable]],
    groups: Mapping[float, Sequence[tf.Variable]],
    *,
    optimizer: str,
    learning_rate: tf.Tensor,
    momentum: float,
    decays: Mapping[str, tf.Tensor] | None = None,
) -> list[tf.Operation]:
    """Builds the update of every group, each with its own multiple of the learning rate.

    Args:
        gradients: (gradient, variable) pairs.
        groups: variables by learning-rate multiplier, see `group_by_multiplier`.
        optimizer: key of `OPTIMIZERS`.
        learning_rate: base learning rate, a float32 scalar.
        momentum: momentum of `mom` and `rmsp`, beta1 of `adam` and `adamw`; `sgd` ignores it.
        decays: gradients of a decay that is not part of `gradients`, by the names of the decayed variables: before the
            update, learning rate * gradient is subtracted; see `DECOUPLED_DECAY`.

    Returns:
        One update operation per group.
    """
    gradient_of = {variable.op.name: gradient for gradient, variable in gradients}
    updates = []
    for multiplier, variables in groups.items():
        rate = learning_rate if multiplier == 1.0 else learning_rate * multiplier
        with tf.control_dependencies(_decay_apart(variables, rate, decays or {})):
            updates.append(
                OPTIMIZERS[optimizer](rate, momentum).apply_gradients(
                    [(gradient_of[v.op.name], v) for v in variables], name=f"update_x{multiplier:g}"
                )
            )
    return updates


def _decay_apart(
    variables: Sequence[tf.Variable], rate: tf.Tensor, decays: Mapping[str, tf.Tensor]
) -> list[tf.Operation]:
    operations = []
    for variable in variables:
        if variable.op.name in decays:
            with tf.device(variable.device):
                operations.append(variable.assign_sub(rate * decays[variable.op.name], read_value=False))
    return operations


@dataclass(frozen=True)
class LossScale:
    """State of dynamic loss scaling (Micikevicius et al. 2018, "Mixed Precision Training", section 3.2).

    The loss is multiplied by `value` before differentiation, and the gradients are divided by it afterwards. A step
    whose gradients are not finite is skipped and halves the scale. `GROWTH_INTERVAL` finite steps in a row double it.

    Attributes:
        value: the scale, a float32 scalar variable.
        finite_steps: number of finite steps since the last change, an int32 scalar variable.
        skipped_steps: number of skipped steps of the whole run, an int32 scalar variable.
    """

    value: tf.Variable
    finite_steps: tf.Variable
    skipped_steps: tf.Variable

    INITIAL = 2.0**15
    GROWTH_INTERVAL = 1000
    MAXIMUM = 2.0**24

    @classmethod
    def create(cls) -> LossScale:
        """Creates the three variables in the current variable scope; snapshots store them."""

        def variable(name: str, value: float, dtype: tf.DType) -> tf.Variable:
            initializer = tf.constant_initializer(value)
            return tf.get_variable(name, [], dtype, initializer=initializer, trainable=False, use_resource=True)

        with tf.variable_scope("loss_scale"):
            return cls(
                variable("value", cls.INITIAL, tf.float32),
                variable("finite_steps", 0, tf.int32),
                variable("skipped_steps", 0, tf.int32),
            )

    def update(self, is_finite: tf.Tensor) -> list[tf.Operation]:
        """Returns the operations that update the three variables after a step.

        Args:
            is_finite: bool scalar, whether all gradients of the step are finite.
        """
        value, finite_steps = tf.convert_to_tensor(self.value), tf.convert_to_tensor(self.finite_steps) + 1
        grows = tf.logical_and(is_finite, finite_steps >= self.GROWTH_INTERVAL)
        grown = tf.where(grows, tf.minimum(value * 2.0, self.MAXIMUM), value)
        changed = tf.where(is_finite, grown, tf.maximum(value / 2.0, 1.0))
        restarts = tf.logical_or(grows, tf.logical_not(is_finite))
        return [
            self.value.assign(changed, read_value=False),
            self.finite_steps.assign(tf.where(restarts, 0, finite_steps), read_value=False),
            self.skipped_steps.assign_add(tf.where(is_finite, 0, 1), read_value=False),
        ]


def all_finite(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns a bool scalar: whether no tensor contains NaN or Inf."""
    return tf.reduce_all(tf.stack([tf.reduce_all(tf.math.is_finite(t)) for t in tensors]))
