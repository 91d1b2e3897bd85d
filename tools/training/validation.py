"""Scores the snapshots of a run on its validation split."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Mapping
from typing import Any

from tools.checkpoints.averages import require_averages
from tools.checkpoints.snapshot_names import checkpoint_step
from tools.flags.choices import LATEST
from tools.flags.train import TrainConfig
from tools.prediction import tables
from tools.prediction.grid_sizes import warn_of_misaligned_size
from tools.prediction.metrics import Scores
from tools.prediction.predictor import Predictor, predictor_on
from tools.prediction.score_files import (
    is_scored,
    read_header,
    run_header,
    scores_path,
    scores_stem,
    snapshot_header,
)
from tools.prediction.score_header import USE_EMA, VAL_EVERY
from tools.prediction.scoring import evaluate
from tools.runs.agreement import check_same_classes, check_same_network
from tools.runs.data_checksums import DataChecksums
from tools.runs.folder import RunFolder
from tools.runs.holdout import check_same_holdout
from tools.runs.record import ModelRecord
from tools.runs.writing import writing_to
from tools.runtime.devices import evaluation_devices
from tools.runtime.stop_requests import going_on, stopping_at_warnings
from tools.training.best_snapshot import keep_if_best
from tools.training.samples import RunData
from tools.training.summaries import write_validation

logger = logging.getLogger(__name__)


def scoring_settings(config: TrainConfig, data: DataChecksums) -> dict[str, Any]:
    """Describes how snapshots of a run are scored; only scores with equal settings are comparable.

    Args:
        config: flags.
        data: checksums of the validation split.

    Returns:
        JSON values by name.
    """
    return {
        "mirror": int(config.mirror),
        "window": config.test_image_size,
        "float_type": config.float_type,
        "test_max_iter": config.test_max_iter,
        USE_EMA: int(config.use_ema),
        "data_sha256": list(data.values),
    }


def _stem(config: TrainConfig, folder: RunFolder, prefix: str, settings: Mapping[str, Any]) -> str:
    """Returns the file name of the scores; scores of the snapshot with other settings or images are not replaced."""
    step = checkpoint_step(prefix)
    stem, path = scores_stem(step, config.test_max_iter), scores_path(folder.path, step, config.test_max_iter)
    if not is_scored(path, prefix):
        return stem
    there = read_header(path)
    differing = [name for name, value in settings.items() if name in there and there[name] != value]
    shown = {name: settings[name] for name in differing}
    if "data_sha256" in shown:
        shown["data_sha256"] = hashlib.sha256(json.dumps(shown["data_sha256"]).encode()).hexdigest()[:8]
    return "-".join([stem, *(f"{name.removesuffix('_sha256')}{value}" for name, value in shown.items())])


def _when_stopped(config: TrainConfig, prefix: str) -> str:
    """Returns the message for a signal that is received while a snapshot is scored."""
    if config.eval_only:
        return f"while scoring {prefix}: no scores were written: run the same command again"
    step = checkpoint_step(prefix)
    is_last = step == config.train_max_iter
    then = going_on(LATEST if is_last or step is None else step)
    return f"while scoring snapshot {prefix}, which is written: {then}, which scores it{'' if is_last else ' first'}"


def _header(config: TrainConfig, data: RunData, record: ModelRecord, prefix: str) -> dict[str, Any]:
    """Returns the description of run, snapshot, data and settings in the score files."""
    return {
        **run_header(prefix, record.origin),
        **snapshot_header(prefix),
        "dataset": data.dataset.name,
        "data_dir": os.path.abspath(config.data_dir or data.dataset.default_dir),
        "list": config.val_list,
        "split": "val",
        **scoring_settings(config, data.validation_checksums),
        **({} if config.eval_only or config.val_every is None else {VAL_EVERY: config.val_every}),
    }


def validate(config: TrainConfig, data: RunData, folder: RunFolder, prefix: str) -> Scores | None:
    """Scores a snapshot on the validation split, and writes tables and TensorBoard events to the run's folder.

    The network is the recorded one; windows, mirror and float type are those of the flags. With `--val_every` the
    snapshot is kept if it is the best of the run.

    Args:
        config: flags.
        data: of the run.
        folder: of the run.
        prefix: of the snapshot.

    Returns:
        The scores, None if there are no samples.

    Raises:
        DataError, ModelError, UserError: a subclass per kind of fault; see the `errors` module of each package.
    """
    if not data.validation:
        return None
    record = ModelRecord.read(os.path.dirname(prefix)) or ModelRecord.of_run(config, data.dataset)
    check_same_network(record, config, prefix)
    check_same_classes(record, config, data.dataset, prefix)
    check_same_holdout(record, config, prefix)
    settings = scoring_settings(config, data.validation_checksums)
    # Before the scoring, during which a run may remove the snapshot that --eval_only scores.
    stem, header = _stem(config, folder, prefix, settings), _header(config, data, record, prefix)
    scores = _scores_of(prefix, config, data, record)
    if scores is not None:
        tables.warn_of_missed_classes(scores, data.dataset.class_names, record.flags, checkpoint_step(prefix))
        with writing_to(folder):
            write_validation(folder.path, checkpoint_step(prefix) or 0, scores, data.dataset.class_names)
        _keep_if_wanted(scores, config, folder, prefix, settings)
        # Written last, because they mark the snapshot as scored: a run that is killed before repeats the scoring.
        path, *others = tables.write_tables(scores, data.dataset.class_names, folder.path, stem, header)
        logger.info("scores written to %s", ", ".join([path, *(os.path.splitext(other)[1] for other in others)]))
    return scores


def _scores_of(prefix: str, config: TrainConfig, data: RunData, record: ModelRecord) -> Scores | None:
    record = dataclasses.replace(record, test_image_size=config.test_image_size)
    if not config.use_ema:
        require_averages(prefix)
    if config.eval_only:  # otherwise `train` has done this
        warn_of_misaligned_size("test_image_size", record.test_image_size, record.architecture)

    def build(device: str) -> Predictor:
        return Predictor(
            prefix,
            record,
            mirror=config.mirror,
            float_type=config.float_type,
            use_averages=config.use_ema,
            device=device,
        )

    devices = evaluation_devices(config.gpu_num, config.device)
    samples = data.validation[: config.test_max_iter]
    with stopping_at_warnings(_when_stopped(config, prefix)), predictor_on(devices, build) as predictor:
        return evaluate(predictor, samples, data.dataset.num_classes, title="validate", towers=len(devices))


def _keep_if_wanted(
    scores: Scores, config: TrainConfig, folder: RunFolder, prefix: str, settings: Mapping[str, Any]
) -> None:
    """Keeps the snapshot if it is the best and `--val_every` is set."""
    step = checkpoint_step(prefix)
    if not config.eval_only and config.val_every is not None and step is not None:
        keep_if_best(folder, step, scores, settings)
