"""The training loop: runs steps, and decides when to save, score and stop."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing

import numpy as np

from tools.errors import DivergedError
from tools.flags.choices import LATEST
from tools.runs.folder import RunFolder
from tools.runs.snapshots import snapshot_steps
from tools.runtime.memory import peak_memory
from tools.runtime.stop_requests import StoppedError, StopRequests, going_on
from tools.training.outputs import CurveWriter, SnapshotWriter
from tools.training.plan import Plan
from tools.training.progress import Figures, TrainingProgress
from tools.training.step import StepRunner, StepTaken

logger = logging.getLogger(__name__)

_RECENT_STEPS = 50


class Trainer:
    """Runs the steps of a training in order."""

    def __init__(
        self,
        plan: Plan,
        folder: RunFolder,
        steps: StepRunner,
        snapshots: SnapshotWriter,
        curves: CurveWriter,
        score: Callable[[int], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes the parts of the loop.

        Args:
            plan: when to log, save, score and end.
            folder: of the run.
            steps: runs a step.
            snapshots: writes the snapshots.
            curves: writes the values of a step.
            score: scores the snapshot of a step after it is written.
            clock: returns seconds, for `snapshot_minutes`.
        """
        self._plan = plan
        self._folder = folder
        self._steps = steps
        self._snapshots = snapshots
        self._curves = curves
        self._score = score
        self._clock = clock
        self._saved_at = clock()
        self._requests = StopRequests()
        self._taken: StepTaken | None = None
        self._figures: Figures | None = None
        self._durations: deque[float] = deque(maxlen=_RECENT_STEPS)

    def run(self, first_step: int) -> None:
        """Trains from a step to the last one and writes its snapshot.

        Args:
            first_step: number of steps done already.

        Raises:
            DivergedError: a loss or weight is NaN or infinite; the last snapshot remains.
            ImageError, DatasetError: a training file cannot be read or does not fit.
            OutputError: a snapshot or summary cannot be written.
            StoppedError: one of `stop_requests.SIGNALS` was received; the current step is finished and saved.
        """
        plan = self._plan
        self._saved_at = self._clock()
        if plan.save_first_iteration and first_step == 0:
            self.save(0)
        progress = TrainingProgress(first_step, plan.train_max_iter, plan.images_per_step)
        with closing(progress), self._curves.opened(first_step), self._requests.listening():
            for step in range(first_step + 1, plan.train_max_iter + 1):
                started = time.perf_counter()
                if plan.is_shown(step):
                    self._step_with_summary(step)
                else:
                    self._step(step)
                if step > first_step + 1:  # the first step also builds kernels and fills the pipeline
                    self._durations.append(time.perf_counter() - started)
                progress.step_taken(step, self._seconds_per_step(), self._figures)
                if plan.log_memory and (step == first_step + 2 or plan.is_last(step)):
                    self._log_memory(step)
                self._save_and_score(step)

    def _step(self, number: int, *, with_batch: bool = False) -> StepTaken:
        """Runs one step and raises DivergedError at NaN or infinity."""
        self._taken = self._steps.run(number, with_batch=with_batch)
        bad = self._taken.result.first_bad_term()
        if bad is not None:
            raise self._diverged(f"the {bad} is not finite")
        return self._taken

    def _step_with_summary(self, number: int) -> None:
        step = self._step(number, with_batch=True)
        images_per_second = self._plan.images_per_step / self._seconds_per_step()
        self._figures = self._curves.write(step, images_per_second, self._steps.skipped_steps())

    def _save_and_score(self, step: int) -> None:
        """Saves and scores a step if the plan requires it, and stops the loop if a signal was received."""
        is_asked = self._requests.received is not None
        is_saved = is_asked or self._plan.is_saved(step, self._clock() - self._saved_at)
        if is_saved:
            self.save(step)
        if is_saved and self._requests.received is not None:
            raise self._stopped(step, self._requests.received)
        if self._plan.is_scored(step) and self._score is not None:
            with self._requests.paused():
                self._score(step)

    def save(self, step: int) -> None:
        """Writes the snapshot of a step, unless it is already written.

        Raises:
            DivergedError: a weight is NaN or infinite although the losses were finite; nothing is written.
            OutputError: the snapshot cannot be written.
        """
        if step == self._snapshots.saved_step:
            return
        fault = self._snapshots.fault()
        if fault is not None:
            raise self._diverged(fault)
        self._snapshots.write(step)
        self._saved_at = self._clock()

    def _stopped(self, step: int, signal_name: str) -> StoppedError:
        """Returns the error that names the snapshot and says how to continue from it."""
        then = going_on(step)
        if self._plan.is_last(step):
            # --eval_only would not update the best snapshot.
            then = (
                f"that was the last step: score it with the same flags and --resume_step {LATEST} (with --auto_resume "
                "1, the same command does)"
            )
        return StoppedError(
            f"{signal_name} after step {step}, snapshot {self._folder.snapshot(step)} is written: {then}"
        )

    def _diverged(self, fault: str) -> DivergedError:
        """Returns the error that names the value that is not finite, the step and its images."""
        if self._taken is None:
            return DivergedError(
                f"{fault} before the first step: give a sound checkpoint with --fine_tune_filename", fault
            )
        kept = f"the last snapshot stays in {self._folder.snapshots}"
        if not snapshot_steps(self._folder):
            kept = "there is no snapshot yet"
        return DivergedError(
            f"{fault} at step {self._taken.number} with learning rate {self._taken.learning_rate:.6g}: lower "
            f"--lrn_rate; {kept}; images of the step: {', '.join(self._taken.images)}",
            fault,
            self._taken.number,
            self._snapshots.saved_step,
            self._requests.received,
        )

    def _log_memory(self, step: int) -> None:
        peaks = peak_memory(self._steps.devices())
        figures = ", ".join(f"{name} {peak / 1e9:.2f} GB" for name, peak in peaks.items())
        logger.info("peak memory up to step %d: %s", step, figures)

    def _seconds_per_step(self) -> float:
        """Returns the mean over the recent steps; infinity before the first."""
        return float(np.mean(self._durations)) if self._durations else math.inf
