"""A run as train.py leaves it, without weights, written file by file."""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.flags.train import TrainConfig

NAMES = ("sky", "road", "car")
PALETTE = ((128, 128, 128), (128, 64, 128), (64, 0, 128))
HEADER = "step,loss,auxiliary_loss,weight_decay,learning_rate,mean_iou,images_per_second"


def record_of(**flags: Any) -> dict[str, Any]:
    """The values of config.json, as far as the report reads them without weights."""
    recorded = json.loads(json.dumps(dataclasses.asdict(TrainConfig(database="CamVid", **flags))))
    return {
        "version": 2,
        "architecture": {"network": "resnet_v1_18", "decoder": "ppm", "output_stride": 8},
        "class_names": list(NAMES),
        "palette": [list(color) for color in PALETTE],
        "flags": recorded,
        "origin": {"run_uuid": f"uuid of {flags}"},
    }


def scores_file(step: int, mean_iou: float, ious: Sequence[float | None], **header: Any) -> dict[str, Any]:
    """The values of scores-<step>.json."""
    classes = [{"name": name, "iou": iou, "accuracy": iou} for name, iou in zip(NAMES, ious, strict=True)]
    return {"run": {"step": step, **header}, "mean_iou": mean_iou, "pixel_accuracy": 0.75, "classes": classes}


def write_run(
    log: Path,
    name: str,
    rows: Sequence[str] = ("20,1.5,2,0.5,0.01,0.25,3", "40,0.75,1,0.5,0.005,0.5,3"),
    scores: Mapping[int, float] | None = None,
    **flags: Any,
) -> Path:
    """Writes a run; returns its folder."""
    folder = log / "CamVid" / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(record_of(run_name=name, **flags)))
    (folder / "training.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    for step, score in (scores or {}).items():
        content = scores_file(step, score, [score, 2 * score / 3, None])
        (folder / f"scores-{step}.json").write_text(json.dumps(content))
    return folder


def event_bytes(*events: Any) -> bytes:
    """Events as a TFRecord file; the checksums are not those of the records, as the report does not read them."""
    records = [event.SerializeToString() for event in events]
    return b"".join(struct.pack("<QI", len(record), 0) + record + bytes(4) for record in records)
