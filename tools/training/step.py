"""Runs one training step in a session."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
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
        image: the first tower's images, float32 [N, h, w, channels], normalized.
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

        With accumulation, it reads several batches, adds up their gradients and then updates the weights. The losses
        are the mean over the batches, and the returned batch is the last one.

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
        runs = [*self._accumulated(with_batch), self._run(fetches, {graph.learning_rate: rate})]
        return StepTaken(
            number,
            rate,
            tuple(self._samples[index].image for run in runs for index in run["indices"]),
            _mean_result(runs),
            StepBatch(*runs[-1]["batch"]) if with_batch else None,
        )

    def _accumulated(self, with_batch: bool) -> Iterator[dict[str, Any]]:
        """Adds up the gradients of the batches of a step except the last; yields losses and sample indices of each."""
        graph = self._graph
        if graph.accumulation is None:
            return
        fetches = {
            "terms": (graph.loss, graph.auxiliary_loss, graph.weight_decay),
            "indices": self._batches.sample_indices,
            "accumulate": graph.accumulate_op,
        }
        if with_batch:
            fetches["loss_terms"] = graph.loss_terms
        for batch in range(graph.accumulation.batches - 1):
            yield self._run(fetches, {graph.accumulation.number: batch})

    def _run(self, fetches: dict[str, Any], feed: dict[tf.Tensor, float]) -> dict[str, Any]:
        """Runs the graph once; raises the error of a training file instead of TensorFlow's."""
        try:
            return self._session.run(fetches, feed)
        except tf.errors.OpError as error:
            if self._batches.loader.faults:
                raise self._batches.loader.faults[0] from error
            raise

    def skipped_steps(self) -> int:
        """Counts the steps of the run that were skipped because their gradients overflowed; 0 without loss scaling."""
        scale = self._graph.loss_scale
        return 0 if scale is None else int(self._session.run(scale.skipped_steps))

    def weights(self) -> dict[str, np.ndarray]:
        """Returns the values of all variables of the network, by name."""
        return self._session.run(self._graph.weights)

    def devices(self) -> list[str]:
        """Names the devices of the session."""
        return [device.name for device in self._session.list_devices()]


def _mean_result(runs: Sequence[Mapping[str, Any]]) -> StepResult:
    """Averages the fetched losses over the batches of a step."""
    loss, auxiliary_loss, weight_decay = (
        float(np.mean(term)) for term in zip(*[run["terms"] for run in runs], strict=True)
    )
    names = runs[0].get("loss_terms", {})
    terms = {name: float(np.mean([run["loss_terms"][name] for run in runs])) for name in names}
    return StepResult(loss, auxiliary_loss, weight_decay, terms)
