"""A training run from flags to its last snapshot: builds graph and session, trains."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cache, partial

import tensorflow.compat.v1 as tf

from database.datasets import Dataset
from database.layouts import Sample
from database.reader import Batches
from model.training_graph import TrainGraph, TrainingOptions, train_graph
from tools.checkpoints import checkpoint
from tools.checkpoints.files import remove_leftovers
from tools.checkpoints.pretrained import PretrainedInitializer, StartingPoints
from tools.checkpoints.values import require_usable
from tools.errors import DivergedError
from tools.flags.choices import LATEST
from tools.flags.train import TrainConfig
from tools.prediction.grid_sizes import warn_of_misaligned_size
from tools.prediction.provenance import set_results_aside
from tools.runs.data_checksums import DataChecksums
from tools.runs.disk_room import room_warning
from tools.runs.folder import RunFolder
from tools.runs.holdout import held_out_fraction, with_holdout, write_held_out
from tools.runs.origin import (
    check_same_class_weights,
    recorded_pretrained,
    with_class_weights,
    with_moved_pretrained,
    with_run_uuid,
    with_samples,
)
from tools.runs.record import ModelRecord
from tools.runs.snapshots import has_snapshots, snapshot_steps, step_to_resume
from tools.runtime import devices as cluster
from tools.runtime.determinism import require_determinism
from tools.runtime.half_precision import avoid_faulty_amx
from tools.runtime.memory import free_closed_sessions
from tools.runtime.session_errors import memory_limits_named
from tools.training.class_weights import class_weights, log_class_weights
from tools.training.loop import Trainer, writing_to
from tools.training.resumed_scores import ResumedScores
from tools.training.rollback import forget_rollbacks, read_rollbacks, roll_back
from tools.training.settings import batches_of, options_of
from tools.training.start import TrainingStart
from tools.training.validation import scoring_settings, validate
from tools.training.variable_report import decay_lines, write_variables

logger = logging.getLogger(__name__)

# Gives the weights of classes; counts them in the labels when it is called first.
_Weights = Callable[[], tuple[float, ...] | None]


@dataclasses.dataclass(frozen=True)
class _Built:
    """A finalized training graph with what a session needs."""

    graph: tf.Graph
    train: TrainGraph
    batches: Batches
    saved_variables: list[tf.Variable]
    saver: tf.train.Saver
    restored_variables: list[tf.Variable]
    restorer: tf.train.Saver
    pretrained: PretrainedInitializer | None
    initializers: list[tf.Operation]


def _build(
    config: TrainConfig,
    options: TrainingOptions,
    record: ModelRecord,
    samples: Sequence[Sample],
    devices: list[str],
    start: TrainingStart,
) -> _Built:
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(config.seed)
        batches = batches_of(config, record, samples, devices, start.step)
        starting_points = StartingPoints()
        with tf.device(devices[0]):
            train = train_graph(batches.images, batches.labels, record.architecture, options, starting_points)
        pretrained = start.initializer(record, options, starting_points)
        saved_variables = tf.global_variables()
        saver = restorer = tf.train.Saver(saved_variables)
        restored_variables = saved_variables
        if start.resumed is not None:
            restored_variables = checkpoint.without_later_additions(start.resumed, saved_variables)
        if len(restored_variables) < len(saved_variables):
            restorer = tf.train.Saver(restored_variables)
        initializers = [tf.global_variables_initializer(), tf.local_variables_initializer(), batches.initializer]
        graph.finalize()
    return _Built(graph, train, batches, saved_variables, saver, restored_variables, restorer, pretrained, initializers)


@dataclasses.dataclass(frozen=True)
class _Run:
    """What stays the same when a run goes back to a snapshot; see `train`."""

    dataset: Dataset
    samples: Sequence[Sample]
    data: DataChecksums
    folder: RunFolder
    held_out: Sequence[Sample]
    held_out_data: DataChecksums
    devices: list[str]

    def start(self, config: TrainConfig) -> TrainingStart:
        return TrainingStart.of(config, self.folder, self.dataset, self.data)


def train(
    config: TrainConfig,
    dataset: Dataset,
    samples: Sequence[Sample],
    folder: RunFolder,
    held_out: Sequence[Sample] = (),
    data: DataChecksums | None = None,
    held_out_data: DataChecksums | None = None,
) -> str:
    """Trains from the first step, or from the snapshot that the flags name, to the last.

    Does nothing with `--auto_resume` or `--resume_step latest` where the run is over. With `--on_nan rollback`, after
    NaN or infinity, it begins again as a resume from the last sound snapshot.

    Args:
        config: flags.
        dataset: to train on.
        samples: of the training splits.
        folder: where results go; an earlier run there is set aside, unless it is continued, or `--auto_resume` finds
            that it has left no snapshot.
        held_out: of the validation split, for `--val_every`.
        data, held_out_data: checksums of the two; computed where None.

    Returns:
        The prefix of the snapshot that the run ended with.

    Raises:
        DataError, ModelError, UserError: a subclass per kind of fault; see the `errors` module of each package.
    """
    step = step_to_resume(config, folder)
    asks_for_newest = config.auto_resume or config.resume_step == LATEST
    if asks_for_newest and step is not None and step >= config.train_max_iter:
        logger.info("%s: the run is over, with its snapshot of step %d", folder.path, step)
        return folder.snapshot(step)
    config = dataclasses.replace(config, resume_step=step, auto_resume=config.auto_resume and step is None)
    if config.float_type != "32":
        avoid_faulty_amx()
    devices = cluster.tower_devices(config.gpu_num, config.device)
    if config.deterministic:
        require_determinism(devices)
    data_dir = config.data_dir or dataset.default_dir
    data = data or DataChecksums.of(samples, data_dir)
    held_out_data = held_out_data or DataChecksums.of(held_out, data_dir)
    run = _Run(dataset, samples, data, folder, held_out, held_out_data, devices)
    start = run.start(config)
    weights: _Weights = cache(partial(_class_weights, config, dataset, samples))
    while (diverged := _train_from(start, config, run, weights)) is not None:
        with writing_to(folder):
            step = roll_back(folder, diverged, start.step)
        free_closed_sessions()
        config = _resuming(config, step, start, folder)
        start = run.start(config)
    return folder.snapshot(config.train_max_iter)


def _resuming(config: TrainConfig, step: int, start: TrainingStart, folder: RunFolder) -> TrainConfig:
    """The flags that go on from a snapshot of a run that began as `start` says.

    Where the run began with a checkpoint of the run that it set aside, they name the new place of that.
    """
    recorded = recorded_pretrained(folder)
    if start.resumed is None and recorded not in (None, start.pretrained):
        config = dataclasses.replace(config, fine_tune_filename=recorded)
    return dataclasses.replace(config, resume_step=step, auto_resume=False)


def _train_from(start: TrainingStart, config: TrainConfig, run: _Run, weights: _Weights) -> DivergedError | None:
    """Trains to the last step.

    Returns:
        What stopped it where the flags say that the run then goes back to a snapshot.
    """
    dataset, samples, folder, devices = run.dataset, run.samples, run.folder, run.devices
    rollbacks = () if start.resumed is None else read_rollbacks(folder)
    record = start.named_in(ModelRecord.of_run(config, dataset, start.backbone()), folder)
    record = with_holdout(with_samples(record, run.data), config)
    record = with_run_uuid(record, folder, resumed=start.resumed is not None)
    if start.resumed is not None:
        check_same_class_weights(folder, weights())
    record = with_class_weights(record, weights())
    built = _build(config, options_of(config, weights()), record, samples, devices, start)
    if start.resumed is not None:
        checkpoint.require_match(start.resumed, built.restored_variables, "resume with the flags of the run")
        require_usable(start.resumed, built.restored_variables, "go on from an earlier snapshot with --resume_step")
    _report(config, record, built, samples, devices, start)
    _warn_of_full_disk(config, built, folder, start)
    with (
        _memory_limits_named(config),
        cluster.open_session(built.graph, devices) as session,
    ):
        record = _prepare_folder(start, config, run, record)
        with writing_to(folder):
            write_variables(folder.path, built.saved_variables, built.train.decayed)

        def score(step: int) -> None:
            validate(config, dataset, run.held_out, folder.snapshot(step), folder, run.held_out_data)
            free_closed_sessions()

        settings = scoring_settings(config, run.held_out_data)
        scores = None if start.resumed is None else ResumedScores(config, folder, start.step, settings)
        if scores is not None:
            scores.make_up(score if run.held_out else None)
        _initialize(session, built, start)
        trainer = Trainer(
            session, built.train, built.batches, samples, dataset, config, folder, built.saver, record, score,
            rollbacks=rollbacks, on_first_snapshot=None if scores is None else scores.give_up_later,
        )  # fmt: skip
        try:
            trainer.run(start.step)
        except DivergedError as error:
            if config.on_nan != "rollback":
                raise
            return error.with_traceback(None)  # which would keep the graph in memory
        skipped = trainer.skipped_steps()
        if skipped:
            logger.info("%d of %d steps were skipped as their gradients overflowed", skipped, config.train_max_iter)
    return None


def _prepare_folder(start: TrainingStart, config: TrainConfig, run: _Run, record: ModelRecord) -> ModelRecord:
    """Sets an earlier run aside, writes what is there before the first step, and returns the record that holds now."""
    folder = run.folder
    with writing_to(folder):
        for place in (folder.snapshots, folder.best):
            remove_leftovers(place)
        if start.resumed is None and not (config.auto_resume and not has_snapshots(folder)):
            moved_to = folder.set_aside_earlier_run()
            record = with_moved_pretrained(record, folder.path, moved_to)
            if moved_to != folder.path:
                set_results_aside(RunFolder(moved_to), moved_to.removeprefix(folder.path))
        if start.resumed is None:
            forget_rollbacks(folder)
        record.write(folder.path)
        if held_out_fraction(config) is not None:
            write_held_out(folder, run.held_out, run.data.data_dir)
    return record


def _memory_limits_named(config: TrainConfig) -> AbstractContextManager[None]:
    what, flag = f"crops of {config.train_image_size}x{config.train_image_size}", "--train_image_size"
    if config.dynamic_size:
        what, flag = f"images of up to {config.dynamic_max_size} pixels", "--dynamic_short_sides"
    return memory_limits_named(
        f"{config.batch_size} {what} per tower",
        f"lower --batch_size or {flag}" + ("" if config.save_memory else ", or add --save_memory 1"),
    )


def _warn_of_full_disk(config: TrainConfig, built: _Built, folder: RunFolder, start: TrainingStart) -> None:
    snapshot_bytes = sum(v.shape.num_elements() * v.dtype.size for v in built.saved_variables)
    there_already = 0 if start.resumed is None else min(len(snapshot_steps(folder)), config.keep)
    warning = room_warning(
        config.log_dir,
        snapshot_bytes,
        keep=config.keep,
        keeps_best=config.val_every is not None,
        there_already=there_already,
    )
    if warning is not None:
        logger.warning("%s", warning)


def _class_weights(config: TrainConfig, dataset: Dataset, samples: Sequence[Sample]) -> tuple[float, ...] | None:
    if config.class_weights is None:
        return None
    weights = class_weights(config.class_weights, samples, dataset.num_classes, dataset.expected_classes)
    log_class_weights(weights, dataset.class_names)
    return weights


def _initialize(session: tf.Session, built: _Built, start: TrainingStart) -> None:
    """Gives every variable its value."""
    session.run(built.initializers)
    if start.resumed is not None:
        checkpoint.restore(session, start.resumed, built.restorer)
    if built.pretrained is not None:
        built.pretrained.run(session, resumed=start.resumed is not None)


def _report(
    config: TrainConfig,
    record: ModelRecord,
    built: _Built,
    samples: Sequence[Sample],
    devices: list[str],
    start: TrainingStart,
) -> None:
    logger.info("network: %s", record.architecture)
    for flag in ("test_image_size",) if config.dynamic_size else ("train_image_size", "test_image_size"):
        warn_of_misaligned_size(flag, getattr(config, flag), record.architecture)
    logger.info("images: %s less %s", "BGR" if record.color_switch else "RGB", record.image_mean)
    for name, towers in built.train.endpoints.items():
        logger.info("  %-8s %s", name, " ".join(str(x.shape) for x in towers))
    for line in decay_lines(built.graph.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES), built.train.decayed):
        logger.info("weight decay %s", line)
    logger.info("towers: %s", cluster.devices_in_words(devices, config.device))
    logger.info(
        "batch: %d images per tower x %d towers = %d; %d training images",
        config.batch_size,
        config.gpu_num,
        config.total_batch_size,
        len(samples),
    )
    logger.info("weights start from: %s", start.resumed or start.pretrained or "random weights")
