"""What a run started from and trains on: a checkpoint, files, class weights, and its id. Works without TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


def _entry(*, contents_of: str | None = None, is_id: bool = False) -> Any:
    """Makes a field, None by default.

    Args:
        contents_of: the flag that names a file or folder, if the value identifies its contents.
        is_id: whether the value is the id of the run.
    """
    return dataclasses.field(default=None, metadata={"contents_of": contents_of, "is_id": is_id})


@dataclass(frozen=True)
class RunOrigin:
    """What a run started from and trains on; None if unknown.

    Attributes:
        pretrained_prefix, pretrained_sha256: the checkpoint that it starts from.
        training_samples_sha256, training_sizes_sha256, training_contents_sha256: checksums of the names, sizes and
            contents of its training files.
        class_weight_values: weight of each class in the loss; None for equal weights.
        run_uuid: unique id of the run.
        run_folder_name: name of the folder that the run started in.
    """

    pretrained_prefix: str | None = _entry()
    pretrained_sha256: str | None = _entry(contents_of="fine_tune_filename")
    training_samples_sha256: str | None = _entry(contents_of="data_dir")
    training_sizes_sha256: str | None = _entry(contents_of="data_dir")
    training_contents_sha256: str | None = _entry(contents_of="data_dir")
    class_weight_values: tuple[float, ...] | None = _entry(contents_of="class_weights")
    run_uuid: str | None = _entry(is_id=True)
    run_folder_name: str | None = _entry()

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> RunOrigin:
        """Creates an origin from checked JSON values; unknown names are ignored."""
        known = {name: values[name] for name in NAMES if name in values}
        weights = known.get("class_weight_values")
        return cls(**(known | {"class_weight_values": None if weights is None else tuple(weights)}))


def with_origin(values: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a record of version 1: moves the origin of the run out of its flags."""
    flags = values["flags"]
    origin = {name: flags[name] for name in NAMES if name in flags}
    return {**values, "flags": {name: flags[name] for name in flags if name not in origin}, "origin": origin}


_FIELDS = dataclasses.fields(RunOrigin)
NAMES = tuple(field.name for field in _FIELDS)
[RUN_UUID] = (field.name for field in _FIELDS if field.metadata["is_id"])
# Names of the fields that identify the contents of a file or folder, by the flag that names it.
CONTENTS_OF_FLAGS: Mapping[str, tuple[str, ...]] = {
    flag: tuple(field.name for field in _FIELDS if field.metadata["contents_of"] == flag)
    for flag in dict.fromkeys(field.metadata["contents_of"] for field in _FIELDS)
    if flag is not None
}
# Checksums of names, sizes and contents of the training files, in the order of `DataChecksums.values`.
SAMPLES_ENTRIES = CONTENTS_OF_FLAGS["data_dir"]
SAMPLES_CHECKSUM, SIZES_CHECKSUM, CONTENTS_CHECKSUM = SAMPLES_ENTRIES
