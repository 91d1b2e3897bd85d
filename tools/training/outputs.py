"""Writes the snapshots and the curves of the training loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from database import palettes
from database.channels import picture
from database.classes import IGNORE_LABEL
from database.datasets import Dataset
from model.optimizers import DECOUPLED_DECAY
from tools.checkpoints.plain_paths import writable_prefix
from tools.distributed.team import ALONE, Hosted
from tools.errors import HostsError
from tools.flags.definition import flags_where
from tools.flags.train import TrainConfig
from tools.flags.values import shown_value
from tools.prediction.metrics import ConfusionMatrix
from tools.prediction.shared_scores import add_over_hosts
from tools.runs.folder import RunFolder
from tools.runs.record import ModelRecord
from tools.runs.snapshots import write_snapshot
from tools.runs.writing import writing_to
from tools.training.progress import Figures
from tools.training.step import StepBatch, StepTaken
from tools.training.summaries import SummaryWriter

logger = logging.getLogger(__name__)


def hyperparameters(flags: Mapping[str, Any]) -> dict[str, bool | float | str]:
    """Returns the flags that tools.results shows, as TensorBoard's HParams page takes them: lists are text."""
    shown = ((name, flags[name]) for name in flags_where(TrainConfig, shown=True) if flags.get(name) is not None)
    return {name: value if isinstance(value, bool | int | float) else shown_value(value) for name, value in shown}


class SnapshotWriter:
    """Writes the snapshots of a run, with the run's record in their folder.

    Attributes:
        saved_step: the step of the last snapshot written, None before the first.
    """

    def __init__(
        self,
        session: tf.Session,
        saver: tf.train.Saver,
        weights: Mapping[str, tf.Variable],
        record: ModelRecord,
        folder: RunFolder,
        keep: int,
        on_first_snapshot: Callable[[], object] | None = None,
    ) -> None:
        """Takes the parts of a snapshot.

        Args:
            session: with the variables.
            saver: of all variables to save.
            weights: the variables of the network by name, which are checked.
            record: of the network.
            folder: of the run.
            keep: number of snapshots that are kept.
            on_first_snapshot: called once, after the first snapshot is written.
        """
        self.saved_step: int | None = None
        self._session = session
        self._saver = saver
        self._weights = weights
        self._record = record
        self._folder = folder
        self._keep = keep
        self._on_first_snapshot = on_first_snapshot

    def fault(self) -> str | None:
        """Names the first weight that is NaN or infinite, and counts the others; None if all are finite."""
        weights = self._session.run(self._weights)
        bad = sorted(name for name, values in weights.items() if not np.isfinite(values).all())
        if not bad:
            return None
        others = f" and {len(bad) - 1} more of {len(weights)}" if len(bad) > 1 else ""
        return f"a weight is not finite ('{bad[0]}'{others})"

    def place(self, step: int) -> str:
        """Says where the snapshot of a step is."""
        return self._folder.snapshot(step)

    def write(self, step: int) -> None:
        """Writes the snapshot of a step and deletes the oldest ones.

        Raises:
            OutputError: it cannot be written.
        """
        with writing_to(self._folder):
            self._record.write(self._folder.snapshots)  # first: a snapshot without a record is read as the reference's
            write_snapshot(self._folder, step, self._keep, self._write_variables)
        self.saved_step = step
        call, self._on_first_snapshot = self._on_first_snapshot, None
        if call is not None:
            call()
        logger.debug("snapshot %s", self._folder.snapshot(step))

    def _write_variables(self, prefix: str) -> None:
        with writable_prefix(prefix) as path:
            self._saver.save(self._session, path, write_meta_graph=False, write_state=False)


class HostSnapshots:
    """Writes the snapshots of a run on several hosts: that of rank 0 does, or each its own copy, and all wait.

    Attributes:
        saved_step: as of `SnapshotWriter`, on every host.
    """

    def __init__(
        self, writer: SnapshotWriter, hosts: Hosted, *, on_all: bool, compare: Callable[[int], object] | None = None
    ) -> None:
        """Takes the parts of a snapshot on several hosts.

        Args:
            writer: of this host.
            hosts: this host among those that train together.
            on_all: whether each of them writes.
            compare: raises HostsError if the weights of the hosts differ after a step; None to compare nothing.
        """
        self.saved_step: int | None = None
        self._writer = writer
        self._hosts = hosts
        self._on_all = on_all
        self._compare = compare

    def fault(self) -> str | None:
        """Names a weight that is not finite on all hosts, see `SnapshotWriter.fault`.

        Raises:
            HostsError: the weights of two hosts differ.
            LostHostError: another host is missing.
        """
        own = self._writer.fault()
        faults = [message.decode() for message in self._hosts.gather("the check of the weights", (own or "").encode())]
        other = next((rank for rank, fault in enumerate(faults) if fault != faults[0]), None)
        if other is not None:
            first, second = (
                f"on {self._hosts.named(rank)} {faults[rank] or 'all weights are finite'}" for rank in (0, other)
            )
            raise HostsError(
                f"the weights of the hosts differ: {first}, and {second}: use machines with equal processors, and "
                "check their memory; no snapshot of this step is written"
            )
        return own

    def place(self, step: int) -> str:
        """Says where the snapshot of a step is."""
        is_here = self._on_all or self._hosts.is_chief
        return self._writer.place(step) if is_here else f"of {self._hosts.named(0)}"

    def write(self, step: int) -> None:
        """Compares the weights of the hosts, writes the snapshot of a step, and waits until all are done with it.

        Raises:
            HostsError: the weights of the hosts differ, and nothing is written; or another host could not write.
            OutputError: this host could not.
        """
        if self._compare is not None:
            self._compare(step)
        write = self._hosts.on_each if self._on_all else self._hosts.on_chief
        write(f"the snapshot of step {step}", lambda: self._writer.write(step))
        self.saved_step = step


