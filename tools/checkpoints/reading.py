"""Reads checkpoints: the shapes of their variables, their checksum, and their values into a session."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import tensorflow.compat.v1 as tf

from tools.checkpoints import files
from tools.checkpoints.file_kinds import CHECKPOINT, WHERE_FROM, FileKind, kind_of, unknown_kind
from tools.checkpoints.index_entries import index_fault
from tools.checkpoints.plain_paths import readable_prefix
from tools.errors import CheckpointError, IndexTableError
from tools.runtime.session_errors import reason

_OTHER_SUFFIXES = (".npy", ".npz", ".pth", ".pt", ".h5", ".safetensors")


def checkpoint_checksum(prefix: str) -> str:
    """Returns the SHA-256 that identifies a checkpoint; see `files.checksum`.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        return files.checksum(prefix)
    except OSError as error:
        raise CheckpointError(f"{prefix}: the checkpoint cannot be read ({reason(error)})") from error


def variable_shapes(prefix: str) -> dict[str, list[int]]:
    """Returns the shapes of the tensors in a checkpoint by their names.

    Raises:
        CheckpointError: the file is not a checkpoint, or is damaged.
    """
    if prefix.endswith(_OTHER_SUFFIXES):
        raise CheckpointError(f"{prefix}: this is no TensorFlow checkpoint; give one (prefix, .index or folder)")
    for path in (prefix, prefix + ".index", *glob.glob(glob.escape(prefix) + ".data-*")):
        if os.path.exists(path) and not os.path.isfile(path):  # TensorFlow would wait for a pipe
            raise CheckpointError(f"{path}: a folder, a pipe or a device, expected a file of the checkpoint")
    table = prefix + ".index" if os.path.exists(prefix + ".index") else prefix
    if not os.path.exists(table):
        raise CheckpointError(f"{prefix}: there is no such checkpoint")
    kind = kind_or_first_bytes(table)
    with linked(prefix) as path:
        try:
            return dict(tf.train.NewCheckpointReader(path).get_variable_to_shape_map())
        except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:  # IndexError: it ends too early
            found = "its table is damaged" if kind == CHECKPOINT else f"{table} is {kind.name}"
            raise CheckpointError(f"{prefix}: not a checkpoint that can be read ({found}): {WHERE_FROM}") from error


def kind_or_first_bytes(path: str) -> FileKind:
    """Returns the kind of a file; for an unknown kind, a description with its first bytes.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        return kind_of(path) or unknown_kind(path)
    except OSError as error:
        raise CheckpointError(f"{path}: the checkpoint cannot be read ({reason(error)})") from error


def _check_index(prefix: str) -> None:
    path = f"{prefix}.index"
    try:
        fault = index_fault(prefix)
    except IndexTableError as error:
        kind = kind_or_first_bytes(path)
        found = f"its table is damaged: {error}" if kind == CHECKPOINT else f"{path} is {kind.name}"
        raise CheckpointError(f"{prefix}: not a checkpoint that can be read ({found}): {WHERE_FROM}") from error
    except OSError as error:
        raise CheckpointError(f"{path}: the checkpoint cannot be read ({reason(error)})") from error
    if fault is not None:
        raise CheckpointError(f"{prefix}: the checkpoint is damaged ({fault}): {WHERE_FROM}")


def restore(session: tf.Session, prefix: str, saver: tf.train.Saver) -> None:
    """Restores the variables of `saver` from a checkpoint.

    Raises:
        CheckpointError: the checkpoint is damaged or cannot be reached.
    """
    with linked(prefix) as path, damage_named(prefix, path), session.graph.as_default():
        saver.restore(session, path)


@contextmanager
def linked(prefix: str) -> Iterator[str]:
    """Makes a checkpoint readable with TensorFlow, which interprets a prefix as a pattern; see `plain_paths`.

    Yields:
        The prefix to give to TensorFlow; it is valid until the block ends.

    Raises:
        CheckpointError: no link can be created, or the index is damaged in a way that TensorFlow does not survive.
    """
    _check_index(prefix)
    with ExitStack() as links:
        try:
            path = links.enter_context(readable_prefix(prefix))
        except OSError as error:
            raise CheckpointError(
                f"{prefix}: TensorFlow interprets these characters as a pattern, and no link without them could be "
                f"created ({reason(error)}): rename the folder or the file, or set TMPDIR"
            ) from error
        yield path


@contextmanager
def damage_named(prefix: str, path: str | None = None) -> Iterator[None]:
    """Raises CheckpointError if the block finds the checkpoint damaged; a lack of memory is not damage.

    Args:
        prefix: of the checkpoint.
        path: the prefix that TensorFlow reads, if different; messages name `prefix` instead.
    """
    try:
        yield
    except (tf.errors.ResourceExhaustedError, CheckpointError):
        raise
    except (tf.errors.OpError, ValueError, IndexError) as error:  # IndexError: the data ends too early
        cause = reason(error).replace(path or prefix, prefix)
        raise CheckpointError(f"{prefix}: the checkpoint is damaged ({cause})") from error
