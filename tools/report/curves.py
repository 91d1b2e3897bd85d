"""Reads the curves of a run: training.csv, or its TensorBoard events, and the scores of its snapshots."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from database.regular_files import read_regular_file
from tools.report.event_files import read_scalars
from tools.results.runs import Score

_CSV = "training.csv"  # as `RunFolder.csv`
_VALIDATION = "validation/mean_iou"
_VALIDATION_LOSS = "validation/loss"
_TRAIN = "train/"
_MOST_STEP = 1 << 62
_MOST_ROWS = 10_000


@dataclass(frozen=True)
class Curves:
    """The curves of a run.

    Attributes:
        columns: values by the names in training.csv; NaN where a value is missing.
        steps: of these values.
        validation: mean IoU of snapshots on the validation split by step, fractions 0..1.
        validation_loss: loss of snapshots on the validation split by step.
        source: file name of the values; None if there are none.
    """

    columns: Mapping[str, Sequence[float]] = field(default_factory=dict)
    steps: Sequence[int] = ()
    validation: Mapping[int, float] = field(default_factory=dict)
    validation_loss: Mapping[int, float] = field(default_factory=dict)
    source: str | None = None

    @property
    def last_step(self) -> int | None:
        """Returns the last step with values."""
        return self.steps[-1] if self.steps else None


def read_curves(folder: str, scores: Sequence[Score]) -> Curves:
    """Reads the curves of a run.

    Args:
        folder: of the run.
        scores: of the run; those of its own validation are part of the curve, where its events have none.
    """
    own = {
        score.step: score.mean_iou
        for score in scores
        if score.step is not None and score.mean_iou is not None and os.path.dirname(score.path) == folder
    }
    events = read_scalars(folder, ".validation-*")
    validation = _finite(own | events.get(_VALIDATION, {})), _finite(events.get(_VALIDATION_LOSS, {}))
    columns = _columns_of_csv(os.path.join(folder, _CSV))
    if columns["step"]:
        return Curves(columns, [int(step) for step in columns["step"]], *validation, _CSV)
    scalars = read_scalars(folder)
    by_name = {tag.removeprefix(_TRAIN): values for tag, values in scalars.items() if tag.startswith(_TRAIN)}
    steps = sorted({step for values in by_name.values() for step in values})
    found = {name: [values.get(step, math.nan) for step in steps] for name, values in by_name.items()}
    return Curves(found, steps, *validation, "the TensorBoard events" if steps else None)


def _finite(values: Mapping[int, float]) -> dict[int, float]:
    return {step: value for step, value in sorted(values.items()) if math.isfinite(value)}


def _columns_of_csv(path: str) -> dict[str, list[float]]:
    """Reads the complete rows of a CSV file of numbers, by column; a column `step` without values if there are none.

    Of more than 20000 rows, equally spaced ones and the last are read: a chart draws 3000.
    """
    columns: dict[str, list[float]] = {"step": []}
    try:
        content = read_regular_file(path)
    except OSError:
        return columns
    complete = content[: content.rfind(b"\n") + 1]  # the run may be writing the last row
    lines = io.BytesIO(complete)
    names = lines.readline().decode("utf-8", "replace").rstrip("\r\n").split(",")
    if "step" not in names or len(set(names)) < len(names):
        return columns
    columns = {name: [] for name in names}
    last = complete.count(b"\n") - 2  # without the header
    every = max(1, last // _MOST_ROWS)
    for row, line in enumerate(lines):
        if row % every and row != last:
            continue
        numbers = [_number(cell) for cell in line.decode("utf-8", "replace").split(",")]
        step = numbers[names.index("step")] if len(numbers) == len(names) else math.nan
        if step.is_integer() and 0 <= step < _MOST_STEP:
            for name, number in zip(names, numbers, strict=True):
                columns[name].append(number)
    return columns


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
