"""Keeps the snapshot of a run with the highest score in a separate folder."""

from __future__ import annotations

import glob
import json
import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from database.atomic import text_written_atomically, written_atomically
from database.json_files import read_json
from database.regular_files import copy_file
from tools.checkpoints import files as snapshot_files
from tools.checkpoints.reading import checkpoint_checksum
from tools.checkpoints.snapshot_names import SNAPSHOT_NAME
from tools.errors import FlagError
from tools.prediction.metrics import Scores
from tools.prediction.score_files import RecordedScore
from tools.prediction.score_header import ADDED_SETTINGS, CHECKSUM
from tools.prediction.tables import is_fraction_or_none, percent
from tools.runs.folder import RunFolder
from tools.runs.record import CONFIG_NAME
from tools.runs.writing import writing_to

logger = logging.getLogger(__name__)

_SCORES = "best.json"
_SETTINGS = "scored_with"
_LONGEST_SHOWN = 60

# Entries of `validation.scoring_settings`: the checksums of the images, and entries with other names than their flags.
_DATA = "data_sha256"
_FLAGS = {"window": "test_image_size"}


@dataclass(frozen=True)
class Best:
    """The snapshot that is kept.

    Attributes:
        step: of the snapshot.
        mean_iou: a fraction 0..1.
        checksum: see `checkpoint_checksum`; None if an earlier version wrote the file.
        settings: of its scoring, see `validation.scoring_settings`; None if an earlier version wrote the file.
    """

    step: int
    mean_iou: float
    checksum: str | None
    settings: Mapping[str, Any] | None = None


def read_best(folder: RunFolder) -> Best | None:
    """Reads which snapshot is kept; None if there is none, or if its description is damaged."""
    try:
        values = read_json(os.path.join(folder.best, _SCORES))
        step, mean_iou, checksum = values["step"], values["mean_iou"], values.get(CHECKSUM)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    if type(step) is not int or not 0 <= step < 1 << 63 or mean_iou is None or not is_fraction_or_none(mean_iou):
        return None
    if not os.path.exists(_kept(folder, step) + snapshot_files.INDEX_ENDING):
        return None
    settings = values.get(_SETTINGS)
    return Best(
        step,
        float(mean_iou),
        checksum if isinstance(checksum, str) else None,
        settings if isinstance(settings, dict) else None,
    )


def require_same_scoring(folder: RunFolder, settings: Mapping[str, Any]) -> None:
    """Checks that the snapshots of a run are scored with the settings of its best, so that scores are comparable.

    Args:
        folder: of the run.
        settings: see `validation.scoring_settings`.

    Raises:
        FlagError: the best was scored with other settings.
    """
    best = read_best(folder)
    if best is None or best.settings is None:
        return
    here, there = {**ADDED_SETTINGS, **settings}, {**ADDED_SETTINGS, **best.settings}
    differing = [
        _difference(name, here.get(name), there.get(name))
        for name in sorted({*here, *there})
        if here.get(name) != there.get(name)
    ]
    if not differing:
        return
    raise FlagError(
        f"{folder.best} was scored with other settings, so later scores cannot be compared with its "
        f"mIoU % {percent(best.mean_iou)}: {', '.join(differing)}; resume with those flags and validation images, or "
        f"rename {folder.best} to choose the best among later scores"
    )


def _difference(name: str, here: Any, there: Any) -> str:
    """Describes how a setting of the scoring differs."""
    if name != _DATA:
        shown = (str(part)[:_LONGEST_SHOWN] for part in (_FLAGS.get(name, name), here, there))
        return "--{} ({} here, {} there)".format(*shown)
    parts = zip(("names", "sizes", "contents"), here or (None,) * 3, there or (None,) * 3, strict=False)
    return f"the validation images or labels ({', '.join(part for part, now, then in parts if now != then)})"


def keep_if_best(
    folder: RunFolder, step: int, scores: Scores | RecordedScore, settings: Mapping[str, Any] | None = None
) -> bool:
    """Copies a snapshot and its record to the run's folder `best` if its score is higher than that of the best so far.

    The previous best is deleted after the new one is complete. The result is logged in both cases.

    Args:
        folder: of the run.
        step: of the snapshot.
        scores: on the validation split.
        settings: of the scoring, see `validation.scoring_settings`.

    Returns:
        Whether it is the best.

    Raises:
        CheckpointError: the snapshot cannot be read.
        OutputError: it cannot be copied.
    """
    checksum, best = checkpoint_checksum(folder.snapshot(step)), read_best(folder)
    is_kept = best is not None and (best.step, best.checksum) == (step, checksum)
    is_higher = best is None or is_kept or scores.mean_iou > best.mean_iou
    if math.isnan(scores.mean_iou) or not is_higher:
        compared = "" if best is None else f"; the best so far is {percent(best.mean_iou)}, of step {best.step}"
        logger.info("step %d: mIoU %% %s%s%s", step, percent(scores.mean_iou), _loss(scores), compared)
        return False
    with writing_to(folder):
        if not is_kept:
            _copy_snapshot(folder, step)
        _write_note(folder, step, checksum, scores, settings)
        _remove_all_but(folder, step)
    shown = percent(scores.mean_iou), _loss(scores)
    logger.info("step %d: mIoU %% %s%s, the best so far, kept in %s", step, *shown, folder.best)
    return True


def _loss(scores: Scores | RecordedScore) -> str:
    loss = scores.loss if isinstance(scores, Scores) else None
    return "" if loss is None else f", cross-entropy {loss:.4f}"


def _kept(folder: RunFolder, step: int) -> str:
    """Returns the prefix of a step's snapshot in the folder `best`."""
    return os.path.join(folder.best, os.path.basename(folder.snapshot(step)))


def _copy_snapshot(folder: RunFolder, step: int) -> None:
    snapshot = folder.snapshot(step)
    _copy(os.path.join(folder.snapshots, CONFIG_NAME), folder.best)
    with snapshot_files.written_whole(_kept(folder, step)) as prefix:
        for path in snapshot_files.files_of(snapshot):
            copy_file(path, prefix + path.removeprefix(snapshot))


def _write_note(
    folder: RunFolder,
    step: int,
    checksum: str,
    scores: Scores | RecordedScore,
    settings: Mapping[str, Any] | None,
) -> None:
    values = {
        "step": step,
        "mean_iou": scores.mean_iou,
        "pixel_accuracy": scores.pixel_accuracy,
        CHECKSUM: checksum,
        **({} if settings is None else {_SETTINGS: settings}),
    }
    with text_written_atomically(os.path.join(folder.best, _SCORES)) as file:
        json.dump(values, file)


def _remove_all_but(folder: RunFolder, step: int) -> None:
    for path in glob.glob(os.path.join(glob.escape(folder.best), f"{SNAPSHOT_NAME}-*.index")):
        if path != _kept(folder, step) + snapshot_files.INDEX_ENDING:
            snapshot_files.remove(path.removesuffix(snapshot_files.INDEX_ENDING))


def _copy(path: str, folder: str) -> None:
    with written_atomically(os.path.join(folder, os.path.basename(path))) as partial_path:
        copy_file(path, partial_path)
