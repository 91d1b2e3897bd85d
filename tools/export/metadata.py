"""Describes an exported network: its classes, and the run that it comes from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tools.prediction.score_files import run_header, snapshot_header
from tools.prediction.score_header import CHECKSUM
from tools.runs.record import ModelRecord
from tools.runs.run_origin import RUN_UUID

MODEL_CHECKSUM = "model_sha256"
# Entries of `describe_model` that are stored in each file too.
_IN_FILES = ("run", RUN_UUID, "step", CHECKSUM, "dataset", MODEL_CHECKSUM)


def describe_classes(record: ModelRecord) -> dict[str, Any]:
    """Returns names and colours by class, and the class of each id in label files, as JSON values."""
    return {
        "class_names": list(record.class_names),
        "palette": [list(color) for color in record.palette],
        "label_map": {str(file_id): train_id for file_id, train_id in sorted(record.label_map.items())},
    }


def describe_model(prefix: str, record: ModelRecord, *, use_averages: bool) -> dict[str, Any]:
    """Returns run, snapshot, network and training flags as JSON values; see `MODEL_CHECKSUM` for equal networks.

    Args:
        prefix: of the checkpoint.
        record: of the run.
        use_averages: whether the averages of the weights are exported, if the checkpoint has them.

    Raises:
        CheckpointError: the checkpoint cannot be read.
    """
    snapshot = snapshot_header(prefix)
    network = {
        "architecture": dataclasses.asdict(record.architecture),
        "image_mean": list(record.image_mean),
        "color_switch": record.color_switch,
        "upsample_input": record.upsample_input,
        "use_ema": use_averages,
    }
    decisive = json.dumps([snapshot[CHECKSUM], network, describe_classes(record)], sort_keys=True)
    return {
        **run_header(prefix, record.origin),
        **snapshot,
        "dataset": record.database,
        **network,
        MODEL_CHECKSUM: hashlib.sha256(decisive.encode()).hexdigest(),
        "flags": dict(record.flags),
    }


def metadata_of_files(classes: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what labels.json and the metadata of each file contain: classes and origin."""
    return {**classes, **{name: model[name] for name in _IN_FILES}}
