"""The training loop: steps, summaries, snapshots and stopping."""

from __future__ import annotations

import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC

import numpy as np
import tensorflow.compat.v1 as tf

from database import palettes
from database.classes import IGNORE_LABEL
from database.datasets import Dataset
from database.layouts import Sample
from database.reader import Batches
from model import optimizers
from model.training_graph import TrainGraph
from tools.checkpoints.plain_paths import writable_prefix
from tools.errors import DivergedError, OutputError
from tools.flags.train import LATEST, TrainConfig
from tools.prediction.metrics import ConfusionMatrix
from tools.runs.disk_room import nearest_folder
from tools.runs.folder import RunFolder
from tools.runs.record import ModelRecord
from tools.runs.snapshots import snapshot_steps, write_snapshot
from tools.runtime.memory import peak_memory
from tools.runtime.session_errors import reason
from tools.runtime.stop_requests import StoppedError, StopRequests, going_on
from tools.training.progress import Figures, TrainingProgress
from tools.training.rollback import Rollback, learning_rate_factor
from tools.training.summaries import SummaryWriter

logger = logging.getLogger(__name__)

_RECENT_STEPS = 50


def learning_rate_at(config: TrainConfig, step: int, rollbacks: Sequence[Rollback] = ()) -> float:
    """The learning rate of a step, counted from 0, by the schedule that the flags choose and the run's rollbacks."""
    if config.poly_lr:
        rate = optimizers.poly_learning_rate(config.lrn_rate, step, config.train_max_iter)
    else:
        rate = optimizers.step_learning_rate(config.lrn_rate, step, config.lr_step or (), config.step_size)
    return rate * learning_rate_factor(rollbacks, step)


@dataclass(frozen=True)
class StepResult:
    """What one step gave."""

    loss: float
    auxiliary_loss: float
    weight_decay: float

    def first_bad_term(self) -> str | None:
        """The name of the first term that is NaN or infinite."""
        terms = {"loss": self.loss, "auxiliary loss": self.auxiliary_loss, "weight decay": self.weight_decay}
        return next((name for name, value in terms.items() if not math.isfinite(value)), None)


@dataclass(frozen=True)
class _StepTaken:
    """What a step was taken with.

    Attributes:
        number: counted from 1.
        learning_rate: of the step.
        images: paths of its images, in tower order.
    """

    number: int
    learning_rate: float
    images: tuple[str, ...]


