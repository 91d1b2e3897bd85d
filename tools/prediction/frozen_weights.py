"""Builds the network with the weights of a checkpoint as constants, batch normalization folded into convolutions.

In inference, batch normalization is `scale * x + offset` per channel, so a convolution followed by it equals a
convolution with other weights and a bias. TensorFlow lays constant weights out for the processor once, and fuses
convolution, bias and ReLU into one kernel.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from model.architecture import Architecture
from model.pspnet_mg import forward_graph
from model.utils_mg import BATCH_NORM_EPSILON, TowerList
from tools.checkpoints.averages import has_averages, open_weights
from tools.checkpoints.compare import require_shapes
from tools.checkpoints.values import TensorReader
from tools.errors import CheckpointError

logger = logging.getLogger(__name__)

# What to do about unusable values.
_ADVICE = "copy or convert it again, or give an earlier snapshot or another checkpoint with --weights_ckpt"

_BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def fold_batch_norm(
    weights: np.ndarray, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns weights and biases of the convolution that equals a convolution with batch normalization.

    Args:
        weights: float32 [k, k, C, filters].
        gamma, beta, mean, variance: float32 [filters].

    Returns:
        `(weights, biases)`, float32 [k, k, C, filters] and [filters].
    """
    scale = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + BATCH_NORM_EPSILON)
    with np.errstate(over="ignore"):
        return (weights * scale).astype(np.float32), (beta - mean * scale).astype(np.float32)


class FrozenWeights:
    """Replaces the variables of a network that is built with `folded` batch normalization by constants.

    Build the network under `tf.variable_scope(..., custom_getter=frozen.constant)`, then call `require_match`.
    """

    def __init__(self, prefix: str, reader: TensorReader, dtype: tf.DType) -> None:
        """Takes the prefix of the checkpoint for messages, its reader, and the dtype of the constants."""
        self._prefix = prefix
        self._dtype = dtype
        self._found = reader.shapes
        self._reader = reader
        self._biases: dict[str, np.ndarray] = {}  # of the normalizations folded so far
        self._needed: dict[str, list[int]] = {}

    def constant(self, getter: Callable, name: str, shape: Sequence[int], **options: Any) -> tf.Tensor:
        """Returns the value of a variable as a constant; it is a `custom_getter` for variable scopes.

        A variable that is missing or has another shape is replaced by zeros; `require_match` reports it.

        Raises:
            CheckpointError: the checkpoint is damaged, or has values that are unusable (see `values.TensorReader`) or
                beyond the range of the dtype.
        """
        del getter, options
        self._needed[name] = list(shape)
        array = self._array(name)
        if array is None or array.shape != tuple(shape):
            array = np.zeros(shape)
        return tf.constant(self._converted(name, array), name=name.rpartition("/")[2])

    def _converted(self, name: str, array: np.ndarray) -> np.ndarray:
        """Converts an array to the dtype of the constants."""
        with np.errstate(over="ignore"):
            converted = array.astype(self._dtype.as_numpy_dtype)
        if not np.isfinite(converted).all():
            largest = np.abs(array.astype(np.float64)).max()
            helps = self._dtype != tf.float32 and np.isfinite(largest)
            advice = "give --float_type 32" if helps else "give another checkpoint with --weights_ckpt"
            raise CheckpointError(
                f"{self._prefix}: '{name}', with batch normalization folded in, has values up to "
                f"{largest:.3g}, beyond the range of {self._dtype.name}: {advice}"
            )
        return converted

    def require_match(self, advice: str) -> None:
        """Checks that the checkpoint had every variable of the network in its shape.

        Raises:
            CheckpointError: see `require_shapes`.
        """
        biases = {name: list(array.shape) for name, array in self._biases.items()}
        require_shapes(self._prefix, {**self._found, **biases}, self._needed, advice)

    def _array(self, name: str) -> np.ndarray | None:
        if name in self._biases:
            return self._biases[name]
        if name not in self._found:
            return None
        array = self._reader.array(name)
        scope, _, kind = name.rpartition("/")
        moments = [f"{scope}/BatchNorm/{part}" for part in _BATCH_NORM]
        if kind == "weights" and moments[0] in self._found:
            array, self._biases[f"{scope}/biases"] = self._folded(array, moments)
        return array

    def _folded(self, weights: np.ndarray, moments: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        needed = {name: list(weights.shape[-1:]) for name in moments}
        require_shapes(self._prefix, self._found, needed, "give a snapshot that train.py wrote")
        return fold_batch_norm(weights, *map(self._reader.array, moments))


def frozen_forward_graph(
    images: TowerList,
    architecture: Architecture,
    prefix: str,
    *,
    dtype: tf.DType,
    advice: str,
    use_averages: bool = True,
    build: Callable[..., TowerList] = forward_graph,
) -> TowerList:
    """Builds a network with the weights of a checkpoint as constants, batch normalization folded in.

    Args:
        images, architecture, dtype: see `build`.
        prefix: of the checkpoint.
        advice: what to do about a checkpoint that does not fit, for the message.
        use_averages: whether to use the averages of the weights, if the checkpoint has them.
        build: `pspnet_mg.forward_graph` for probabilities, or `pspnet_mg.forward_logits`.

    Raises:
        CheckpointError: the checkpoint cannot be read, is damaged or does not fit.
    """
    with open_weights(prefix, _ADVICE, use_averages=use_averages) as reader:
        if use_averages and has_averages(reader.shapes):
            logger.info("%s: the averages of the weights are used; --use_ema 0 uses those of the last step", prefix)
        frozen = FrozenWeights(prefix, reader, dtype)
        with tf.variable_scope(tf.get_variable_scope(), custom_getter=frozen.constant):
            outputs = build(images, architecture, dtype=dtype, folded=True)
    frozen.require_match(advice)
    return outputs
