"""Ends a training whose scores no longer improve (Prechelt 1998, "Early Stopping - But When?", criterion UP)."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from tools.prediction.score_files import read_score, scores_path
from tools.prediction.tables import percent
from tools.runs.folder import RunFolder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EarlyStopping:
    """Decides from the scores in the folder of a run, so that a resumed run ends at the same step.

    Attributes:
        folder: of the run.
        patience: scores in a row without a new best after which the training ends; None to train to the last step.
        val_every: steps between scores.
        test_max_iter: number of scored images, None for all.
    """

    folder: RunFolder
    patience: int | None
    val_every: int | None
    test_max_iter: int | None

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
        """Reads the mean IoU of every scored step up to `last_step`; -1 if no pixel was valid."""
        assert self.val_every is not None
        read = {
            step: read_score(scores_path(self.folder.path, step, self.test_max_iter))
            for step in range(self.val_every, last_step + 1, self.val_every)
        }
        return {
            step: -1.0 if math.isnan(score.mean_iou) else score.mean_iou
            for step, score in read.items()
            if score is not None
        }
