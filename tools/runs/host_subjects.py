"""Lists what has to be equal on all hosts that train or predict together; `distributed.agreement` compares it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Sequence
from typing import Any

from database.datasets import Dataset
from tools.distributed.agreement import versions
from tools.flags.definition import flag_properties

_DIGITS = 8


def program_subjects(config: Any, of_one_host: Collection[str]) -> dict[str, Any]:
    """Returns versions and flags as JSON values, by the words for messages.

    Paths may differ, because the copies of the files may be in different folders; compare their contents.

    Args:
        config: flags, an instance of a class of flags.
        of_one_host: names of other flags that may differ.
    """
    may_differ = {name for name, is_path in flag_properties(type(config), "is_path").items() if is_path}
    flags = dataclasses.asdict(config)
    return {
        **versions(),
        **{f"--{name}": value for name, value in flags.items() if name not in may_differ and name not in of_one_host},
    }


def class_subjects(dataset: Dataset) -> dict[str, Any]:
    """Returns a digest of names, label ids and colours of the classes."""
    labels = sorted((str(file_id), train_id) for file_id, train_id in dataset.label_map.items())
    return {"the classes": digest([dataset.class_names, labels, dataset.palette, dataset.ignored_colors])}


def data_subjects(kind: str, count: int, checksums: Sequence[str | None]) -> dict[str, Any]:
    """Returns the number of images, and digests of their names and contents.

    Args:
        kind: of the images, such as `training`.
        count: of the images.
        checksums: see `DataChecksums.values`.
    """
    names, *contents = checksums
    return {
        f"the number of {kind} images": count,
        f"the list of {kind} images": str(names)[:_DIGITS],
        f"the contents of the {kind} files": digest(contents),
    }


def digest(values: Any) -> str:
    """Returns a few characters that identify JSON values; enough to show that two differ."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:_DIGITS]
