"""Learning-rate schedules, variable groups, optimizers and loss scaling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import tensorflow.compat.v1 as tf

POLY_POWER = 0.9

# The Caffe setting of the PSPNet paper: new layers learn at 10x, their biases at 20x.
NEW_LAYER_MULTIPLIER = 10.0
NEW_BIAS_MULTIPLIER = 20.0

OPTIMIZERS: dict[str, Callable[[tf.Tensor, float], tf.train.Optimizer]] = {
    "mom": lambda rate, momentum: tf.train.MomentumOptimizer(rate, momentum),
    "sgd": lambda rate, momentum: tf.train.GradientDescentOptimizer(rate),
    "adam": lambda rate, momentum: tf.train.AdamOptimizer(rate, beta1=momentum),
    "rmsp": lambda rate, momentum: tf.train.RMSPropOptimizer(rate, momentum=momentum),
}


def poly_learning_rate(base: float, step: int, max_steps: int, power: float = POLY_POWER) -> float:
    """base * (1 - step / max_steps)^power (Chen et al. 2016, "DeepLab"); `step` counts from 0."""
    return base * max(0.0, 1.0 - step / max_steps) ** power


def step_learning_rate(base: float, step: int, boundaries: Sequence[int], factor: float) -> float:
    """base * factor^(number of boundaries reached); boundary b is reached by step b and later, counted from 0."""
    return base * factor ** sum(step >= boundary for boundary in boundaries)


def learning_rate_multiplier(name: str, *, is_new: bool, like_caffe: bool) -> float:
    """How much faster than the base rate the variable called `name` learns."""
    if not (is_new and like_caffe):
        return 1.0
    return NEW_BIAS_MULTIPLIER if name.endswith("/biases") else NEW_LAYER_MULTIPLIER


def group_by_multiplier(
    variables: Sequence[tf.Variable], is_new: Callable[[str], bool], like_caffe: bool
) -> dict[float, list[tf.Variable]]:
    """The variables by their learning-rate multiplier, each group in the given order."""
    groups: dict[float, list[tf.Variable]] = {}
    for variable in variables:
        name = variable.op.name
        multiplier = learning_rate_multiplier(name, is_new=is_new(name), like_caffe=like_caffe)
        groups.setdefault(multiplier, []).append(variable)
    return groups


def apply_gradients(
    gradients: Sequence[tuple[tf.Tensor, tf.Variable]],
    groups: Mapping[float, Sequence[tf.Variable]],
    *,
    optimizer: str,
    learning_rate: tf.Tensor,
    momentum: float,
) -> list[tf.Operation]:
    """One update of every group, each with its own multiple of the learning rate.

    Args:
        gradients: (gradient, variable) pairs.
        groups: variables by learning-rate multiplier, see `group_by_multiplier`.
        optimizer: key of `OPTIMIZERS`.
        learning_rate: float32 scalar.
        momentum: of `mom` and `rmsp`; beta1 of `adam`.

    Returns:
        The update operations.
    """
    gradient_of = {variable.op.name: gradient for gradient, variable in gradients}
    updates = []
    for multiplier, variables in groups.items():
        rate = learning_rate if multiplier == 1.0 else learning_rate * multiplier
        updates.append(
            OPTIMIZERS[optimizer](rate, momentum).apply_gradients(
                [(gradient_of[v.op.name], v) for v in variables], name=f"update_x{multiplier:g}"
            )
        )
    return updates


@dataclass(frozen=True)
class LossScale:
    """Dynamic loss scaling (Micikevicius et al. 2018, "Mixed Precision Training", section 3.2).

    The loss is multiplied by `value` before differentiation and the gradients divided by it after. A step whose
    gradients are not finite is skipped and halves the scale; `GROWTH_INTERVAL` finite steps in a row double it.

    Attributes:
        value: float32 scalar variable.
        finite_steps: int32 scalar variable, finite steps since the last change.
        skipped_steps: int32 scalar variable, steps skipped since the first.
    """

    value: tf.Variable
    finite_steps: tf.Variable
    skipped_steps: tf.Variable

    INITIAL = 2.0**15
    GROWTH_INTERVAL = 1000
    MAXIMUM = 2.0**24

    @classmethod
    def create(cls) -> LossScale:
        """Creates the three variables in the current variable scope; snapshots hold them."""

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
        """Operations that move scale and counts after a step whose gradients were, or were not, all finite."""
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
    """Whether no tensor holds NaN or Inf: a bool scalar."""
    return tf.reduce_all(tf.stack([tf.reduce_all(tf.math.is_finite(t)) for t in tensors]))
