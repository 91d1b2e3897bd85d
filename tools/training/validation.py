"""Scores the snapshots of a run on its validation split."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from database.datasets import Dataset
from database.layouts import Sample
from tools.checkpoints.snapshot_names import checkpoint_step
from tools.flags.choices import LATEST
from tools.flags.train import TrainConfig
from tools.prediction import tables
from tools.prediction.grid_sizes import warn_of_misaligned_size
from tools.prediction.metrics import Scores
from tools.prediction.predictor import Predictor, predictor_on
from tools.prediction.score_files import is_scored, read_header, run_header, scores_path, scores_stem, snapshot_header
from tools.prediction.scoring import evaluate
from tools.runs.agreement import check_same_classes, check_same_network
from tools.runs.data_checksums import DataChecksums
from tools.runs.folder import RunFolder
from tools.runs.holdout import check_same_holdout
from tools.runs.record import ModelRecord
from tools.runs.writing import writing_to
from tools.runtime import devices as cluster
from tools.runtime.stop_requests import going_on, stopping_at_warnings
from tools.training.best_snapshot import keep_if_best
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
        "data_sha256": list(data.values),
    }


def _stem(config: TrainConfig, folder: RunFolder, prefix: str, settings: Mapping[str, Any]) -> str:
    """Returns the file name of the scores; `--eval_only` with other settings does not replace the training's scores."""
    step = checkpoint_step(prefix)
    stem, path = scores_stem(step, config.test_max_iter), scores_path(folder.path, step, config.test_max_iter)
    if not config.eval_only or not is_scored(path, prefix):
        return stem
    there = read_header(path)
    differing = [name for name, value in settings.items() if name in there and there[name] != value]
    shown = {name: settings[name] for name in differing}
    if "data_sha256" in shown:
        shown["data_sha256"] = hashlib.sha256(json.dumps(shown["data_sha256"]).encode()).hexdigest()[:8]
    return "-".join([stem, *(f"{name.removesuffix('_sha256')}{value}" for name, value in shown.items())])


def _told_in_scoring(config: TrainConfig, prefix: str) -> str:
    """Returns the message for a signal that is received while a snapshot is scored."""
    if config.eval_only:
        return f"in scoring {prefix}: nothing of it is written: score it again with the same flags"
    step = checkpoint_step(prefix)
    is_last = step == config.train_max_iter
    then = going_on(LATEST if is_last or step is None else step)
    return f"in scoring snapshot {prefix}, which is written: {then}, which scores it{'' if is_last else ' first'}"


def _header(config: TrainConfig, dataset: Dataset, data_dir: str, record: ModelRecord, prefix: str) -> dict[str, Any]:
    """Returns the description of run, snapshot and data in the score files."""
    return {
        **run_header(prefix, record.origin),
        **snapshot_header(prefix),
        "dataset": dataset.name,
        "data_dir": os.path.abspath(data_dir),
        "list": config.val_list,
        "split": "val",
    }


def validate(
    config: TrainConfig,
    dataset: Dataset,
    samples: Sequence[Sample],
    prefix: str,
    folder: RunFolder,
    data: DataChecksums | None = None,
) -> Scores | None:
    """Scores a snapshot on the validation split, and writes tables and TensorBoard events to the run's folder.

    The network is the recorded one; windows, mirror and float type are those of the flags. With `--val_every` the
    snapshot is kept if it is the best of the run.

    Args:
        config: flags.
        dataset: described by the flags.
        samples: of the validation split.
        prefix: of the snapshot.
        folder: of the run.
        data: checksums of the samples; computed if None.

    Returns:
        The scores, None if there are no samples.

    Raises:
        DataError, ModelError, UserError: a subclass per kind of fault; see the `errors` module of each package.
    """
    if not samples:
        return None
    record = ModelRecord.read(os.path.dirname(prefix)) or ModelRecord.of_run(config, dataset)
    check_same_network(record, config, prefix)
    check_same_classes(record, config, dataset, prefix)
    check_same_holdout(record, config, prefix)
    record = dataclasses.replace(record, test_image_size=config.test_image_size)
    if config.eval_only:  # otherwise `train` has done this
        warn_of_misaligned_size("test_image_size", record.test_image_size, record.architecture)

    def build(device: str) -> Predictor:
        return Predictor(prefix, record, mirror=config.mirror, float_type=config.float_type, device=device)

    devices = cluster.evaluation_devices(config.gpu_num, config.device)
    with stopping_at_warnings(_told_in_scoring(config, prefix)), predictor_on(devices, build) as predictor:
        scores = evaluate(
            predictor, samples[: config.test_max_iter], dataset.num_classes, title="validate", towers=len(devices)
        )
    if scores is None:
        return None
    step, data_dir = checkpoint_step(prefix), config.data_dir or dataset.default_dir
    settings = scoring_settings(config, data or DataChecksums.of(samples, data_dir))
    header = _header(config, dataset, data_dir, record, prefix) | settings
    with writing_to(folder):
        write_validation(folder.path, step or 0, scores, dataset.class_names)
    if not config.eval_only and config.val_every is not None and step is not None:
        keep_if_best(folder, step, scores, settings)
    # Written last, because they mark the snapshot as scored: a run that is killed before repeats the scoring.
    stem = _stem(config, folder, prefix, settings)
    path, *others = tables.write_tables(scores, dataset.class_names, folder.path, stem, header)
    logger.info("scores written to %s", ", ".join([path, *(os.path.splitext(other)[1] for other in others)]))
    return scores
