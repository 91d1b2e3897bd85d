"""Which run and snapshot a file of scores is of, and what it says."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

from database.json_files import read_json
from tools.checkpoints import checkpoint
from tools.runs.folder import run_name
from tools.runs.origin import RUN_UUID
from tools.runs.run_origin import RunOrigin

CHECKSUM = "checkpoint_sha256"


@dataclass(frozen=True)
class RecordedScore:
    """What a file of scores says of the whole set: fractions 0..1, NaN where nothing was valid."""

    mean_iou: float
    pixel_accuracy: float


def scores_stem(step: int | None, test_max_iter: int | None) -> str:
    """Names the files of a snapshot's validation scores in the folder of its run, without their ending.

    Args:
        step: of the snapshot.
        test_max_iter: how many images were scored, None for all.
    """
    return f"scores-{step}" + ("" if test_max_iter is None else f"-test_max_iter{test_max_iter}")


def scores_path(folder: str, step: int | None, test_max_iter: int | None) -> str:
    """The path of the JSON file of a snapshot's validation scores; arguments as of `scores_stem`."""
    return os.path.join(folder, f"{scores_stem(step, test_max_iter)}.json")


def read_score(path: str) -> RecordedScore | None:
    """Reads a JSON file of scores; None where it is absent or damaged."""
    try:
        values = read_json(path)
        mean_iou, accuracy = (values[name] for name in ("mean_iou", "pixel_accuracy"))
        return RecordedScore(*(math.nan if value is None else float(value) for value in (mean_iou, accuracy)))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def snapshot_header(prefix: str) -> dict[str, Any]:
    """Describes a snapshot for the header of its scores, see `tables.write_tables`.

    Args:
        prefix: of the snapshot.

    Returns:
        `checkpoint` (the prefix), `step` (None without one) and `checkpoint_sha256` (see `checkpoint.checksum`).

    Raises:
        CheckpointError: the snapshot cannot be read.
    """
    return {"checkpoint": prefix, "step": checkpoint.checkpoint_step(prefix), CHECKSUM: checkpoint.checksum(prefix)}


def run_header(prefix: str, origin: RunOrigin) -> dict[str, Any]:
    """Describes the run that a snapshot is of, for the header of its scores.

    Args:
        prefix: of the snapshot.
        origin: of the run, in its record.

    Returns:
        `run` (its name) and `run_uuid` (None for runs of earlier versions and foreign checkpoints).
    """
    return {"run": run_name(prefix), RUN_UUID: origin.run_uuid}


def read_header(path: str) -> dict[str, Any]:
    """Reads what a JSON file of scores says of run, snapshot and settings; nothing where it is absent or damaged."""
    try:
        header = read_json(path)["run"]
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return header if isinstance(header, dict) else {}


def is_scored(path: str, prefix: str) -> bool:
    """Checks whether a JSON file of scores is of this snapshot, by the checksum of its weights.

    A path, a step or a date says nothing of that: a later run may have written another snapshot to the same place.

    Args:
        path: of the file; one that is absent, damaged or without a checksum is of no snapshot.
        prefix: of the snapshot.

    Raises:
        CheckpointError: the snapshot cannot be read.
    """
    recorded = read_header(path).get(CHECKSUM)
    return recorded is not None and recorded == checkpoint.checksum(prefix)
