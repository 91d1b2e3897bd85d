"""Updates the scores of a resumed run: sets those of discarded steps aside, and computes a missing one.

A run that is resumed from a step trains all later steps again. Their old scores would otherwise appear as scores of the
new weights, and could keep a better new snapshot from becoming the best. Until the run has written its first snapshot,
`--resume_step latest` still selects the old later ones, so nothing is set aside before.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from tools.checkpoints import files as snapshot_files
from tools.checkpoints.find import newest_first
from tools.checkpoints.reading import checkpoint_checksum
from tools.prediction.score_files import is_scored, read_header, read_score, scores_path
from tools.runs.folder import RunFolder
from tools.runs.snapshots import snapshot_steps
from tools.runs.writing import writing_to
from tools.training.best_snapshot import keep_if_best, read_best, require_same_scoring

logger = logging.getLogger(__name__)

_SCORES = re.compile(r"scores-(\d+)(-.+)?\.(txt|md|json)", re.ASCII)


def set_aside_later_scores(folder: RunFolder, step: int) -> str | None:
    """Moves the scores of later steps, and the best snapshot, to `<run>/abandoned-<n>`.

    The best snapshot is moved if it is of a later step, or a different snapshot of this step. Nothing is deleted.

    Args:
        folder: of the run.
        step: that the run is resumed from.

    Returns:
        The new path; None if nothing was moved.

    Raises:
        CheckpointError: the snapshot of the step cannot be read.
        OSError: a file cannot be moved.
    """
    names = [name for name in os.listdir(folder.path) if (found := _SCORES.fullmatch(name)) and int(found[1]) > step]
    if _is_best_given_up(folder, step):
        names.append(os.path.basename(folder.best))
    if not names:
        return None
    number = 1
    while os.path.exists(place := os.path.join(folder.path, f"abandoned-{number}")):
        number += 1
    os.mkdir(place)
    for name in sorted(names):
        os.rename(os.path.join(folder.path, name), os.path.join(place, name))
    logger.info("scores of steps after %d, which the run trains again, were set aside: %s", step, place)
    return place


def _is_best_given_up(folder: RunFolder, step: int) -> bool:
    best = read_best(folder)
    if best is None or best.step < step:
        return False
    if best.step > step:
        return True
    return best.checksum is not None and best.checksum != checkpoint_checksum(folder.snapshot(step))


class ResumedScores:
    """Brings the scores of a resumed run to the state of an uninterrupted run at the same step."""

    def __init__(
        self,
        folder: RunFolder,
        step: int,
        val_every: int | None,
        test_max_iter: int | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Takes what is scored, and how.

        Args:
            folder: of the run.
            step: to resume from.
            val_every: steps between scores; None if only the last snapshot is scored.
            test_max_iter: number of images to score; None for the whole split.
            settings: of the scoring, see `validation.scoring_settings`; None to compare none.

        Raises:
            FlagError: the run's best snapshot was scored with other settings.
        """
        if val_every is not None and settings is not None:
            require_same_scoring(folder, settings)
        self._folder = folder
        self._step = step
        self._val_every = val_every
        self._test_max_iter = test_max_iter
        self._settings = settings

    def make_up(self, score: Callable[[int], object] | None) -> None:
        """Scores the step if its score is due and missing, because the run was killed before or during the scoring.

        Args:
            score: scores the snapshot of a step, keeps it if it is the best, and writes the score; None without
                validation images.

        Raises:
            CheckpointError: a snapshot cannot be read.
            OutputError: a file cannot be moved or copied.
            Any error that `score` raises.
        """
        prefix, val_every = self._folder.snapshot(self._step), self._val_every
        if newest_first(self._folder.snapshots)[:1] == [prefix]:
            self.give_up_later()
        path = scores_path(self._folder.path, self._step, self._test_max_iter)
        if score is not None and _is_due(val_every, self._step) and not _is_scored_alike(path, prefix, self._settings):
            logger.info(
                "step %d (--val_every %d) has no score yet: its snapshot is scored first", self._step, val_every
            )
            score(self._step)

    def give_up_later(self) -> None:
        """Sets the scores of later steps aside, and selects the best of the remaining snapshots.

        Raises:
            CheckpointError: a snapshot cannot be read.
            OutputError: a file cannot be moved or copied.
        """
        with writing_to(self._folder):
            set_aside_later_scores(self._folder, self._step)
        self.choose_best()

    def choose_best(self) -> None:
        """Keeps the best of the scored snapshots up to the step; errors as of `give_up_later`."""
        for step in snapshot_steps(self._folder):
            if step <= self._step and _is_due(self._val_every, step):
                self.reconsider(step)

    def reconsider(self, step: int) -> None:
        """Keeps a scored snapshot as the best if its score is higher; errors as of `give_up_later`."""
        path, prefix = scores_path(self._folder.path, step, self._test_max_iter), self._folder.snapshot(step)
        recorded, best = read_score(path), read_best(self._folder)
        if recorded is None or not (best is None or recorded.mean_iou > best.mean_iou):
            return
        if _is_scored_alike(path, prefix, self._settings) and snapshot_files.fault_of(prefix) is None:
            keep_if_best(self._folder, step, recorded, self._settings)


def _is_scored_alike(path: str, prefix: str, settings: Mapping[str, Any] | None) -> bool:
    """Returns whether a file has the scores of a snapshot, with the same settings as far as they are recorded."""
    header = read_header(path)
    return is_scored(path, prefix) and all(
        name not in header or header[name] == value for name, value in (settings or {}).items()
    )


def _is_due(val_every: int | None, step: int) -> bool:
    """Returns whether an uninterrupted run scores the snapshot of a step during training."""
    return val_every is not None and step > 0 and step % val_every == 0
