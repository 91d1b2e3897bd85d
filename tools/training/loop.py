"""The parts of the training loop in train.py: the steps, and when to save, score and stop."""

from __future__ import annotations

import logging
import math
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

import numpy as np

from tools.errors import DivergedError
from tools.flags.choices import LATEST
from tools.runs.folder import RunFolder
from tools.runs.snapshots import snapshot_steps
from tools.runtime.memory import peak_memory
from tools.runtime.stop_requests import StoppedError, StopRequests, going_on
from tools.training.notices import Notice, rank_that_stops
from tools.training.outputs import CurveWriter, HostSnapshots, SnapshotWriter
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
        snapshots: SnapshotWriter | HostSnapshots,
        curves: CurveWriter,
        score: Callable[[int], object] | None = None,
        ends_early: Callable[[int], bool] = lambda step: False,
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
            ends_early: returns whether the training ends after a scored step, see `early_stopping`.
            clock: returns seconds, for `snapshot_minutes`.
        """
        self._plan = plan
        self._folder = folder
        self._steps = steps
        self._snapshots = snapshots
        self._curves = curves
        self._score = score
        self._ends_early = ends_early
        self._clock = clock
        self._first_step = 0
        self._saved_at = clock()
        self._requests = StopRequests()
        self._taken: StepTaken | None = None
        self._figures: Figures | None = None
        self._durations: deque[float] = deque(maxlen=_RECENT_STEPS)

    @contextmanager
    def running(self, first_step: int) -> Iterator[Trainer]:
        """Opens progress bar and curves, and listens for stop signals, while a block runs `steps`.

        Args:
            first_step: number of steps done already.

        Yields:
            This trainer.

        Raises:
            OutputError: a snapshot or a summary cannot be written.
        """
        plan = self._plan
        self._first_step = first_step
        self._saved_at = self._clock()
        if plan.save_first_iteration and first_step == 0:
            self.save(0)
        self._progress = TrainingProgress(first_step, plan.train_max_iter, plan.images_per_step)
        with closing(self._progress), self._curves.opened(first_step), self._requests.listening():
            yield self

    def steps(self) -> Iterator[int]:
        """Runs the steps up to the last one, or until the scores no longer improve: each updates the weights.

        Yields:
            The number of the step, counted from 1, after it was run.

        Raises:
            DivergedError: a loss is NaN or infinite; the last snapshot remains.
            HostsError: the weights of two hosts differ.
            LostHostError: another host is missing.
            ImageError, DatasetError: a training file cannot be read or does not fit.
            OutputError: a summary cannot be written.
        """
        first, plan = self._first_step, self._plan
        for step in range(first + 1, plan.train_max_iter + 1):
            if (step - 1 == first or plan.is_scored(step - 1)) and self._ends_early(step - 1):
                return
            started = time.perf_counter()
            if plan.is_shown(step):
                self._step_with_summary(step)
            else:
                self._step(step)
            if plan.has_histograms(step):
                self._curves.write_histograms(step, self._steps.weights())
            if step > first + 1:  # the first step also builds kernels and fills the pipeline
                self._durations.append(time.perf_counter() - started)
            self._progress.step_taken(step, self._seconds_per_step(), self._figures)
            if plan.compares_hosts(step):
                self._steps.compare_hosts(step)
            if plan.log_memory and (step == first + 2 or plan.is_last(step)):
                self._log_memory(step)
            yield step

    def save_if_due(self, step: int) -> None:
        """Writes the snapshot of a step if the plan or a stop signal asks for it.

        Raises:
            DivergedError: a weight is NaN or infinite although the losses were finite; nothing is written.
            OutputError: the snapshot cannot be written.
            StoppedError: one of `stop_requests.SIGNALS` was received, by any host; the step is saved.
        """
        shared = None if self._taken is None else self._taken.notices
        if shared is not None:  # several hosts do all the same
            self._save_if_asked(step, shared)
            return
        is_asked = self._requests.received is not None
        if not (is_asked or self._plan.is_saved(step, self._clock() - self._saved_at)):
            return
        self.save(step)
        if self._requests.received is not None:
            raise self._stopped(step, self._requests.received)

    def _save_if_asked(self, step: int, notices: Sequence[Notice]) -> None:
        """Does what `save_if_due` does, by what the hosts told each other when the step began."""
        asked = _stop_signal(notices)
        if asked is None and not self._plan.is_saved(step, notices[0].seconds_since_snapshot):
            return
        self.save(step)
        if asked is None:  # it may have been the last step, so a signal since its beginning is not left to the next
            asked = _stop_signal(self._steps.exchange(f"the stop signals after step {step}", self._notice()))
        if asked is not None:
            raise self._stopped(step, asked)

    def _notice(self) -> Notice:
        """Returns what this host tells the others at the beginning of a step."""
        received = self._requests.received
        number = 0 if received is None else int(signal.Signals[received])
        return Notice(number, int(self._clock() - self._saved_at))

    def score_if_due(self, step: int) -> None:
        """Scores the snapshot of a step if the plan asks for it; the last step is scored after training."""
        if self._plan.is_scored(step) and self._score is not None:
            with self._requests.paused():
                self._score(step)

    @property
    def last_step(self) -> int:
        """Returns the number of steps done."""
        return self._first_step if self._taken is None else self._taken.number

    def _step(self, number: int, *, with_batch: bool = False) -> StepTaken:
        """Runs one step and raises DivergedError at NaN or infinity."""
        self._taken = self._steps.run(number, with_batch=with_batch, notice=self._notice())
        bad = self._taken.result.first_bad_term()
        if bad is not None:
            raise self._diverged(f"the {bad} is not finite")
        return self._taken

    def _step_with_summary(self, number: int) -> None:
        step = self._step(number, with_batch=True)
        images_per_second = self._plan.images_per_step / self._seconds_per_step()
        self._figures = self._curves.write(step, images_per_second, self._steps.skipped_steps())

    def save(self, step: int) -> None:
        """Writes the snapshot of a step, unless it is already written; see `save_if_due` for errors."""
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
            f"{signal_name} after step {step}, snapshot {self._snapshots.place(step)} is written: {then}"
        )

    def _diverged(self, fault: str) -> DivergedError:
        """Returns the error that names the value that is not finite, the step and its images."""
        if self._taken is None:
            return DivergedError(
                f"{fault} before the first step: give an undamaged checkpoint with --fine_tune_filename", fault
            )
        asked, images = self._requests.received, self._taken.images
        if self._taken.notices is not None:  # several hosts, all of which come here
            asked = _stop_signal(self._steps.exchange(f"the stop signals of step {self._taken.number}", self._notice()))
            images = self._steps.images_of_hosts(self._taken)
        kept = f"the last snapshot stays in {self._folder.snapshots}"
        if not snapshot_steps(self._folder):
            kept = "there is no snapshot yet"
        return DivergedError(
            f"{fault} at step {self._taken.number} with learning rate {self._taken.learning_rate:.6g}: lower "
            f"--lrn_rate; {kept}; images of the step: {', '.join(images)}",
            fault,
            self._taken.number,
            self._snapshots.saved_step,
            asked,
        )

    def _log_memory(self, step: int) -> None:
        peaks = peak_memory(self._steps.devices())
        figures = ", ".join(f"{name} {peak / 1e9:.2f} GB" for name, peak in peaks.items())
        logger.info("peak memory up to step %d: %s", step, figures)

    def _seconds_per_step(self) -> float:
        """Returns the mean over the recent steps; infinity before the first."""
        return float(np.mean(self._durations)) if self._durations else math.inf


def _stop_signal(notices: Sequence[Notice]) -> str | None:
    """Returns the signal that asks the first host to stop, with its rank; None if there is none."""
    rank = rank_that_stops(notices)
    return None if rank is None else f"{notices[rank].signal_name} on host {rank}"
