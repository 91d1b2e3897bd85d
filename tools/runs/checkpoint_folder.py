"""Writes the values of a network as a checkpoint, into a folder that also gets its record."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from tools.checkpoints.plain_paths import writable_prefix
from tools.runs.record import CONFIG_NAME

CHECKPOINT_NAME = "model.ckpt"


def name_in_use(folder: str) -> str | None:
    """Returns a file of a checkpoint or a record in a folder; None if there is none, or no folder.

    A record would be overwritten, and a checkpoint would be described by the new record.
    """
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    patterns = (CONFIG_NAME, "*.index", "*.ckpt*")
    return next((name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)), None)


def save_values(variables: Sequence[tf.Variable], values: Mapping[str, np.ndarray], folder: str) -> None:
    """Writes values as the checkpoint `CHECKPOINT_NAME` of a folder.

    Args:
        variables: of the default graph, whose names the tensors get.
        values: by name, in the shapes of the variables.
        folder: exists.

    Raises:
        OSError, tf.errors.OpError: the checkpoint cannot be written.
    """
    saver = tf.train.Saver(variables)
    with tf.Session() as session:
        # The initial values are fed as inputs of the initializers: TensorFlow can feed any tensor of a graph.
        initial_values = {variable.initializer.inputs[1]: values[variable.op.name] for variable in variables}
        session.run([variable.initializer for variable in variables], initial_values)
        with writable_prefix(os.path.join(folder, CHECKPOINT_NAME)) as path:
            saver.save(session, path, write_meta_graph=False)
