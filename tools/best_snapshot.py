"""The snapshot of a run with the highest score, kept apart from those that newer ones replace."""

from __future__ import annotations

import glob
import json
import logging
import math
import os
import shutil

from database.atomic import written_atomically
from database.json_files import read_json
from tools import snapshot_files
from tools.metrics import Scores
from tools.model_record import CONFIG_NAME
from tools.run_folder import SNAPSHOT_NAME, RunFolder
from tools.training import writing_to

logger = logging.getLogger(__name__)

_SCORES = "best.json"


def best_mean_iou(folder: RunFolder) -> float | None:
    """The mean IoU of the snapshot that is kept, a fraction; None where there is none."""
    try:
        return float(read_json(os.path.join(folder.best, _SCORES))["mean_iou"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep_if_best(folder: RunFolder, step: int, scores: Scores) -> bool:
    """Copies a snapshot, and the record beside it, to the run's folder `best` if none there scored as high.

    The snapshot before it is removed once the new one is there, so that a whole one is there at any time.

    Args:
        folder: of the run.
        step: of the snapshot.
        scores: on the validation split.

    Returns:
        Whether it is the best.

    Raises:
        OutputError: it cannot be copied.
    """
    best = best_mean_iou(folder)
    if math.isnan(scores.mean_iou) or (best is not None and scores.mean_iou <= best):
        return False
    snapshot = folder.snapshot(step)
    kept = os.path.join(folder.best, os.path.basename(snapshot))
    with writing_to(folder):
        _copy(os.path.join(folder.snapshots, CONFIG_NAME), folder.best)
        with snapshot_files.written_whole(kept) as prefix:
            for path in snapshot_files.files_of(snapshot):
                shutil.copyfile(path, prefix + path.removeprefix(snapshot))
        with written_atomically(os.path.join(folder.best, _SCORES)) as path, open(path, "w", encoding="utf-8") as file:
            json.dump({"step": step, "mean_iou": scores.mean_iou, "pixel_accuracy": scores.pixel_accuracy}, file)
        for path in glob.glob(os.path.join(glob.escape(folder.best), f"{SNAPSHOT_NAME}-*.index")):
            if path != f"{kept}.index":
                snapshot_files.remove(path.removesuffix(".index"))
    logger.info("best so far: the snapshot of step %d, mIoU %.4f, kept in %s", step, scores.mean_iou, folder.best)
    return True


def _copy(path: str, folder: str) -> None:
    with written_atomically(os.path.join(folder, os.path.basename(path))) as partial_path:
        shutil.copyfile(path, partial_path)
