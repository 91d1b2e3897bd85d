"""Runs one training step in a session."""

from __future__ import annotations

import json
import math
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from database.layouts import Sample
from database.reader import Batches
from model.training_graph import TrainGraph
from tools.distributed.team import ALONE, FIRST_STEP, Hosted
from tools.errors import HostsError
from tools.training.notices import Notice, Notices


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
        notices: what the hosts told each other, by rank; None with one host.
    """

    number: int
    learning_rate: float
    images: tuple[str, ...]
    result: StepResult
    batch: StepBatch | None = None
    notices: tuple[Notice, ...] | None = None


class StepPatience:
    """How long a step may take while all hosts answer: some times as long as the longest step so far.

    The first step builds kernels and fills the pipeline, and so does the first that also returns the batch.
    """

    _FACTOR = 5.0

    def __init__(self) -> None:
        """Starts without a step."""
        self._started: set[bool] = set()
        self._longest: float | None = None

    def seconds(self, with_batch: bool) -> float:
        """Returns the limit for the next step, of the kind that returns the batch or not."""
        if self._longest is None or with_batch not in self._started:
            return FIRST_STEP
        return self._FACTOR * self._longest

    def step_taken(self, with_batch: bool, seconds: float) -> None:
        """Takes the duration of a step."""
        if with_batch in self._started:
            self._longest = max(seconds, self._longest or 0.0)
        self._started.add(with_batch)


class StepRunner:
    """Runs the steps of a finalized training graph, one per call."""

    def __init__(
        self,
        session: tf.Session,
        graph: TrainGraph,
        batches: Batches,
        samples: Sequence[Sample],
        learning_rate: Callable[[int], float],
        hosts: Hosted = ALONE,
        notices: Notices | None = None,
    ) -> None:
        """Takes the parts of a step.

        Args:
            session: with initialized or restored variables.
            graph: the training step.
            batches: its input.
            samples: the samples that `batches` reads, to name the images of a step.
            learning_rate: returns the rate of a step, counted from 0.
            hosts: this host among those that train together.
            notices: how they tell each other when to save and stop; None with one host.
        """
        self._session = session
        self._graph = graph
        self._batches = batches
        self._samples = samples
        self._learning_rate = learning_rate
        self._hosts = hosts
        self._notices = notices
        self._patience = StepPatience()
        self._compared_step: int | None = None

    def run(self, number: int, *, with_batch: bool = False, notice: Notice | None = None) -> StepTaken:
        """Runs one step: reads a batch, computes the losses and updates the weights.

        With accumulation, it reads several batches, adds up their gradients and then updates the weights. The losses
        are the mean over the batches, and the returned batch is the last one.

        Args:
            number: of the step, counted from 1.
            with_batch: whether to return images, labels and predictions as well.
            notice: for the other hosts; required with several.

        Raises:
            LostHostError: another host is missing.
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
        feed: dict[tf.Tensor, Any] = {graph.learning_rate: rate}
        if self._notices is not None:
            fetches["notices"] = self._notices.received
            feed[self._notices.sent] = [notice]
        began = time.monotonic()
        with self._hosts.running(f"step {number}", self._patience.seconds(with_batch)):
            runs = [*self._accumulated(with_batch), self._run(fetches, feed)]
        self._patience.step_taken(with_batch, time.monotonic() - began)
        return StepTaken(
            number,
            rate,
            tuple(self._samples[index].image for run in runs for index in run["indices"]),
            _mean_result(runs),
            StepBatch(*runs[-1]["batch"]) if with_batch else None,
            None if self._notices is None else tuple(Notice(*map(int, row)) for row in runs[-1]["notices"]),
        )

    def exchange(self, what: str, notice: Notice) -> tuple[Notice, ...]:
        """Exchanges notices between two steps, and returns those of all hosts by rank.

        Args:
            what: the hosts do, for messages.
            notice: of this host.

        Raises:
            LostHostError: another host is missing.
        """
        rows = self._hosts.gather(what, np.array(notice, np.int32).tobytes())
        return tuple(Notice(*np.frombuffer(row, np.int32).tolist()) for row in rows)

    def images_of_hosts(self, taken: StepTaken) -> tuple[str, ...]:
        """Returns the paths of the images of a step on all hosts, by rank.

        Raises:
            LostHostError: another host is missing.
        """
        if self._hosts.count == 1:
            return taken.images
        own = json.dumps(taken.images).encode()
        each = self._hosts.gather(f"the images of step {taken.number}", own)
        return tuple(image for images in each for image in json.loads(images))

    def compare_hosts(self, number: int) -> None:
        """Compares all variables of the hosts after a step, unless that was done.

        Raises:
            HostsError: they differ in a bit; the message names two hosts and the first variable.
            LostHostError: another host is missing.
        """
        if number == self._compared_step:
            return
        variables = {v.op.name: v for v in self._session.graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)}
        values = self._session.run(variables)
        names = sorted(values)
        own = np.array([zlib.crc32(values[name].tobytes()) for name in names], np.uint32)
        checksums = [
            np.frombuffer(message, np.uint32)
            for message in self._hosts.gather(f"the comparison of weights after step {number}", own.tobytes())
        ]
        for rank, other in enumerate(checksums):
            differing = np.flatnonzero(other != checksums[0])
            if differing.size:
                raise HostsError(
                    f"after step {number}, {self._hosts.named(0)} and {self._hosts.named(rank)} differ in "
                    f"{differing.size} of {len(names)} variables, first in '{names[differing[0]]}': use machines with "
                    "equal processors, and check their memory; snapshots are written only if all hosts agree, so the "
                    "last one is from before the difference"
                )
        self._compared_step = number

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
