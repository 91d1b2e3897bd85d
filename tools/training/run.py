"""A training run, in order: data, folder, network, steps with snapshots and scores, score of the last snapshot."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache, partial

from database.images import set_max_pixels
from tools.checkpoints.files import remove_leftovers
from tools.errors import DivergedError
from tools.flags.choices import LATEST
from tools.flags.chosen_dataset import training_dataset
from tools.flags.train import TrainConfig
from tools.prediction.metrics import Scores
from tools.prediction.provenance import set_results_aside
from tools.runs.agreement import check_same_class_weights
from tools.runs.folder import RunFolder
from tools.runs.holdout import held_out_fraction, with_holdout, write_held_out
from tools.runs.lock import run_lock
from tools.runs.origin_entries import (
    recorded_pretrained,
    with_class_weights,
    with_moved_pretrained,
    with_run_uuid,
    with_samples,
)
from tools.runs.record import ModelRecord
from tools.runs.snapshots import has_snapshots, snapshot_to_score, step_to_resume
from tools.runs.writing import check_log_dir, writing_to
from tools.runtime import devices as cluster
from tools.runtime.half_precision import avoid_faulty_amx
from tools.runtime.memory import free_closed_sessions
from tools.runtime.session_errors import memory_limits_named
from tools.training.build import build_graph
from tools.training.class_weights import class_weights, log_class_weights
from tools.training.identity import choose_run
from tools.training.loop import Trainer
from tools.training.outputs import CurveWriter, SnapshotWriter
from tools.training.preflight import check_training_data
from tools.training.report import log_run
from tools.training.resumed_scores import ResumedScores
from tools.training.rollback import forget_rollbacks, read_rollbacks, roll_back
from tools.training.samples import RunData
from tools.training.settings import learning_rate_at, options_of, plan_of
from tools.training.start import TrainingStart
from tools.training.step import StepRunner
from tools.training.validation import scoring_settings, validate
from tools.training.variable_report import write_variables

logger = logging.getLogger(__name__)

# Returns the class weights; the first call counts pixels in the labels.
_Weights = Callable[[], tuple[float, ...] | None]


def read_data(config: TrainConfig) -> RunData:
    """Checks devices and `--log_dir`, then finds the samples of the training and validation splits.

    Raises:
        DataError, UserError: a subclass per kind of fault.
    """
    set_max_pixels(config.max_pixels)
    cluster.tower_devices(config.gpu_num, config.device)  # missing devices are reported before the data are read
    dataset, data_dir = training_dataset(config)
    check_log_dir(config.log_dir)
    return RunData.find(config, dataset, data_dir)


def choose_folder(config: TrainConfig, data: RunData) -> RunFolder:
    """Returns the folder of the run, below `--log_dir`.

    Raises:
        UserError: see `identity.choose_run`.
    """
    folder = choose_run(config, data.dataset, None if config.eval_only else data.training_checksums)
    if config.eval_only:  # otherwise the summary logs it
        logger.info("run: %s", folder.path)
    return folder


@contextmanager
def locked(config: TrainConfig, folder: RunFolder) -> Iterator[None]:
    """Keeps other processes from training the same run; with `--eval_only` nothing is locked.

    Raises:
        OutputError: the lock cannot be written.
        UserError: another process trains this run.
    """
    with ExitStack() as held:
        if not config.eval_only:
            with writing_to(folder):
                held.enter_context(run_lock(folder.path))
        yield


def check_data(config: TrainConfig, data: RunData, folder: RunFolder) -> None:
    """Checks labels before the first step, as set by `--check_data`.

    Raises:
        DataError, PreflightError: see `preflight.check_training_data`.
    """
    check_training_data(config, data.dataset, data.training, data.validation, folder)


def train(config: TrainConfig, data: RunData, folder: RunFolder) -> str:
    """Trains from the first step, or from the snapshot that the flags select, to the last.

    Does nothing with `--auto_resume` or `--resume_step latest` if the run is finished. With `--on_nan rollback`, NaN or
    infinity makes it resume from the last sound snapshot.

    Args:
        config: flags.
        data: of the run; the validation samples are those of `--val_every`.
        folder: for the results. An earlier run there is set aside, unless it is resumed, or `--auto_resume` finds that
            it has no snapshot.

    Returns:
        The prefix of the run's last snapshot.

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
        cluster.require_determinism(devices)
    start = _start(config, data, folder)
    weights: _Weights = cache(partial(_class_weights, config, data))
    while (diverged := _train_from(start, config, data, folder, devices, weights)) is not None:
        with writing_to(folder):
            step = roll_back(folder, diverged, start.step)
        free_closed_sessions()
        config = _resuming(config, step, start, folder)
        start = _start(config, data, folder)
    return folder.snapshot(config.train_max_iter)


def score(config: TrainConfig, data: RunData, folder: RunFolder, trained: str | None) -> Scores | None:
    """Scores the last snapshot, or the one that the flags select, on the validation split; see `validation.validate`.

    Args:
        config, data, folder: see `train`.
        trained: prefix of the snapshot that `train` returned; None with `--eval_only`.
    """
    return _validate(config, data, folder, snapshot_to_score(config, folder, trained))


