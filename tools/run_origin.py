"""What a run was started from and trains on, as its record keeps it beside the flags."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from typing import Any

from database.layouts import Sample
from tools import checkpoint
from tools.flags import FlagError
from tools.model_record import ModelRecord
from tools.run_folder import RunFolder

_PRETRAINED_PREFIX = "pretrained_prefix"
_PRETRAINED_CHECKSUM = "pretrained_sha256"
_SAMPLES_CHECKSUM = "training_samples_sha256"
_CLASS_WEIGHTS = "class_weight_values"


def with_pretrained(record: ModelRecord, prefix: str) -> ModelRecord:
    """The record that also says, among the flags, which checkpoint a run starts from, by prefix and checksum.

    Raises:
        CheckpointError: the checkpoint cannot be read.
    """
    return _with(record, {_PRETRAINED_PREFIX: prefix, _PRETRAINED_CHECKSUM: checkpoint.checksum(prefix)})


def with_pretrained_of(record: ModelRecord, folder: RunFolder) -> ModelRecord:
    """The record that also says which checkpoint the run was started from that is continued, if that is known.

    Raises:
        RecordError: the record beside the snapshots is damaged.
    """
    earlier = ModelRecord.read(folder.snapshots)
    known = {} if earlier is None else earlier.flags
    return _with(record, {name: known[name] for name in (_PRETRAINED_PREFIX, _PRETRAINED_CHECKSUM) if name in known})


def recorded_pretrained(folder: RunFolder) -> str | None:
    """The prefix of the checkpoint that a run began with, by its record; None if that is not known.

    Raises:
        RecordError: the record beside the snapshots is damaged.
    """
    record = ModelRecord.read(folder.snapshots)
    return None if record is None else record.flags.get(_PRETRAINED_PREFIX)


def with_moved_pretrained(record: ModelRecord, folder: str, moved_to: str) -> ModelRecord:
    """The record that names the checkpoint of the start where it is after its folder, or one above, was moved.

    Args:
        record: see `with_pretrained`; without a checkpoint, or with one from elsewhere, it stays as it is.
        folder: that was moved.
        moved_to: its new path.
    """
    prefix = record.flags.get(_PRETRAINED_PREFIX)
    within = None if prefix is None else path_within(os.path.realpath(prefix), os.path.realpath(folder))
    return record if within is None else _with(record, {_PRETRAINED_PREFIX: os.path.join(moved_to, within)})


def with_samples(record: ModelRecord, samples: Sequence[Sample], data_dir: str) -> ModelRecord:
    """The record that also says, among the flags, on which files a run trains, by a checksum of their names.

    Args:
        record: of the run.
        samples: to train on, in their order.
        data_dir: that they lie in; names are taken from there, so that a copy elsewhere has the same checksum.
    """
    return _with(record, {_SAMPLES_CHECKSUM: _samples_checksum(samples, data_dir)})


def check_same_samples(folder: RunFolder, record: ModelRecord, samples: Sequence[Sample], data_dir: str) -> None:
    """Holds the names of the files to train on against those of the run that is continued, if these are known.

    Args:
        folder: of the run.
        record: beside its snapshots.
        samples, data_dir: see `with_samples`.

    Raises:
        FlagError: they differ.
    """
    if record.flags.get(_SAMPLES_CHECKSUM) not in (None, _samples_checksum(samples, data_dir)):
        raise FlagError(
            f"the {len(samples)} training images and labels in {data_dir} are not those that {folder.path} was started "
            "with: resume with the same files by --data_dir and --train_list"
        )


def with_class_weights(record: ModelRecord, weights: Sequence[float] | None) -> ModelRecord:
    """The record that also says, among the flags, how much each class counts in the loss; None for alike."""
    return record if weights is None else _with(record, {_CLASS_WEIGHTS: list(weights)})


def check_same_class_weights(folder: RunFolder, weights: Sequence[float] | None) -> None:
    """Holds the weights of classes against those of the run that is continued.

    Raises:
        FlagError: they differ.
        RecordError: the record beside the snapshots is damaged.
    """
    record = ModelRecord.read(folder.snapshots)
    then = None if record is None else record.flags.get(_CLASS_WEIGHTS)
    if record is not None and then != (None if weights is None else list(weights)):
        raise FlagError(
            f"the classes weighed otherwise when {folder.path} was started: resume with its --class_weights, unchanged"
        )


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


def _with(record: ModelRecord, entries: dict[str, Any]) -> ModelRecord:
    return dataclasses.replace(record, flags={**record.flags, **entries})


def _samples_checksum(samples: Sequence[Sample], data_dir: str) -> str:
    """SHA-256 over the paths of images and labels, hexadecimal."""
    paths = [path for sample in samples for path in (sample.image, sample.label) if path is not None]
    names = [path_within(path, data_dir) or path for path in paths]
    return hashlib.sha256("\0".join(names).encode(errors="surrogateescape")).hexdigest()


def path_within(path: str, folder: str) -> str | None:
    """A path relative to a folder that it lies in, None if it does not."""
    relative = os.path.relpath(path, folder)
    return None if relative.split(os.sep)[0] == os.pardir else relative
