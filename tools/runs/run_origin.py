"""What a run started from and trains on: a checkpoint, files, class weights, and its id."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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

    pretrained_prefix: str | None = None
    pretrained_sha256: str | None = None
    training_samples_sha256: str | None = None
    training_sizes_sha256: str | None = None
    training_contents_sha256: str | None = None
    class_weight_values: tuple[float, ...] | None = None
    run_uuid: str | None = None
    run_folder_name: str | None = None

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> RunOrigin:
        """Creates an origin from checked JSON values; unknown names are ignored."""
        known = {name: values[name] for name in NAMES if name in values}
        weights = known.get("class_weight_values")
        return cls(**(known | {"class_weight_values": None if weights is None else tuple(weights)}))


NAMES = tuple(field.name for field in dataclasses.fields(RunOrigin))
