"""Reads all tensors of a TensorFlow checkpoint by another project's names."""

from __future__ import annotations

import os

import numpy as np

from tools.errors import CheckpointError, WeightFileError


def is_checkpoint(path: str) -> bool:
    """Returns whether a path is the prefix of a checkpoint, or a folder or file of one whose kind its name shows."""
    is_part = path.endswith((".index", ".meta")) or ".data-" in os.path.basename(path)
    return is_part or os.path.isdir(path) or os.path.exists(f"{path}.index")


def read_checkpoint(path: str) -> dict[str, np.ndarray]:
    """Reads a checkpoint.

    Args:
        path: see `find.resolve_checkpoint`.

    Returns:
        Arrays by name, floating point as float32. What is no number is left out: TensorFlow 2's description of the
        objects that own the variables.

    Raises:
        WeightFileError: there is no checkpoint, or it is damaged.
    """
    import tensorflow.compat.v1 as tf

    from tools.checkpoints.find import resolve_checkpoint
    from tools.checkpoints.reading import damage_named, linked, variable_shapes

    try:
        prefix = resolve_checkpoint(path)
        names = sorted(variable_shapes(prefix))
        with linked(prefix) as link, damage_named(prefix, link):
            reader = tf.train.NewCheckpointReader(link)
            dtypes = reader.get_variable_to_dtype_map()
            arrays = {
                name: np.asarray(reader.get_tensor(name))
                for name in names
                if dtypes[name].is_floating or dtypes[name].is_integer or dtypes[name].is_bool
            }
    except (CheckpointError, TypeError) as error:  # TypeError: a type without name, in the format before 0.12
        raise WeightFileError(str(error)) from error
    return {name: array.astype(np.float32) if dtypes[name].is_floating else array for name, array in arrays.items()}
