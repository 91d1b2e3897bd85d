"""A trainer put together from a session, a graph and flags, and the loop of train.py around it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

from database.datasets import Dataset
from database.layouts import Sample
from tests.tools.toy_runs import train
from tools.flags.train import TrainConfig
from tools.runs.folder import RunFolder
from tools.training.attempt import Attempt
from tools.training.loop import Trainer
from tools.training.outputs import CurveWriter, SnapshotWriter
from tools.training.settings import learning_rate_at, plan_of
from tools.training.step import StepRunner


def trainer_of(
    session: Any,
    graph: Any,
    batches: Any,
    samples: Sequence[Sample],
    dataset: Dataset,
    config: TrainConfig,
    folder: RunFolder,
    saver: Any = None,
    record: Any = None,
    score: Callable[[int], object] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Trainer:
    """Puts a trainer together as `tools.training.attempt` does; the first parts may be stand-ins without a network."""
    steps = StepRunner(session, graph, batches, samples, partial(learning_rate_at, config))
    snapshots = SnapshotWriter(session, saver, getattr(graph, "weights", {}), record, folder, config.keep)
    shown = SimpleNamespace(flags={}) if record is None else record
    curves = CurveWriter(folder, dataset, shown, getattr(session, "graph", None), has_aux_loss=config.has_aux_loss)
    return Trainer(plan_of(config), folder, steps, snapshots, curves, score, clock=clock)


def run_steps(trainer: Trainer, first_step: int) -> None:
    """Runs the loop of train.py after a number of steps that are done already."""
    train(cast(Attempt, SimpleNamespace(trainer=lambda: trainer.running(first_step))))
