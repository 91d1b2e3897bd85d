"""The scores of a run that is resumed: those of the steps that it gives up, and the one that it lacks.

A run that is resumed from a step gives up every later one, and trains them again. What was scored of them would
otherwise stand under the run as if it were of its weights, and keep a better snapshot of the new steps from becoming
the best. Until the run has written a snapshot of its own, the later ones are still what `--resume_step latest` takes,
so that nothing is given up before.
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
    """Moves what was scored of steps that a resumed run gives up to `<run>/abandoned-<n>`: tables, and the best.

    The best is moved if it is of a later step, or of another snapshot of this step. Nothing is deleted.

    Args:
        folder: of the run.
        step: that it is resumed from.

    Returns:
        Where it is now; None if there was nothing.

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
    """Brings the scores of a run to where those of an untouched run are when it comes to the same step."""

    def __init__(
        self, config: TrainConfig, folder: RunFolder, step: int, settings: Mapping[str, Any] | None = None
    ) -> None:
        """Takes the flags, the folder of the run, the step that it is resumed from, and how it is scored.

        `settings` are those of `validation.scoring_settings`.

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
        """Does what a kill has left undone: it may have come between a snapshot and its score, or in the midst of it.

        Args:
            score: scores the snapshot of a step, keeps it if it is the best, and writes the score; None without
                images to score it on.

        Raises:
            CheckpointError: a snapshot cannot be read.
            OutputError: a file cannot be moved or copied.
            What `score` raises.
        """
        prefix, val_every = self._folder.snapshot(self._step), self._config.val_every
        if newest_first(self._folder.snapshots)[:1] == [prefix]:
            self.give_up_later()
        path = scores_path(self._folder.path, self._step, self._config.test_max_iter)
        if score is not None and _is_due(val_every, self._step) and not _is_scored_alike(path, prefix, self._settings):
            logger.info("the score of step %d is due (--val_every %d) and missing: scored first", self._step, val_every)
            score(self._step)

    def give_up_later(self) -> None:
        """Sets aside what was scored of later steps; the best is then that of the snapshots that are left.

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
    """Whether a file of scores is of a snapshot, and was made with the same settings as far as it says so."""
    header = read_header(path)
    return is_scored(path, prefix) and all(
        name not in header or header[name] == value for name, value in (settings or {}).items()
    )


def _is_due(val_every: int | None, step: int) -> bool:
    """Whether an untouched run scores the snapshot of a step on its way."""
    return val_every is not None and step > 0 and step % val_every == 0


def _reconsider(config: TrainConfig, folder: RunFolder, step: int, settings: Mapping[str, Any] | None) -> None:
    """Keeps a snapshot that was scored if the best is not as high."""
    path, prefix = scores_path(folder.path, step, config.test_max_iter), folder.snapshot(step)
    recorded, best = read_score(path), read_best(folder)
    if recorded is None or not (best is None or recorded.mean_iou > best.mean_iou):
        return
    if not _is_scored_alike(path, prefix, settings):
        return
    if snapshot_files.fault_of(prefix) is None:
        keep_if_best(folder, step, recorded, settings)
