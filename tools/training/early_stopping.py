"""Ends a training whose scores no longer improve (Prechelt 1998, "Early Stopping - But When?", criterion UP)."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tools.prediction.score_files import read_header, read_score, scores_path
from tools.prediction.score_header import VAL_EVERY
from tools.prediction.tables import percent
from tools.runs.folder import RunFolder

logger = logging.getLogger(__name__)

_SCORES = re.compile(r"scores-(\d+)(-.+)?\.json", re.ASCII)


@dataclass(frozen=True)
class EarlyStopping:
    """Decides from the scores in the folder of a run, so that a resumed run ends at the same step.

    Attributes:
        folder: of the run.
        patience: scores in a row without a new best after which the training ends; None to train to the last step.
        val_every: steps between scores.
        settings: of the scoring, see `validation.scoring_settings`; scores with others are not comparable.
    """

    folder: RunFolder
    patience: int | None
    val_every: int | None
    settings: Mapping[str, Any]

    def is_over(self, step: int) -> bool:
        """Returns whether the training ends after a step, of which the score has been written; logs if it does."""
        if self.patience is None or self.val_every is None:
            return False
        scores = self._scores(step)
        if not scores:
            return False
        best = max(scores, key=lambda of: scores[of])
        waited = sum(of > best for of in scores)
        if waited < self.patience:
            return False
        logger.info(
            "the training ends early, after step %d: mIoU %% %s of step %d has been the best for %d scores (--patience "
            "%d)",
            step,
            percent(scores[best]),
            best,
            waited,
            self.patience,
        )
        return True

    def _scores(self, last_step: int) -> dict[int, float]:
        """Reads the mean IoU of every step up to `last_step` that training scored; -1 if no pixel was valid."""
        read = {
            step: read_score(path)
            for step, path in sorted(self._score_paths())  # the first of equal scores is the best
            if step <= last_step and self._counts(step, path, read_header(path))
        }
        return {
            step: -1.0 if math.isnan(score.mean_iou) else score.mean_iou
            for step, score in read.items()
            if score is not None
        }

    def _score_paths(self) -> Iterator[tuple[int, str]]:
        for name in os.listdir(self.folder.path):
            found = _SCORES.fullmatch(name)
            if found:
                yield int(found[1]), os.path.join(self.folder.path, name)

    def _counts(self, step: int, path: str, header: Mapping[str, Any]) -> bool:
        """Returns whether a score is one of `val_every`, now or before the run was resumed, and has the settings."""
        assert self.val_every is not None
        # --eval_only scores any step. Without an entry, an earlier version wrote the score.
        periods = [self.val_every, header.get(VAL_EVERY)]
        is_planned = step > 0 and any(type(period) is int and period > 0 and step % period == 0 for period in periods)
        # Scores whose file has the usual name may lack settings, because earlier versions did not write them.
        usual = scores_path(self.folder.path, step, self.settings.get("test_max_iter"))
        known = {**self.settings, **header} if path == usual else header
        return is_planned and all(name in known and known[name] == value for name, value in self.settings.items())
