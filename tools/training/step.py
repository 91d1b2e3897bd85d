"""Runs one training step in a session."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from database.layouts import Sample
from database.reader import Batches
from model.training_graph import TrainGraph


@dataclass(frozen=True)
class StepResult:
    """The losses of one step.

    Attributes:
        loss, auxiliary_loss, weight_decay: as in `TrainGraph`.
        loss_terms: the terms of `loss` by name, without their factors; empty unless the batch was requested.
    """

    loss: float
    auxiliary_loss: float
    weight_decay: float
    loss_terms: Mapping[str, float] = field(default_factory=dict)

    def first_bad_term(self) -> str | None:
        """Returns the name of the first term that is NaN or infinite."""
        terms = {"loss": self.loss, "auxiliary loss": self.auxiliary_loss, "weight decay": self.weight_decay}
        return next((name for name, value in terms.items() if not math.isfinite(value)), None)


@dataclass(frozen=True)
class StepBatch:
    """The input and the predictions of a step.

    Attributes:
        image: the first tower's images, float32 [N, h, w, 3], normalized.
        labels, predictions: tower lists of int32 [N, h, w], training ids.
    """

    image: np.ndarray
    labels: Sequence[np.ndarray]
    predictions: Sequence[np.ndarray]


@dataclass(frozen=True)
class StepTaken:
    """One step and its results.

    Attributes:
        number: counted from 1.
        learning_rate: of the step.
        images: paths of its images, in tower order.
        result: its losses.
        batch: images, labels and predictions, if requested.
    """

    number: int
    learning_rate: float
    images: tuple[str, ...]
    result: StepResult
    batch: StepBatch | None = None


class StepRunner:
    """Runs the steps of a finalized training graph, one per call."""

    def __init__(
        self,
        session: tf.Session,
        graph: TrainGraph,
        batches: Batches,
        samples: Sequence[Sample],
        learning_rate: Callable[[int], float],
    ) -> None:
        """Takes the parts of a step.

        Args:
            session: with initialized or restored variables.
            graph: the training step.
            batches: its input.
            samples: the samples that `batches` reads, to name the images of a step.
            learning_rate: returns the rate of a step, counted from 0.
        """
        self._session = session
        self._graph = graph
        self._batches = batches
        self._samples = samples
        self._learning_rate = learning_rate

    def run(self, number: int, *, with_batch: bool = False) -> StepTaken:
        """Runs one step: reads a batch, computes the losses and updates the weights.

        Args:
            number: of the step, counted from 1.
            with_batch: whether to return images, labels and predictions as well.

        Raises:
            ImageError, DatasetError: a training file cannot be read or does not fit.
        """
        graph, batches = self._graph, self._batches
        rate = self._learning_rate(number - 1)
        fetches = {
            "terms": (graph.loss, graph.auxiliary_loss, graph.weight_decay),
            "indices": batches.sample_indices,
            "train": graph.train_op,
        }
        if with_batch:
            fetches["batch"] = (batches.images[0], batches.labels, graph.predictions)
            fetches["loss_terms"] = graph.loss_terms
        try:
            fetched = self._session.run(fetches, {graph.learning_rate: rate})
        except tf.errors.OpError as error:
            if batches.loader.faults:
                raise batches.loader.faults[0] from error
            raise
        return StepTaken(
            number,
            rate,
            tuple(self._samples[index].image for index in fetched["indices"]),
            _result(fetched["terms"], fetched.get("loss_terms", {})),
            StepBatch(*fetched["batch"]) if with_batch else None,
        )

    def skipped_steps(self) -> int:
        """Counts the steps of the run that were skipped because their gradients overflowed; 0 without loss scaling."""
        scale = self._graph.loss_scale
        return 0 if scale is None else int(self._session.run(scale.skipped_steps))

    def devices(self) -> list[str]:
        """Names the devices of the session."""
        return [device.name for device in self._session.list_devices()]


def _result(values: Sequence[Any], terms: Mapping[str, Any]) -> StepResult:
    """Turns fetched scalars into Python's numbers."""
    loss, auxiliary_loss, weight_decay = map(float, values)
    return StepResult(loss, auxiliary_loss, weight_decay, {name: float(value) for name, value in terms.items()})