def _validate(config: TrainConfig, data: RunData, folder: RunFolder, prefix: str) -> Scores | None:
    return validate(config, data.dataset, data.validation, prefix, folder, data.validation_checksums)


def _start(config: TrainConfig, data: RunData, folder: RunFolder) -> TrainingStart:
    return TrainingStart.of(config, folder, data.dataset, data.training_checksums)


def _resuming(config: TrainConfig, step: int, start: TrainingStart, folder: RunFolder) -> TrainConfig:
    """Returns the flags that resume a run from its snapshot of a step.

    If the run started from a checkpoint of the run that it set aside, the flags have the checkpoint's new path.
    """
    recorded = recorded_pretrained(folder)
    if start.resumed is None and recorded not in (None, start.pretrained):
        config = dataclasses.replace(config, fine_tune_filename=recorded)
    return dataclasses.replace(config, resume_step=step, auto_resume=False)


def _train_from(
    start: TrainingStart,
    config: TrainConfig,
    data: RunData,
    folder: RunFolder,
    devices: list[str],
    weights: _Weights,
) -> DivergedError | None:
    """Builds the network and trains it to the last step.

    Returns:
        None, or with `--on_nan rollback` the error about NaN or infinity.
    """
    rollbacks = () if start.resumed is None else read_rollbacks(folder)
    record = _record(start, config, data, folder, weights)
    built = build_graph(config, options_of(config, weights()), record, data.training, devices, start)
    log_run(config, record, data, built, devices, folder)
    with _memory_limits_named(config), cluster.open_session(built.graph, devices) as session:
        record = _prepare_folder(start, config, data, folder, record)
        with writing_to(folder):
            write_variables(folder.path, built.variables, built.train.decayed)

        def score_snapshot(step: int) -> None:
            _validate(config, data, folder, folder.snapshot(step))
            free_closed_sessions()

        resumed_scores = _resumed_scores(start, config, data, folder)
        if resumed_scores is not None:
            resumed_scores.make_up(score_snapshot if data.validation else None)
        built.initial.assign(session)
        rate = partial(learning_rate_at, config, rollbacks=rollbacks)
        steps = StepRunner(session, built.train, built.batches, data.training, rate)
        on_first = None if resumed_scores is None else resumed_scores.give_up_later
        snapshots = SnapshotWriter(session, built.saver, built.train.weights, record, folder, config.keep, on_first)
        curves = CurveWriter(folder, data.dataset, record, built.graph, has_aux_loss=config.has_aux_loss)
        try:
            Trainer(plan_of(config), folder, steps, snapshots, curves, score_snapshot).run(start.step)
        except DivergedError as error:
            if config.on_nan != "rollback":
                raise
            return error.with_traceback(None)  # a traceback would keep the graph in memory
        skipped = steps.skipped_steps()
        if skipped:
            logger.info("%d of %d steps were skipped as their gradients overflowed", skipped, config.train_max_iter)
    return None


def _record(
    start: TrainingStart, config: TrainConfig, data: RunData, folder: RunFolder, weights: _Weights
) -> ModelRecord:
    """Returns the record of the run: network, flags, data and what it starts from."""
    record = start.named_in(ModelRecord.of_run(config, data.dataset, start.backbone()), folder)
    record = with_holdout(with_samples(record, data.training_checksums), config)
    record = with_run_uuid(record, folder, resumed=start.resumed is not None)
    if start.resumed is not None:
        check_same_class_weights(folder, weights())
    return with_class_weights(record, weights())


def _prepare_folder(
    start: TrainingStart, config: TrainConfig, data: RunData, folder: RunFolder, record: ModelRecord
) -> ModelRecord:
    """Sets an earlier run aside, writes the files of a run before its first step, and returns the updated record."""
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
            write_held_out(folder, data.validation, data.training_checksums.data_dir)
    return record


def _resumed_scores(
    start: TrainingStart, config: TrainConfig, data: RunData, folder: RunFolder
) -> ResumedScores | None:
    if start.resumed is None:
        return None
    return ResumedScores(config, folder, start.step, scoring_settings(config, data.validation_checksums))


def _memory_limits_named(config: TrainConfig) -> AbstractContextManager[None]:
    what, flag = f"crops of {config.train_image_size}x{config.train_image_size}", "--train_image_size"
    if config.dynamic_size:
        what, flag = f"images of up to {config.dynamic_max_size} pixels", "--dynamic_short_sides"
    return memory_limits_named(
        f"{config.batch_size} {what} per tower",
        f"lower --batch_size or {flag}" + ("" if config.save_memory else ", or add --save_memory 1"),
    )


def _class_weights(config: TrainConfig, data: RunData) -> tuple[float, ...] | None:
    if config.class_weights is None:
        return None
    dataset = data.dataset
    weights = class_weights(config.class_weights, data.training, dataset.num_classes, dataset.expected_classes)
    log_class_weights(weights, dataset.class_names)
    return weights