@contextmanager
def writing_to(folder: RunFolder) -> Iterator[None]:
    """Raises OutputError where what is done inside cannot write."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        advice = "free space, or change --log_dir" if _is_about_space(error) else "change --log_dir"
        raise OutputError(f"{folder.path}: cannot write ({reason(error)}): {advice}") from error


def _is_about_space(error: OSError | tf.errors.OpError) -> bool:
    return isinstance(error, tf.errors.ResourceExhaustedError) or getattr(error, "errno", 0) in (ENOSPC, EDQUOT)


def check_log_dir(log_dir: str) -> None:
    """Tells before anything is computed that results could not be written.

    Raises:
        OutputError: it is a URL, or the folder, or the last one above it that exists, is a file or may not be written
            to.
    """
    if "://" in log_dir:
        raise OutputError(
            f"--log_dir {log_dir} is a URL, expected a folder of this machine: mount it and give its path"
        )
    existing = nearest_folder(log_dir)
    if not os.path.isdir(existing):
        raise OutputError(f"--log_dir {log_dir}: {existing} is no folder: give another --log_dir")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(f"--log_dir {log_dir}: {existing} may not be written to: give another --log_dir")


class Trainer:
    """Runs a finalized training graph in a session."""

    def __init__(
        self,
        session: tf.Session,
        graph: TrainGraph,
        batches: Batches,
        samples: Sequence[Sample],
        dataset: Dataset,
        config: TrainConfig,
        folder: RunFolder,
        saver: tf.train.Saver,
        record: ModelRecord,
        score: Callable[[int], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        rollbacks: Sequence[Rollback] = (),
        on_first_snapshot: Callable[[], object] | None = None,
    ) -> None:
        """Takes what `tools.training.run.train` built: the session holds initialized or restored variables.

        `score` is called every `val_every` steps, but not after the last, with the step of a snapshot just written.
        `clock` tells the seconds that `snapshot_minutes` counts. `rollbacks` are those of the run so far.
        `on_first_snapshot` is called once, when a snapshot has been written.
        """
        self._session = session
        self._graph = graph
        self._batches = batches
        self._samples = samples
        self._dataset = dataset
        self._config = config
        self._folder = folder
        self._saver = saver
        self._record = record
        self._score = score
        self._clock = clock
        self._rollbacks = rollbacks
        self._on_first_snapshot = on_first_snapshot
        self._saved_at = clock()
        self._saved_step: int | None = None
        self._requests = StopRequests()
        self._taken: _StepTaken | None = None
        self._figures: Figures | None = None
        self._durations: deque[float] = deque(maxlen=_RECENT_STEPS)

    def run(self, first_step: int) -> None:
        """Trains from a step to `train_max_iter`, the last step being followed by a snapshot.

        Raises:
            DivergedError: NaN or Inf; the last snapshot stays.
            ImageError, DatasetError: a training file cannot be read or does not fit.
            OutputError: a snapshot or summary cannot be written.
            StoppedError: one of `stop_requests.SIGNALS` came; the step it met is finished and its snapshot written.
        """
        config = self._config
        self._saved_at = self._clock()
        if config.save_first_iteration and first_step == 0:
            self.save(0)
        with writing_to(self._folder):
            writer = SummaryWriter(self._folder.path, self._folder.csv, self._session.graph, first_step)
        progress = TrainingProgress(first_step, config.train_max_iter, config.total_batch_size)
        with closing(progress), closing(writer), self._requests.listening():
            for step in range(first_step, config.train_max_iter):
                started = time.perf_counter()
                done = step + 1
                if done % config.show_period == 0 or done == config.train_max_iter:
                    self._step_with_summary(step, writer)
                else:
                    self._step(step, {})
                if step > first_step:  # the first step also builds kernels and fills the pipeline
                    self._durations.append(time.perf_counter() - started)
                progress.step_taken(done, self._seconds_per_step(), self._figures)
                if config.log_memory and (done == first_step + 2 or done == config.train_max_iter):
                    self._log_memory(done)
                self._save_and_score(done)

    def _save_and_score(self, step: int) -> None:
        """Writes a snapshot and has it scored, where the step is one for that; stops where that is asked for."""
        config = self._config
        is_last = step == config.train_max_iter
        is_scored = config.val_every is not None and step % config.val_every == 0 and not is_last
        is_asked = self._requests.received is not None
        is_saved = step % config.snapshot == 0 or is_last or is_scored or is_asked or self._is_late()
        if is_saved:
            self.save(step)
        if is_saved and self._requests.received is not None:
            raise self._stopped(step, self._requests.received)
        if is_scored and self._score is not None:
            with self._requests.paused():
                self._score(step)

    def _stopped(self, step: int, signal_name: str) -> StoppedError:
        """The error that says which snapshot was written and what goes on from there."""
        then = going_on(step)
        if step == self._config.train_max_iter:
            # Scoring alone leaves the best as it is.
            then = (
                f"that was the last step: score it with the same flags and --resume_step {LATEST} (with --auto_resume "
                "1, the same command does)"
            )
        return StoppedError(
            f"{signal_name} after step {step}, snapshot {self._folder.snapshot(step)} is written: {then}"
        )

    def _is_late(self) -> bool:
        """Whether `snapshot_minutes` have passed since the last snapshot."""
        minutes = self._config.snapshot_minutes
        return minutes > 0 and self._clock() - self._saved_at >= 60 * minutes

    def save(self, step: int) -> None:
        """Writes the snapshot of a step, with the record beside it, unless the last one is of that step.

        Raises:
            DivergedError: a weight is NaN or infinite, though the loss was not yet; nothing is written.
            OutputError: it cannot be written.
        """
        if step == self._saved_step:
            return
        weights = self._session.run(self._graph.weights)
        bad = sorted(name for name, values in weights.items() if not np.isfinite(values).all())
        if bad:
            others = f" and {len(bad) - 1} more of {len(weights)}" if len(bad) > 1 else ""
            raise self._diverged(f"a weight is not finite ('{bad[0]}'{others})")
        with writing_to(self._folder):
            self._record.write(self._folder.snapshots)  # first: a snapshot alone is taken for the reference's
            write_snapshot(self._folder, step, self._config.keep, self._write_variables)
        self._saved_step, self._saved_at = step, self._clock()
        call, self._on_first_snapshot = self._on_first_snapshot, None
        if call is not None:
            call()
        logger.debug("snapshot %s", self._folder.snapshot(step))

    def _write_variables(self, prefix: str) -> None:
        with writable_prefix(prefix) as path:
            self._saver.save(self._session, path, write_meta_graph=False, write_state=False)

    def _log_memory(self, step: int) -> None:
        peaks = peak_memory([device.name for device in self._session.list_devices()])
        told = ", ".join(f"{name} {peak / 1e9:.2f} GB" for name, peak in peaks.items())
        logger.info("peak of memory by step %d: %s", step, told)

    def _step(self, step: int, more: dict) -> dict:
        """One step; fetches `more` with it. Stops on NaN and Inf."""
        rate = learning_rate_at(self._config, step, self._rollbacks)
        graph = self._graph
        fetches = {
            "terms": (graph.loss, graph.auxiliary_loss, graph.weight_decay),
            "indices": self._batches.sample_indices,
            "train": graph.train_op,
            **more,
        }
        try:
            fetched = self._session.run(fetches, {graph.learning_rate: rate})
        except tf.errors.OpError as error:
            if self._batches.loader.faults:
                raise self._batches.loader.faults[0] from error
            raise
        images = tuple(self._samples[index].image for index in fetched["indices"])
        self._taken = _StepTaken(step + 1, rate, images)
        result = StepResult(*map(float, fetched["terms"]))
        bad = result.first_bad_term()
        if bad is not None:
            raise self._diverged(f"the {bad} is not finite")
        return {**fetched, "result": result, "learning_rate": rate}

    def _diverged(self, fault: str) -> DivergedError:
        """The error that says what is wrong after the step taken last, and what that step was taken with."""
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
            self._saved_step,
            self._requests.received,
        )

    def _step_with_summary(self, step: int, writer: SummaryWriter) -> None:
        graph = self._graph
        more = {
            "predictions": graph.predictions,
            "labels": self._batches.labels,
            "images": self._batches.images[0],
        }
        fetched = self._step(step, more)
        matrix = ConfusionMatrix(self._dataset.num_classes)
        for labels, predictions in zip(fetched["labels"], fetched["predictions"], strict=True):
            matrix.process(labels, predictions)
        result: StepResult = fetched["result"]
        values = {
            "loss": result.loss,
            "auxiliary_loss": result.auxiliary_loss,
            "weight_decay": result.weight_decay,
            "learning_rate": fetched["learning_rate"],
            "mean_iou": matrix.evaluate().mean_iou,
            "images_per_second": self._config.total_batch_size / self._seconds_per_step(),
        }
        picture = self._picture(fetched["images"][0], fetched["labels"][0][0], fetched["predictions"][0][0])
        with writing_to(self._folder):
            writer.scalars(step + 1, values)
            writer.picture(step + 1, "train/image, truth, prediction", picture)
        self._figures = Figures(
            step + 1,
            result.loss,
            result.auxiliary_loss if self._config.has_aux_loss else None,
            result.weight_decay,
            values["mean_iou"],
            values["learning_rate"],
            self.skipped_steps(),
        )

    def skipped_steps(self) -> int:
        """How many steps of the run were skipped as their gradients overflowed; 0 without loss scaling."""
        scale = self._graph.loss_scale
        return 0 if scale is None else int(self._session.run(scale.skipped_steps))

    def _picture(self, image: np.ndarray, label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """Crop, truth and prediction beside each other, uint8 [h, 3w, 3]; ignored pixels are black in both."""
        pixels = image[..., ::-1] if self._record.color_switch else image
        shown = np.clip(pixels + np.asarray(self._record.image_mean), 0, 255).astype(np.uint8)
        colors = [
            palettes.colorize(np.where(label == IGNORE_LABEL, IGNORE_LABEL, ids), self._dataset.palette)
            for ids in (label, prediction)
        ]
        return np.concatenate([shown, *colors], axis=1)

    def _seconds_per_step(self) -> float:
        """Mean over the recent steps; infinite before there is one."""
        return float(np.mean(self._durations)) if self._durations else math.inf
