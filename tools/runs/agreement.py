"""Checks that flags, data and weights match the run being resumed, scored or used for prediction."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from operator import attrgetter

from database.channels import Channels
from database.datasets import Dataset
from tools.checkpoints.reading import checkpoint_checksum
from tools.errors import FlagError
from tools.flags.comparable import comparable_flags
from tools.flags.definition import flag_properties, flags_where
from tools.flags.predict import WeightsConfig
from tools.flags.train import TrainConfig
from tools.flags.values import shown_value
from tools.runs.data_checksums import DataChecksums
from tools.runs.folder import RunFolder
from tools.runs.holdout import check_same_holdout
from tools.runs.origin_entries import samples_entries
from tools.runs.record import ModelRecord
from tools.runs.run_origin import SAMPLES_CHECKSUM

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
    steps = record.last_step
    if config.schedule_name != "step" and steps not in (None, config.train_max_iter):
        logger.info(
            "the %s schedule now has %d steps instead of %d", config.schedule_name, config.train_max_iter, steps
        )
    _log_other_towers(record, config)
    _check_fixed_flags(folder, config, record)
    check_same_holdout(record, config, folder.path)
    fault = _other_classes(record, config, dataset) or _other_colors(record, dataset)
    if fault is not None:
        raise FlagError(f"{fault} when {folder.path} was started: resume with the flags and files of the run")
    check_same_samples(folder, record, data)


def check_same_flags(folder: RunFolder, config: TrainConfig) -> None:
    """Checks a resumed run's flags against the original's, without reading data; see `check_same_run`.

    Raises:
        FlagError: flags have changed.
        RecordError: the record in the folder of snapshots is damaged.
    """
    record = ModelRecord.read(folder.snapshots)
    if record is not None:
        _check_fixed_flags(folder, config, record)


def _check_fixed_flags(folder: RunFolder, config: TrainConfig, record: ModelRecord) -> None:
    """Raises FlagError that names all flags that differ although a resumed run must not change them."""
    fixed = set(flags_where(TrainConfig, resume="same")) - _same_batch(record, config)
    recorded, given = comparable_flags(record.flags), comparable_flags(config.run_flags())
    differing = [name for name in given if name in fixed and recorded.get(name, given[name]) != given[name]]
    if differing:
        now = ", ".join(f"--{name} is {given[name]}" for name in differing)
        then = ", ".join(f"--{name} {recorded[name]}" if differing[1:] else f"{recorded[name]}" for name in differing)
        raise FlagError(
            f"{now}, and {folder.path} was started with {then}: resume with the flags of the run; or begin another run "
            f"with --run_name, without --resume_step, which starts from these weights with --fine_tune_filename "
            f"{folder.path}"
        )


def _same_batch(record: ModelRecord, config: TrainConfig) -> frozenset[str]:
    """Returns --batch_size and --gpu_num if they may change because their product stays the same, otherwise none.

    Batch normalization, losses and dropout use the whole batch, so its division among towers does not matter. It does
    with `--dynamic_size`, as each tower draws its own size, and with `--sync_bn 0`.
    """
    names = ("batch_size", "gpu_num")
    flags = {**config.run_flags(), **record.flags}
    batch, towers = (flags[name] for name in names)
    if config.dynamic_size or not config.sync_bn or batch * towers != config.total_batch_size:
        return frozenset()
    return frozenset(names)


def _log_other_towers(record: ModelRecord, config: TrainConfig) -> None:
    """Logs that the same images of a step are divided among another number of towers."""
    flags = {**config.run_flags(), **record.flags}
    batch, towers = flags["batch_size"], flags["gpu_num"]
    if towers != config.towers and _same_batch(record, config):
        logger.info(
            "%d x %d images per step instead of %d x %d (towers x images): the total batch size is unchanged",
            config.towers,
            config.batch_size,
            towers,
            batch,
        )


def check_same_samples(folder: RunFolder, record: ModelRecord, data: DataChecksums) -> None:
    """Checks the training files of a resumed run against the original's, as far as these are recorded.

    Changed contents are only logged as a warning, because a user may have corrected a file before resuming.

    Args:
        folder: of the run.
        record: in its folder of snapshots.
        data: checksums of the training data.

    Raises:
        FlagError: the names of the files differ.
    """
    now = samples_entries(data)
    changed = [
        name
        for name, value in now.items()
        if None not in (value, getattr(record.origin, name)) and value != getattr(record.origin, name)
    ]
    if SAMPLES_CHECKSUM in changed:
        raise FlagError(
            f"the {data.count} training images and labels in {data.data_dir} are not those that {folder.path} was "
            "started with: resume with the same files, given by --data_dir and --train_list"
        )
    if changed:
        logger.warning(
            "%s: training images or labels have changed since %s was started: training continues with the new ones",
            data.data_dir,
            folder.path,
        )


def check_same_class_weights(folder: RunFolder, weights: Sequence[float] | None) -> None:
    """Checks the class weights of a resumed run against the original's.

    Raises:
        FlagError: they differ.
        RecordError: the record in the folder of snapshots is damaged.
    """
    record = ModelRecord.read(folder.snapshots)
    if record is not None and record.origin.class_weight_values != (None if weights is None else tuple(weights)):
        raise FlagError(
            f"the class weights differ from those that {folder.path} was started with: resume with its --class_weights "
            "and an unchanged file"
        )


def check_same_starting_points(folder: RunFolder, prefix: str) -> None:
    """Checks that a resumed run reads w0 from the checkpoint that it started from.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        FlagError: it is a different one.
        RecordError: the record in the folder of snapshots is damaged.
    """
    record = ModelRecord.read(folder.snapshots)
    known = None if record is None else record.origin.pretrained_sha256
    if record is None or known is None:
        return
    if checkpoint_checksum(prefix) != known:
        raise FlagError(
            f"{prefix} is not the checkpoint that {folder.path} was started from, {record.origin.pretrained_prefix}, "
            "and L2-SP reads w0 from the checkpoint again: give the original one with --fine_tune_filename"
        )


def check_same_classes(record: ModelRecord, config: TrainConfig, dataset: Dataset, prefix: str) -> None:
    """Checks the classes and the input of the flags against those that a snapshot was trained with.

    Args:
        record: of the run that wrote the snapshot.
        config: flags.
        dataset: described by the flags.
        prefix: of the snapshot.

    Raises:
        FlagError: the number, label ids or names of the classes, --image_mean, --input_range or the channels differ.
    """
    fault = _other_classes(record, config, dataset)
    if fault is not None:
        raise FlagError(f"{fault} when {prefix} was trained: score it with the flags of the run")


def check_same_network(record: ModelRecord, config: TrainConfig | WeightsConfig, prefix: str) -> None:
    """Checks the network flags against the checkpoint.

    Args:
        record: of the checkpoint.
        config: flags; a flag that is None, or that the script does not have, is not checked.
        prefix: of the checkpoint.

    Raises:
        FlagError: a flag differs from the record.
    """
    for name in _RECORDED:
        given, recorded = getattr(config, name, None), _recorded(record, name)
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
    if dataset.channels != record.channels:
        now, then = (_channels_in_words(channels) for channels in (dataset.channels, record.channels))
        return f"by --input_channels, --channel_mean and --channel_std the images have {now} and had {then}"
    if config.image_mean not in (None, record.image_mean):
        return f"--image_mean is {config.image_mean} and was {record.image_mean}"
    if config.input_range != record.input_range:
        return f"--input_range is {config.input_range} and was {record.input_range}"
    return None


def _channels_in_words(channels: Channels | None) -> str:
    if channels is None:
        return "red, green and blue"
    mean, deviation = shown_value(channels.mean), shown_value(channels.deviation)
    return f"{channels.count} channels of mean {mean} and deviation {deviation}"


def _other_colors(record: ModelRecord, dataset: Dataset) -> str | None:
    """Describes the first difference in class colours or ignored colours; None if they agree."""
    for name, now, then in zip(dataset.class_names, dataset.palette, record.palette, strict=True):
        if now != then:
            return f"the colour of '{name}' is {now} by --palette and was {then}"
    if dataset.ignored_colors != record.ignored_colors:
        return f"the ignored colours are {dataset.ignored_colors} by --palette and were {record.ignored_colors}"
    return None
