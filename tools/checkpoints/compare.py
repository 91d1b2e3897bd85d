"""Compares the variables in a checkpoint with those of a graph."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import tensorflow.compat.v1 as tf

from model.choices import NETWORKS
from tools.checkpoints.reading import variable_shapes
from tools.errors import CheckpointError

logger = logging.getLogger(__name__)

# A tensor of checkpoints in which the other tensors are named after the attributes of Python objects.
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# Variables that snapshots of earlier versions lack, and what that means for a resumed run.
_LATER_ADDITIONS = {"loss_scale/skipped_steps": "the count of steps skipped for overflowed gradients starts at 0"}


def require_match(prefix: str, variables: Sequence[tf.Variable], advice: str) -> None:
    """Checks that a checkpoint has every variable in its shape.

    Raises:
        CheckpointError: the message names the first variable that is missing or has another shape, and what the
            checkpoint contains.
    """
    needed = {variable.op.name: variable.shape.as_list() for variable in variables}
    require_shapes(prefix, variable_shapes(prefix), needed, advice)


def require_shapes(prefix: str, found: Mapping[str, list[int]], needed: Mapping[str, list[int]], advice: str) -> None:
    """Checks that the tensors found in a checkpoint include all that are needed, in their shapes.

    Args:
        prefix: of the checkpoint, for the message.
        found: shapes by name.
        needed: shapes by name.
        advice: what to do, for the message.

    Raises:
        CheckpointError: the message names the first tensor that is missing or has another shape, and what the
            checkpoint contains.
    """
    missing = [name for name in needed if name not in found]
    if missing:
        networks = sorted({name.split("/")[0] for name in found}.intersection(NETWORKS))
        if _OBJECT_GRAPH in found:
            networks = ["an object graph, as Keras and tf.train.Checkpoint write"]
        holds = f"it holds {', '.join(networks)}" if networks else "it holds no encoder of this package"
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CheckpointError(
            f"{prefix}: '{missing[0]}'{others} of {len(needed)} variables {'are' if others else 'is'} missing "
            f"({holds}): {advice}"
        )
    for name, shape in needed.items():
        if found[name] != shape:
            raise CheckpointError(f"{prefix}: '{name}' has the shape {found[name]} and {shape} is needed: {advice}")


def without_later_additions(prefix: str, variables: Sequence[tf.Variable]) -> list[tf.Variable]:
    """Returns the variables to restore from a snapshot: all but those that were added after it was written.

    Raises:
        CheckpointError: the file is not a checkpoint, or is damaged.
    """
    lacking = _LATER_ADDITIONS.keys() - variable_shapes(prefix).keys()
    absent = [variable for variable in variables if variable.op.name in lacking]
    for variable in absent:
        logger.info("%s was written by an earlier version: %s", prefix, _LATER_ADDITIONS[variable.op.name])
    return [variable for variable in variables if variable.op.name not in lacking]
