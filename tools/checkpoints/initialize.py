"""Initializes a network from the checkpoint of a ResNet or a PSPNet."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from model.companion_variables import companion
from tools.checkpoints.averages import has_averages, open_weights
from tools.checkpoints.compare import require_shapes
from tools.checkpoints.first_layer import COLORS, adapted_kernel, is_first_kernel
from tools.checkpoints.reading import variable_shapes
from tools.checkpoints.values import TensorReader

logger = logging.getLogger(__name__)

# What to do about unusable values.
_ADVICE = "download or convert it again, or give another checkpoint with --fine_tune_filename"


class StartingPoints:
    """Holds w0 of L2-SP (Li et al. 2018): one untrained local variable per backbone weight, not saved in snapshots.

    Call it while the graph is built; `PretrainedInitializer` fills the variables.
    """

    def __init__(self) -> None:
        self.variables: dict[str, tf.Variable] = {}

    def __call__(self, weights: Sequence[tf.Variable]) -> Mapping[str, tf.Tensor]:
        """Creates w0 on the device of each weight and returns its value by the name of the weight."""
        for weight in weights:
            self.variables[weight.op.name] = companion(weight, "start", [tf.GraphKeys.LOCAL_VARIABLES])
        return {name: tf.convert_to_tensor(start) for name, start in self.variables.items()}


def _needed_shapes(variables: Sequence[tf.Variable], found: Mapping[str, list[int]]) -> dict[str, list[int]]:
    """Returns the shapes that a checkpoint must have by name; a first layer for RGB is adapted to other channels."""
    shapes = {variable.op.name: variable.shape.as_list() for variable in variables}
    for variable in variables:
        if is_first_kernel(variable.op.name) and found.get(variable.op.name, [])[2:3] == [COLORS]:
            shapes[variable.op.name][2] = COLORS
    return shapes


def _fitted(array: np.ndarray, variable: tf.Variable) -> np.ndarray:
    """Returns the values of a variable, for whose channels the kernel of a first layer is adapted."""
    if array.ndim == 4 and array.shape[2] == COLORS and variable.shape.as_list()[2] != COLORS:
        array = adapted_kernel(array, variable.shape.as_list()[2])
    return array.astype(variable.dtype.base_dtype.as_numpy_dtype, copy=False)


def _assignment(
    reader: TensorReader, variables: Mapping[str, tf.Variable]
) -> tuple[tf.Operation, dict[tf.Tensor, np.ndarray]]:
    """Returns the operation that assigns values of a checkpoint to variables, and its feed dictionary.

    Args:
        reader: of the checkpoint.
        variables: by the names of their tensors in the checkpoint.
    """
    values: dict[tf.Tensor, np.ndarray] = {}
    operations = []
    for name, variable in variables.items():
        placeholder = tf.placeholder(variable.dtype.base_dtype, variable.shape, f"pretrained/{variable.op.name}")
        values[placeholder] = _fitted(reader.array(name), variable)
        operations.append(variable.assign(placeholder, read_value=False))
    return tf.group(*operations), values


def _advice_on_beginning(needed: Collection[str], found: Collection[str]) -> str | None:
    """Returns what to do if network and checkpoint begin with other numbers of layers; None if they do not."""
    network = next(iter(needed), "").partition("/")[0]
    first = {False: f"{network}/conv1/weights", True: f"{network}/conv1_1/weights"}
    for three_convs, name in first.items():
        if name in needed and name not in found and first[not three_convs] in found:
            wanted, given = ("three 3x3 layers", "one layer") if three_convs else ("one layer", "three 3x3 layers")
            return (
                f"the network begins with {wanted} and the checkpoint with {given}: give --three_convs_beginning "
                f"{int(not three_convs)}, or another checkpoint"
            )
    return None


def _layer(variable: tf.Variable) -> str:
    """Returns the scope of the layer of a variable; batch normalization belongs to its layer."""
    return variable.op.name.partition("/BatchNorm/")[0].removesuffix("/weights").removesuffix("/biases")


_ADVICE = (
    "give the checkpoint of the same --network, --encoder_blocks and --filter_scale, or name its missing layers in "
    "--new_layer_names"
)


class PretrainedInitializer:
    """Reads the backbone, w0 of L2-SP and, if present, the head from a ResNet or PSPNet checkpoint.

    If the checkpoint has averages of the weights, these are read, as in prediction.

    Create it before the graph is finalized; call `run` in the session.

    Attributes:
        filled: names of the variables of backbone and head that `run` fills.
    """

    def __init__(
        self,
        prefix: str,
        backbone: Sequence[tf.Variable],
        starting_points: Mapping[str, tf.Variable],
        head: Sequence[tf.Variable] = (),
    ) -> None:
        """Compares the checkpoint with the graph.

        Args:
            prefix: of the checkpoint.
            backbone: every variable that the checkpoint must have, including running statistics. The kernel of its
                first layer may be for other channels than RGB, see `first_layer.adapted_kernel`.
            starting_points: w0 variables by the name of the weight.
            head: a layer of these is read if the checkpoint has all its variables in the same shapes, as after an
                earlier stage of training, or if it gets images and is for RGB; the others keep their random values.

        Raises:
            CheckpointError: the checkpoint does not fit, is damaged, or has unusable values; see
                `values.TensorReader`.
        """
        shapes = variable_shapes(prefix)
        needed = _needed_shapes(backbone, shapes)
        require_shapes(prefix, shapes, needed, _advice_on_beginning(needed, shapes) or _ADVICE)
        self.prefix = prefix
        fitting = _needed_shapes(head, shapes)
        other = {_layer(v) for v in head if shapes.get(v.op.name) != fitting[v.op.name]}
        taken = [v for v in head if _layer(v) not in other]
        self.filled = frozenset(variable.op.name for variable in (*backbone, *taken))
        for variable in (*backbone, *taken):
            if {**needed, **fitting}[variable.op.name] != variable.shape.as_list():
                logger.info("%s is adapted from RGB to %d channels", variable.op.name, variable.shape.as_list()[2])
        logger.info("%s: %d variables of the backbone, %d of the head", prefix, len(backbone), len(taken))
        if taken:
            layers = {_layer(v) for v in taken}
            part = f"{len(layers)} of {len(layers | other)} layers of the head" if other else "the whole head"
            logger.info("taken from the checkpoint besides the backbone: %s", part)
        if taken and other:
            logger.info("layers left random, missing in this shape: %s", ", ".join(sorted(other)))
        if starting_points:
            logger.info("w0 of L2-SP from %s", prefix)
        if has_averages(shapes):
            logger.info("%s: the averages of the weights are used", prefix)
        with open_weights(prefix, _ADVICE, use_averages=True) as reader:
            self._assign_weights = _assignment(reader, {v.op.name: v for v in (*backbone, *taken)})
            self._assign_starts = _assignment(reader, starting_points) if starting_points else None

    def run(self, session: tf.Session, *, resumed: bool) -> None:
        """Assigns w0 and, unless a snapshot was restored (`resumed`), backbone and head."""
        if not resumed:
            session.run(*self._assign_weights)
        if self._assign_starts is not None:
            session.run(*self._assign_starts)
