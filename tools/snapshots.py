"""The snapshots of a run: which there are, which is meant, and what flags must share with the run."""

from __future__ import annotations

import dataclasses
import logging
import os

from database.datasets import Dataset
from tools import checkpoint
from tools.flags import FlagError, TrainConfig
from tools.model_record import ModelRecord
from tools.run_folder import RunFolder

logger = logging.getLogger(__name__)

# Beside the flags of a record: what the run was started from.
_PRETRAINED_PREFIX = "pretrained_prefix"
_PRETRAINED_CHECKSUM = "pretrained_sha256"

# Flags that a continued run may change. Three of them reach into the training: `train_max_iter` is the length of the
# poly schedule, `data_dir` must be a copy of the same data, and what `fine_tune_filename` names is held by checksum.
_FREE_ON_RESUME = frozenset(
    {
        "data_dir",
        "log_dir",
        "fine_tune_filename",
        "train_max_iter",
        "snapshot",
        "keep",
        "save_first_iteration",
        "resume_step",
        "test_image_size",
        "test_max_iter",
        "mirror",
        "eval_only",
        "check_data",
        "show_period",
    }
)


def snapshot_to_score(config: TrainConfig, folder: RunFolder) -> str:
    """The prefix of the snapshot to validate: with --eval_only that of --resume_step if given, else the last.

    Raises:
        CheckpointError: there is none.
    """
    if config.eval_only and config.resume_step is not None:
        return checkpoint.resolve_checkpoint(folder.snapshot(config.resume_step))
    return checkpoint.resolve_checkpoint(folder.snapshots)


def check_resume_step(folder: RunFolder, step: int, max_steps: int) -> str:
    """The prefix of the snapshot to resume from.

    Raises:
        CheckpointError: there is none of that step, or the run is over.
    """
    prefix = folder.snapshot(step)
    if not os.path.exists(prefix + ".index"):
        steps = snapshot_steps(folder)
        found = f"there are snapshots of steps {', '.join(map(str, steps))}" if steps else "there is none"
        raise checkpoint.CheckpointError(f"{prefix}: no snapshot of --resume_step {step} ({found} in its folder)")
    if step >= max_steps:
        raise checkpoint.CheckpointError(
            f"{prefix}: --resume_step {step} is not before --train_max_iter {max_steps}: nothing is left to train"
        )
    return prefix


def check_same_run(folder: RunFolder, config: TrainConfig) -> None:
    """Holds the flags of a run that is continued against those it was started with.

    Raises:
        FlagError: one that matters has changed.
        RecordError: the record beside the snapshots is damaged.
    """
    record = ModelRecord.read(folder.snapshots)
    if record is None:
        return
    steps = record.flags.get("train_max_iter", config.train_max_iter)
    if config.poly_lr and steps != config.train_max_iter:
        logger.info("the poly schedule has %d steps from here on, before it had %d", config.train_max_iter, steps)
    for name, now in dataclasses.asdict(config).items():
        then = record.flags.get(name, now)
        then = tuple(then) if isinstance(then, list) else then
        if name not in _FREE_ON_RESUME and then != now:
            raise FlagError(
                f"--{name} is {now} and {folder.path} was started with {then}: resume with the flags of the run"
            )


def with_pretrained(record: ModelRecord, prefix: str) -> ModelRecord:
    """The record that also says, among the flags, which checkpoint a run starts from, by prefix and checksum.

    Raises:
        CheckpointError: the checkpoint cannot be read.
    """
    start = {_PRETRAINED_PREFIX: prefix, _PRETRAINED_CHECKSUM: checkpoint.checksum(prefix)}
    return dataclasses.replace(record, flags={**record.flags, **start})


def with_pretrained_of(record: ModelRecord, folder: RunFolder) -> ModelRecord:
    """The record that also says which checkpoint the run was started from that is continued, if that is known.

    Raises:
        RecordError: the record beside the snapshots is damaged.
    """
    earlier = ModelRecord.read(folder.snapshots)
    known = {} if earlier is None else earlier.flags
    start = {name: known[name] for name in (_PRETRAINED_PREFIX, _PRETRAINED_CHECKSUM) if name in known}
    return dataclasses.replace(record, flags={**record.flags, **start})


def check_same_starting_points(folder: RunFolder, prefix: str) -> None:
    """Holds the checkpoint that a continued run reads w0 from against the one it was started from.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        FlagError: it is another.
        RecordError: the record beside the snapshots is damaged.
    """
    record = ModelRecord.read(folder.snapshots)
    known = None if record is None else record.flags.get(_PRETRAINED_CHECKSUM)
    if record is None or known is None:
        return
    if checkpoint.checksum(prefix) != known:
        raise FlagError(
            f"{prefix} is not the checkpoint that {folder.path} was started from, "
            f"{record.flags.get(_PRETRAINED_PREFIX)}, and w0 is read from it again: give that one with "
            "--fine_tune_filename"
        )


def check_same_classes(record: ModelRecord, config: TrainConfig, dataset: Dataset, prefix: str) -> None:
    """Holds the classes that a snapshot is scored on, and its input, against those it was trained on.

    Args:
        record: beside the snapshot.
        config: flags.
        dataset: that the flags describe.
        prefix: of the snapshot.

    Raises:
        FlagError: number, label ids or names of the classes differ, or the mean of the flags is another.
    """
    classes = record.architecture.num_classes
    if dataset.num_classes != classes:
        fault = f"--num_classes is {dataset.num_classes} and was {classes}"
    elif dataset.label_map != record.label_map:
        maps = dataset.label_map, record.label_map
        file_id = min(i for i in maps[0].keys() | maps[1].keys() if maps[0].get(i) != maps[1].get(i))
        now, then = (label_map.get(file_id, "unknown") for label_map in maps)
        fault = f"label id {file_id} has the training id {now} by --label_map and --ignore_label and had {then}"
    elif dataset.class_names != record.class_names:
        pairs = zip(dataset.class_names, record.class_names, strict=True)
        now, then = next(pair for pair in pairs if pair[0] != pair[1])
        fault = f"a class is '{now}' by --palette and was '{then}'"
    elif config.image_mean not in (None, record.image_mean):
        fault = f"--image_mean is {config.image_mean} and was {record.image_mean}"
    else:
        return
    raise FlagError(f"{fault} when {prefix} was trained: score it with the flags of the run")


def snapshot_steps(folder: RunFolder) -> list[int]:
    """The steps of a run's snapshots, ascending."""
    if not os.path.isdir(folder.snapshots):
        return []
    names = [name[: -len(".index")] for name in os.listdir(folder.snapshots) if name.endswith(".index")]
    return sorted(step for step in map(checkpoint.checkpoint_step, names) if step is not None)
