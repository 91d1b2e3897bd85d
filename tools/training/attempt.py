"""Trains a run from its start, or from a snapshot, until the last step or until NaN or infinity."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import tensorflow.compat.v1 as tf

from tools.errors import DivergedError
from tools.flags.train import TrainConfig
from tools.runs.folder import RunFolder
from tools.runs.record import ModelRecord
from tools.runs.writing import writing_to
from tools.runtime import devices as cluster
from tools.runtime.memory import free_closed_sessions
from tools.runtime.session_errors import memory_limits_named
from tools.training.build import BuiltGraph, build_graph
from tools.training.loop import Trainer
from tools.training.outputs import CurveWriter, SnapshotWriter
from tools.training.report import log_run
from tools.training.resumed_scores import ResumedScores
from tools.training.rollback import read_rollbacks
from tools.training.run_files import ClassWeights, prepare_folder, record_of_run
from tools.training.samples import RunData
from tools.training.settings import learning_rate_at, options_of, plan_of
from tools.training.start import TrainingStart
from tools.training.step import StepRunner
from tools.training.validation import scoring_settings, validate
from tools.training.variable_report import write_variables

logger = logging.getLogger(__name__)


def train_from(
    start: TrainingStart,
    config: TrainConfig,
    data: RunData,
    folder: RunFolder,
    devices: list[str],
    class_weights: ClassWeights,
) -> DivergedError | None:
    """Builds the network and trains it to the last step.

    Args:
        start: what the run starts from.
        config: flags.
        data: of the run.
        folder: of the run.
        devices: of the towers.
        class_weights: see `record_of_run`.

    Returns:
        None, or with `--on_nan rollback` the error about NaN or infinity.

    Raises:
        DataError, ModelError, UserError: a subclass per kind of fault; see the `errors` module of each package.
    """
    rollbacks = () if start.resumed is None else read_rollbacks(folder)
    rate = partial(learning_rate_at, config, rollbacks=rollbacks)
    record = record_of_run(start, config, data, folder, class_weights)
    built = build_graph(config, options_of(config, class_weights()), record, data.training, devices, start)
    log_run(config, record, data, built, devices, folder)
    with _memory_limits_named(config), cluster.open_session(built.graph, devices) as session:
        record = prepare_folder(start, config, data, folder, record)
        with writing_to(folder):
            write_variables(folder.path, built.variables, built.train.decayed)
        return _run_steps(session, built, record, config, data, folder, rate)


def _run_steps(
    session: tf.Session,
    built: BuiltGraph,
    record: ModelRecord,
    config: TrainConfig,
    data: RunData,
    folder: RunFolder,
    rate: Callable[[int], float],
) -> DivergedError | None:
    """Initializes the variables and runs the training loop; see `train_from`."""
    first_step = built.initial.start.step
    score = partial(_score, config, data, folder)
    on_first_snapshot = None
    if built.initial.start.resumed is not None:
        resumed = ResumedScores(config, folder, first_step, scoring_settings(config, data.validation_checksums))
        resumed.make_up(score if data.validation else None)
        on_first_snapshot = resumed.give_up_later
    built.initial.assign(session)
    steps = StepRunner(session, built.train, built.batches, data.training, rate)
    snapshots = SnapshotWriter(
        session, built.saver, built.train.weights, record, folder, config.keep, on_first_snapshot
    )
    curves = CurveWriter(folder, data.dataset, record, built.graph, has_aux_loss=config.has_aux_loss)
    try:
        Trainer(plan_of(config), folder, steps, snapshots, curves, score).run(first_step)
    except DivergedError as error:
        if config.on_nan != "rollback":
            raise
        return error.with_traceback(None)  # a traceback would keep the graph in memory
    skipped = steps.skipped_steps()
    if skipped:
        logger.info("%d of %d steps were skipped because their gradients overflowed", skipped, config.train_max_iter)
    return None


def _score(config: TrainConfig, data: RunData, folder: RunFolder, step: int) -> None:
    validate(config, data, folder, folder.snapshot(step))
    free_closed_sessions()


def _memory_limits_named(config: TrainConfig) -> AbstractContextManager[None]:
    what, flag = f"crops of {config.train_image_size}x{config.train_image_size}", "--train_image_size"
    if config.dynamic_size:
        what, flag = f"images of up to {config.dynamic_max_size} pixels", "--dynamic_short_sides"
    return memory_limits_named(
        f"{config.batch_size} {what} per tower",
        f"lower --batch_size or {flag}" + ("" if config.save_memory else ", or add --save_memory 1"),
    )
