"""Adds to a run's record what it started from and trains on; see `run_origin.RunOrigin`."""

from __future__ import annotations

import dataclasses
import os
import uuid
from collections.abc import Sequence
from typing import Any

from tools.checkpoints.reading import checkpoint_checksum
from tools.runs.data_checksums import DataChecksums, path_within
from tools.runs.folder import RunFolder
from tools.runs.record import ModelRecord
from tools.runs.run_origin import SAMPLES_ENTRIES


def with_run_uuid(record: ModelRecord, folder: RunFolder, *, resumed: bool) -> ModelRecord:
    """Gives a run a unique id: a new one, or its existing one if it is resumed.

    The results have the same id, so that they are matched with their run after either was moved. A copy of a run that
    is resumed next to its original gets a new id.

    Args:
        record: of the run.
        folder: of the run.
        resumed: whether the run in the folder is resumed.

    Raises:
        RecordError: the record in the folder of snapshots, or that of the original of a copy, is damaged.
    """
    name = os.path.basename(os.path.abspath(folder.path))
    earlier = ModelRecord.read(folder.snapshots) if resumed else None
    known = None if earlier is None or _is_copy(earlier, folder, name) else earlier.origin.run_uuid
    return _with(record, run_uuid=known or uuid.uuid4().hex, run_folder_name=name)


def _is_copy(earlier: ModelRecord, folder: RunFolder, name: str) -> bool:
    """Returns whether the folder is a copy of a run that still exists under its original name.

    Raises:
        RecordError: the record of the other run is damaged.
    """
    named = earlier.origin.run_folder_name
    if named is None or named == name:
        return False
    path = os.path.join(os.path.dirname(os.path.abspath(folder.path)), named)
    other = ModelRecord.read(RunFolder(path).snapshots)
    return other is not None and other.origin.run_uuid == earlier.origin.run_uuid


def with_pretrained(record: ModelRecord, prefix: str) -> ModelRecord:
    """Adds prefix and checksum of the checkpoint that a run starts from to its record.

    Raises:
        CheckpointError: the checkpoint cannot be read.
    """
    return _with(record, pretrained_prefix=prefix, pretrained_sha256=checkpoint_checksum(prefix))


def with_pretrained_of(record: ModelRecord, folder: RunFolder) -> ModelRecord:
    """Copies prefix and checksum of the starting checkpoint from the record of a resumed run, if it has them.

    Raises:
        RecordError: the record in the folder of snapshots is damaged.
    """
    earlier = ModelRecord.read(folder.snapshots)
    if earlier is None:
        return record
    origin = earlier.origin
    return _with(record, pretrained_prefix=origin.pretrained_prefix, pretrained_sha256=origin.pretrained_sha256)


def recorded_pretrained(folder: RunFolder) -> str | None:
    """Returns the prefix of the checkpoint that a run started from, according to its record; None if unknown.

    Raises:
        RecordError: the record in the folder of snapshots is damaged.
    """
    record = ModelRecord.read(folder.snapshots)
    return None if record is None else record.origin.pretrained_prefix


def with_moved_pretrained(record: ModelRecord, folder: str, moved_to: str) -> ModelRecord:
    """Updates the path of the starting checkpoint in a record after its folder, or a parent folder, was moved.

    Args:
        record: see `with_pretrained`; returned unchanged if its checkpoint is not in the folder.
        folder: path before the move.
        moved_to: path after the move.
    """
    prefix = record.origin.pretrained_prefix
    within = None if prefix is None else path_within(os.path.realpath(prefix), os.path.realpath(folder))
    return record if within is None else _with(record, pretrained_prefix=os.path.join(moved_to, within))


def with_samples(record: ModelRecord, data: DataChecksums) -> ModelRecord:
    """Adds checksums of the names, sizes and contents of the training files to a record.

    Args:
        record: of the run.
        data: checksums of its training data.
    """
    return _with(record, **samples_entries(data))


def samples_entries(data: DataChecksums) -> dict[str, str | None]:
    """Returns the checksums of `with_samples` by name."""
    return dict(zip(SAMPLES_ENTRIES, data.values, strict=True))


def with_class_weights(record: ModelRecord, weights: Sequence[float] | None) -> ModelRecord:
    """Adds the weight of each class in the loss to a record; None for equal weights."""
    return record if weights is None else _with(record, class_weight_values=tuple(weights))


def _with(record: ModelRecord, **values: Any) -> ModelRecord:
    return dataclasses.replace(record, origin=dataclasses.replace(record.origin, **values))
