"""Checks that flags match the run being resumed, scored or used for prediction."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable
from operator import attrgetter

from database.datasets import Dataset
from tools.errors import FlagError
from tools.flags.definition import flag_properties, flags_where
from tools.flags.predict import WeightsConfig
from tools.flags.train import TrainConfig
from tools.runs.data_checksums import DataChecksums
from tools.runs.folder import RunFolder
from tools.runs.holdout import check_same_holdout
from tools.runs.origin import check_same_samples
from tools.runs.record import ModelRecord

logger = logging.getLogger(__name__)

# Flags that describe the network and its input, and the attributes of `ModelRecord` with their values.
_RECORDED = {name: path for name, path in flag_properties(TrainConfig, "recorded").items() if path is not None}


def check_same_run(folder: RunFolder, config: TrainConfig, dataset: Dataset, data: DataChecksums) -> None:
    """Checks a resumed run's flags and data against the original's.

    Args:
        folder: of the run.
        config: flags of the resumed run.
        dataset: described by the flags.
        data: checksums of the training data.

    Raises:
        FlagError: a flag, the classes, their label ids or colours, or the files to train on have changed.
        RecordError: the record in the folder of snapshots is damaged.
    """
    record = ModelRecord.read(folder.snapshots)
    if record is None:
        return
    steps = record.flags.get("train_max_iter", config.train_max_iter)
    if config.poly_lr and steps != config.train_max_iter:
        logger.info("the poly schedule has %d steps from here on, before it had %d", config.train_max_iter, steps)
    fixed = set(flags_where(TrainConfig, resume="same")) - _same_batch(record, config)
    for name, now in dataclasses.asdict(config).items():
        then = record.flags.get(name, now)
        then = tuple(then) if isinstance(then, list) else then
        if name in fixed and then != now:
            raise FlagError(
                f"--{name} is {now} and {folder.path} was started with {then}: resume with the flags of the run"
            )
    check_same_holdout(record, config, folder.path)
    fault = _other_classes(record, config, dataset) or _other_colors(record, dataset)
    if fault is not None:
        raise FlagError(f"{fault} when {folder.path} was started: resume with the flags and files of the run")
    check_same_samples(folder, record, data)


def _same_batch(record: ModelRecord, config: TrainConfig) -> frozenset[str]:
    """Returns --batch_size and --gpu_num if they may change because their product stays the same, otherwise none.

    Batch normalization, losses and dropout use the whole batch, so its division among towers does not matter. With
    `--dynamic_size` it does: each tower draws its own size.
    """
    names = ("batch_size", "gpu_num")
    batch, towers = (record.flags.get(name, getattr(config, name)) for name in names)
    if config.dynamic_size or batch * towers != config.total_batch_size:
        return frozenset()
    if towers != config.gpu_num:
        logger.info(
            "%d x %d images per step on as many towers, before %d x %d: equal for the training",
            config.gpu_num,
            config.batch_size,
            towers,
            batch,
        )
    return frozenset(names)


def check_same_classes(record: ModelRecord, config: TrainConfig, dataset: Dataset, prefix: str) -> None:
    """Checks the classes and the input of the flags against those that a snapshot was trained with.

    Args:
        record: of the run that wrote the snapshot.
        config: flags.
        dataset: described by the flags.
        prefix: of the snapshot.

    Raises:
        FlagError: the number, label ids or names of the classes, --image_mean or --input_range differ.
    """
    fault = _other_classes(record, config, dataset)
    if fault is not None:
        raise FlagError(f"{fault} when {prefix} was trained: score it with the flags of the run")


def check_same_network(
    record: ModelRecord, config: TrainConfig | WeightsConfig, prefix: str, names: Iterable[str] = tuple(_RECORDED)
) -> None:
    """Checks the network flags against the checkpoint.

    Args:
        record: of the checkpoint.
        config: flags; a flag that is None is not checked.
        prefix: of the checkpoint.
        names: the recorded flags to compare.

    Raises:
        FlagError: a flag differs from the record.
    """
    for name in names:
        given, recorded = getattr(config, name), _recorded(record, name)
        if given not in (None, recorded):
            given = int(given) if isinstance(given, bool) else given
            raise FlagError(
                f"--{name} is {given} and {prefix} was trained with {recorded}: give --{name} {recorded}, or a "
                "checkpoint of the other network"
            )


def _recorded(record: ModelRecord, name: str) -> str | int:
    """Returns the recorded value of a flag, with booleans as 0 or 1 as on the command line."""
    value = attrgetter(_RECORDED[name])(record)
    return int(value) if isinstance(value, bool) else value


def _other_classes(record: ModelRecord, config: TrainConfig, dataset: Dataset) -> str | None:
    """Describes the first difference between the flags' classes and input and the record's; None if they agree."""
    classes = record.architecture.num_classes
    if dataset.num_classes != classes:
        return f"--num_classes is {dataset.num_classes} and was {classes}"
    if dataset.label_map != record.label_map:
        maps = dataset.label_map, record.label_map
        file_id = min(i for i in maps[0].keys() | maps[1].keys() if maps[0].get(i) != maps[1].get(i))
        now, then = (label_map.get(file_id, "unknown") for label_map in maps)
        return f"label id {file_id} has the training id {now} by --label_map and --ignore_label and had {then}"
    if dataset.class_names != record.class_names:
        pairs = zip(dataset.class_names, record.class_names, strict=True)
        now, then = next(pair for pair in pairs if pair[0] != pair[1])
        return f"a class is '{now}' by --palette and was '{then}'"
    if config.image_mean not in (None, record.image_mean):
        return f"--image_mean is {config.image_mean} and was {record.image_mean}"
    if config.input_range != record.input_range:
        return f"--input_range is {config.input_range} and was {record.input_range}"
    return None


def _other_colors(record: ModelRecord, dataset: Dataset) -> str | None:
    """Describes the first difference in class colours or ignored colours; None if they agree."""
    for name, now, then in zip(dataset.class_names, dataset.palette, record.palette, strict=True):
        if now != then:
            return f"the colour of '{name}' is {now} by --palette and was {then}"
    if dataset.ignored_colors != record.ignored_colors:
        return f"the ignored colours are {dataset.ignored_colors} by --palette and were {record.ignored_colors}"
    return None
