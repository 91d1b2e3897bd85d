"""Lists what has to be equal on all hosts of a run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from database.datasets import Dataset
from tools.distributed.agreement import versions
from tools.flags.definition import flag_properties
from tools.flags.train import TrainConfig
from tools.runs.data_checksums import DataChecksums
from tools.training.samples import RunData

# Flags that may differ, beside the paths: the checkpoint to start from is that of rank 0, and so is the run's name.
_OF_ONE_HOST = ("host_rank", "quiet", "run_name", "max_pixels")
_DIGITS = 8


def flags_and_versions(config: TrainConfig) -> dict[str, Any]:
    """Returns JSON values that have to be equal on all hosts, by the words for messages.

    Paths may differ, because the copies of the data may be in different folders; their contents are compared.

    Args:
        config: flags.
    """
    may_differ = {name for name, is_path in flag_properties(TrainConfig, "is_path").items() if is_path}
    flags = dataclasses.asdict(config)
    return {
        **versions(),
        **{f"--{name}": value for name, value in flags.items() if name not in may_differ and name not in _OF_ONE_HOST},
    }


def data_subjects(data: RunData) -> dict[str, Any]:
    """Returns further values for the data of a run, as `flags_and_versions` does."""
    return {
        "the classes": _classes(data.dataset),
        **_data("training", data.training_checksums),
        **_data("validation", data.validation_checksums),
    }


def _classes(dataset: Dataset) -> str:
    labels = sorted((str(file_id), train_id) for file_id, train_id in dataset.label_map.items())
    return _digest([dataset.class_names, labels, dataset.palette, dataset.ignored_colors])


def _data(split: str, checksums: DataChecksums) -> dict[str, Any]:
    return {
        f"the number of {split} images": checksums.count,
        f"the list of {split} images": checksums.names[:_DIGITS],
        f"the contents of the {split} files": _digest([checksums.sizes, checksums.contents]),
    }


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:_DIGITS]
