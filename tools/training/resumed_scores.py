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
from tools.flags.train import TrainConfig
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
        self, config: TrainConfig, folder: RunFolder, step: int, settings: Mapping[str, Any] | None = None
    ) -> None:
        """Takes the flags, the folder of the run, the step to resume from, and the settings of the scoring.

        The settings are those of `validation.scoring_settings`.

        Raises:
            FlagError: the run's best snapshot was scored with other settings.
        """
        if config.val_every is not None and settings is not None:
            require_same_scoring(folder, settings)
        self._settings = settings
        self._config = config
        self._folder = folder
        self._step = step

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
        prefix, val_every = self._folder.snapshot(self._step), self._config.val_every
        if newest_first(self._folder.snapshots)[:1] == [prefix]:
            self.give_up_later()
        path = scores_path(self._folder.path, self._step, self._config.test_max_iter)
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
        for step in snapshot_steps(self._folder):
            if step <= self._step and _is_due(self._config.val_every, step):
                _reconsider(self._config, self._folder, step, self._settings)


def _is_scored_alike(path: str, prefix: str, settings: Mapping[str, Any] | None) -> bool:
    """Returns whether a file has the scores of a snapshot, with the same settings as far as they are recorded."""
    header = read_header(path)
    return is_scored(path, prefix) and all(
        name not in header or header[name] == value for name, value in (settings or {}).items()
    )


def _is_due(val_every: int | None, step: int) -> bool:
    """Returns whether an uninterrupted run scores the snapshot of a step during training."""
    return val_every is not None and step > 0 and step % val_every == 0


def _reconsider(config: TrainConfig, folder: RunFolder, step: int, settings: Mapping[str, Any] | None) -> None:
    """Keeps a scored snapshot as the best if its score is higher."""
    path, prefix = scores_path(folder.path, step, config.test_max_iter), folder.snapshot(step)
    recorded, best = read_score(path), read_best(folder)
    if recorded is None or not (best is None or recorded.mean_iou > best.mean_iou):
        return
    if not _is_scored_alike(path, prefix, settings):
        return
    if snapshot_files.fault_of(prefix) is None:
        keep_if_best(folder, step, recorded, settings)