class CurveWriter:
    """Writes the curves of a training to TensorBoard and training.csv; of several hosts, that of rank 0 does."""

    def __init__(
        self,
        folder: RunFolder,
        dataset: Dataset,
        record: ModelRecord,
        graph: tf.Graph,
        *,
        has_aux_loss: bool,
        hosts: Hosted = ALONE,
    ) -> None:
        """Takes what the curves show.

        Args:
            folder: of the run.
            dataset: for the number and the colours of the classes.
            record: for mean and channel order of the images.
            graph: shown in TensorBoard.
            has_aux_loss: whether the auxiliary loss is shown.
            hosts: this host among those that train together.
        """
        self._folder = folder
        self._dataset = dataset
        self._record = record
        self._graph = graph
        self._has_aux_loss = has_aux_loss
        self._hosts = hosts
        self._writer: SummaryWriter | None = None

    @contextmanager
    def opened(self, first_step: int) -> Iterator[None]:
        """Opens the files for the steps after `first_step`, and shows the graph in TensorBoard.

        Raises:
            OutputError: they cannot be written.
        """
        if not self._hosts.is_chief:
            yield
            return
        with writing_to(self._folder):
            writer = SummaryWriter(self._folder.path, self._folder.csv, self._graph, first_step)
        with closing(writer):
            with writing_to(self._folder):
                writer.hyperparameters(hyperparameters(self._record.flags))
            self._writer = writer
            yield

    def write(self, step: StepTaken, images_per_second: float, skipped_steps: int) -> Figures:
        """Writes the values of a step that was run with its batch, and returns those for the progress display.

        Raises:
            OutputError: they cannot be written.
        """
        assert step.batch is not None, "run the step with its batch"
        result, mean_iou = step.result, self._matrix_of(step.batch, step.number).evaluate().mean_iou
        self._write(step, step.batch, mean_iou, images_per_second)
        return Figures(
            step.number,
            result.loss,
            result.auxiliary_loss if self._has_aux_loss else None,
            result.weight_decay,
            mean_iou,
            step.learning_rate,
            skipped_steps,
            self._record.flags.get("optimizer") in DECOUPLED_DECAY,
        )

    def write_histograms(self, step: int, weights: Mapping[str, np.ndarray]) -> None:
        """Writes a histogram of each variable, by name, to TensorBoard.

        Raises:
            OutputError: they cannot be written.
        """
        if not self._hosts.is_chief:
            return
        assert self._writer is not None, "open the files first"
        with writing_to(self._folder):
            self._writer.histograms(step, {f"weights/{name}": values for name, values in weights.items()})

    def _matrix_of(self, batch: StepBatch, number: int) -> ConfusionMatrix:
        """Counts the pixels of a step on all hosts."""
        matrix = ConfusionMatrix(self._dataset.num_classes)
        for labels, predictions in zip(batch.labels, batch.predictions, strict=True):
            matrix.process(labels, predictions)
        add_over_hosts(matrix, self._hosts, f"the figures of step {number}")
        return matrix

    def _write(self, step: StepTaken, batch: StepBatch, mean_iou: float, images_per_second: float) -> None:
        if not self._hosts.is_chief:
            return
        assert self._writer is not None, "open the files first"
        result = step.result
        values = {
            "loss": result.loss,
            "auxiliary_loss": result.auxiliary_loss,
            "weight_decay": result.weight_decay,
            "learning_rate": step.learning_rate,
            "mean_iou": mean_iou,
            "images_per_second": images_per_second,
        }
        picture = self._picture(batch.image[0], batch.labels[0][0], batch.predictions[0][0])
        terms = {f"loss/{name}": value for name, value in result.loss_terms.items()}
        with writing_to(self._folder):
            self._writer.scalars(step.number, values, terms if len(terms) > 1 else {})
            self._writer.picture(step.number, "train/image, truth, prediction", picture)

    def _picture(self, image: np.ndarray, label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """Puts crop, truth and prediction side by side, with a legend of the classes in them below.

        Returns:
            uint8 [h + height of the legend, 3w, 3]; ignored pixels are black in truth and prediction.
        """
        channels = self._record.channels
        if channels is None:
            pixels = image[..., ::-1] if self._record.color_switch else image
            shown = np.clip(pixels + np.asarray(self._record.image_mean), 0, 255).astype(np.uint8)
        else:
            shown = picture(channels.restored(image))
        names, palette = self._dataset.class_names, self._dataset.palette
        ids = np.concatenate([label, np.where(label == IGNORE_LABEL, IGNORE_LABEL, prediction)], axis=1)
        row = np.concatenate([shown, palettes.colorize(ids, palette)], axis=1)
        present = np.unique(ids).tolist()
        return np.concatenate([row, palettes.legend(names, palette, row.shape[1], present)])
