"""Which run and snapshot a file of scores is of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from database.json_files import read_json
from tools import checkpoint
from tools.run_folder import run_name
from tools.run_origin import RUN_UUID

_CHECKSUM = "checkpoint_sha256"


def snapshot_header(prefix: str) -> dict[str, Any]:
    """Describes a snapshot for the header of its scores, see `tables.write_tables`.

    Args:
        prefix: of the snapshot.

    Returns:
        `checkpoint` (the prefix), `step` (None without one) and `checkpoint_sha256` (see `checkpoint.checksum`).

    Raises:
        CheckpointError: the snapshot cannot be read.
    """
    return {"checkpoint": prefix, "step": checkpoint.checkpoint_step(prefix), _CHECKSUM: checkpoint.checksum(prefix)}


def run_header(prefix: str, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Describes the run that a snapshot is of, for the header of its scores.

    Args:
        prefix: of the snapshot.
        flags: in its record.

    Returns:
        `run` (its name) and `run_uuid` (None for runs of earlier versions and foreign checkpoints).
    """
    return {"run": run_name(prefix), RUN_UUID: flags.get(RUN_UUID)}


def is_scored(path: str, prefix: str) -> bool:
    """Checks whether a JSON file of scores is of this snapshot, by the checksum of its weights.

    A path, a step or a date says nothing of that: a later run may have written another snapshot to the same place.

    Args:
        path: of the file; one that is absent, damaged or without a checksum is of no snapshot.
        prefix: of the snapshot.

    Raises:
        CheckpointError: the snapshot cannot be read.
    """
    try:
        recorded = read_json(path)["run"][_CHECKSUM]
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return recorded == checkpoint.checksum(prefix)
