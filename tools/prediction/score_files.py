"""Names and reads files of scores, and identifies their run and snapshot."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

from database.json_files import read_json
from tools.checkpoints.reading import checkpoint_checksum
from tools.checkpoints.snapshot_names import checkpoint_step
from tools.prediction.score_header import ADDED_SETTINGS, CHECKSUM
from tools.prediction.tables import is_fraction_or_none
from tools.runs.folder import run_name
from tools.runs.run_origin import RUN_UUID, RunOrigin


@dataclass(frozen=True)
class RecordedScore:
    """Scores of a whole set: fractions 0..1, NaN if no pixel was valid."""

    mean_iou: float
    pixel_accuracy: float


def scores_stem(step: int | None, test_max_iter: int | None) -> str:
    """Returns the name, without suffix, of the files with a snapshot's validation scores.

    Args:
        step: of the snapshot.
        test_max_iter: number of scored images, None for all.
    """
    return f"scores-{step}" + ("" if test_max_iter is None else f"-test_max_iter{test_max_iter}")


def scores_path(folder: str, step: int | None, test_max_iter: int | None) -> str:
    """Returns the path of the JSON file with a snapshot's validation scores; see `scores_stem`."""
    return os.path.join(folder, f"{scores_stem(step, test_max_iter)}.json")


def read_score(path: str) -> RecordedScore | None:
    """Reads a JSON file of scores; None if it is missing or damaged."""
    try:
        values = read_json(path)
        mean_iou, accuracy = (values[name] for name in ("mean_iou", "pixel_accuracy"))
    except (OSError, ValueError, LookupError, TypeError):
        return None
    if not (is_fraction_or_none(mean_iou) and is_fraction_or_none(accuracy)):
        return None
    return RecordedScore(*(math.nan if value is None else float(value) for value in (mean_iou, accuracy)))


def snapshot_header(prefix: str) -> dict[str, Any]:
    """Returns the entries on a snapshot for the header of its scores, see `tables.write_tables`.

    Args:
        prefix: of the snapshot.

    Returns:
        `checkpoint` (the prefix), `step` (None without one) and `checkpoint_sha256` (see `checkpoint_checksum`).

    Raises:
        CheckpointError: the snapshot cannot be read.
    """
    return {"checkpoint": prefix, "step": checkpoint_step(prefix), CHECKSUM: checkpoint_checksum(prefix)}


def run_header(prefix: str, origin: RunOrigin) -> dict[str, Any]:
    """Returns the entries on the run of a snapshot for the header of its scores.

    Args:
        prefix: of the snapshot.
        origin: of the run, in its record.

    Returns:
        `run` (its name) and `run_uuid` (None for runs of earlier versions and foreign checkpoints).
    """
    return {"run": run_name(prefix), RUN_UUID: origin.run_uuid}


def read_header(path: str) -> dict[str, Any]:
    """Reads run, snapshot and settings from the header of a JSON file of scores; empty if it is missing or damaged.

    Settings that an earlier version did not have are filled in, see `ADDED_SETTINGS`.
    """
    try:
        header = read_json(path)["run"]
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return {**ADDED_SETTINGS, **header} if isinstance(header, dict) and header else {}


def is_scored(path: str, prefix: str) -> bool:
    """Returns whether a JSON file has the scores of this snapshot, by the checksum of its weights.

    Path, step and date do not identify a snapshot: a later run may have written another one to the same path.

    Args:
        path: of the file; if it is missing, damaged or without a checksum, the result is False.
        prefix: of the snapshot.

    Raises:
        CheckpointError: the snapshot cannot be read.
    """
    recorded = read_header(path).get(CHECKSUM)
    return recorded is not None and recorded == checkpoint_checksum(prefix)
