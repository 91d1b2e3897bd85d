"""Runs with scores and snapshots, written to folders as train.py and predict.py leave them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def write(path, values) -> None:
    """Writes text, or values as JSON, to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(values if isinstance(values, str) else json.dumps(values))


def scores_of(step: int, mean_iou: float | None, **header) -> dict:
    """Returns the contents of a file of scores."""
    return {"run": {"step": step, **header}, "mean_iou": mean_iou, "pixel_accuracy": 0.75, "classes": []}


def write_snapshot(run: Path, step: int, content: str, part: str = "snapshot") -> str:
    """Writes the index of a snapshot; returns its checksum."""
    write(run / part / f"model.ckpt-{step}.index", content)
    return hashlib.sha256(content.encode()).hexdigest()


def run_at(log: Path, name: str, seed: int, uuid: str | None, **flags) -> Path:
    """Writes the record of a run on the generated scenes; returns its folder."""
    values = {"seed": seed, "lrn_rate": 0.1, **flags} | ({"run_uuid": uuid} if uuid else {})
    write(log / "Toy" / name / "config.json", {"flags": values})
    return log / "Toy" / name


def recorded_at(log: Path, name: str, record: dict | None = None, **flags) -> None:
    """Writes the record of a run on own data."""
    values = {"database": "custom", "num_classes": 3, "seed": 0, **flags}
    write(log / "custom" / name / "config.json", {"flags": values, **(record or {})})
