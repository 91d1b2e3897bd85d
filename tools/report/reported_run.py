"""Collects what the folder of a run says about it, without TensorFlow and without failing on what is missing."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from database.json_files import read_json
from database.palettes import default_classes
from tools.errors import FlagError
from tools.flags.train import TrainConfig
from tools.flags.values import shown_value
from tools.prediction.tables import is_fraction_or_none
from tools.report.curves import Curves, read_curves
from tools.results.runs import Run, Score, read_runs
from tools.results.tables import short_names
from tools.runs.commands import read_commands
from tools.runs.lock import is_training
from tools.runs.run_origin import RUN_UUID

_RECORD = "config.json"  # as `record.CONFIG_NAME`, whose module imports TensorFlow; a test compares them
_SIGNS_OF_A_RUN = (_RECORD, "training.csv", "snapshot", "best")
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(TrainConfig)}


@dataclass(frozen=True)
class ClassScores:
    """Scores of one file, with those of the classes.

    Attributes:
        score: of the whole set.
        iou: (name, IoU as a fraction or None) of each class.
    """

    score: Score
    iou: Sequence[tuple[str, float | None]]


@dataclass(frozen=True)
class ReportedRun:
    """A run and what its folder says about it.

    Attributes:
        path: absolute path of its folder.
        run: name, flags and scores, see `tools.results`.
        label: a short name, unique among the runs of the report; see `tables.short_names`.
        record: the values in config.json; empty if it is missing or damaged.
        curves: of its training.
        commands: that started it, the first one first; empty for runs of earlier versions.
        is_training: whether a process trains it now.
    """

    path: str
    run: Run
    label: str
    record: Mapping[str, Any]
    curves: Curves
    is_training: bool
    commands: Sequence[str] = ()

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def flags(self) -> Mapping[str, Any]:
        return self.run.flags

    @property
    def uuid(self) -> str | None:
        return self.flags.get(RUN_UUID)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Returns the names of the classes; those of its scores if the record has none."""
        names = self.record.get("class_names")
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return tuple(names)
        return next((tuple(name for name, _ in scores.iou) for scores in self.class_scores()), ())

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """Returns a colour per class."""
        colors = self.record.get("palette")
        if isinstance(colors, list) and len(colors) == len(self.class_names) and all(map(_is_color, colors)):
            return tuple(tuple(color) for color in colors)
        return tuple(default_classes(len(self.class_names))[1])

    def class_scores(self) -> list[ClassScores]:
        """Returns the scores with their classes: the best of its validation first, then by step, the last first."""
        found = [ClassScores(score, _iou_in(score.path)) for score in self.run.scores]

        def order(scores: ClassScores) -> tuple[bool, bool, int]:
            score = scores.score
            return os.path.dirname(score.path) != self.path, not score.is_best, -(score.step or 0)

        return sorted((scores for scores in found if scores.iou), key=order)


def read_reported_runs(
    paths: Sequence[str], predictions_dir: str, earlier: Sequence[ReportedRun] = ()
) -> list[ReportedRun]:
    """Reads runs.

    Args:
        paths: of their folders, or of a folder in them such as `snapshot`.
        predictions_dir: folder with scores of predict.py, at any depth.
        earlier: the same runs as an earlier call returned them; their curves, which take longest, are not read again.

    Raises:
        FlagError: a path is not the folder of a run, or is given twice.
    """
    folders = [_folder_of(path) for path in paths]
    for index, folder in enumerate(folders):
        if folder in folders[:index]:
            raise FlagError(f"{paths[index]} is given twice: give each run once")
    known = read_runs(folders, predictions_dir)
    names = [known[folder].name if folder in known else _short_name(folder) for folder in folders]
    runs = [
        dataclasses.replace(known.get(folder) or Run(name, {}, []), name=name if names.count(name) == 1 else folder)
        for folder, name in zip(folders, names, strict=True)
    ]
    labels = short_names(runs)
    curves = {run.path: run.curves for run in earlier}
    return [
        ReportedRun(
            folder,
            run,
            labels[run.name],
            _record_in(folder),
            curves.get(folder) or read_curves(folder, run.scores),
            is_training(folder),
            read_commands(folder),
        )
        for folder, run in zip(folders, runs, strict=True)
    ]


def unknown_flags(flags: Mapping[str, Any]) -> list[str]:
    """Returns the flags in a record that train.py no longer has, so that a command cannot have them."""
    return sorted(name for name in flags if name not in _DEFAULTS)


def training_command(flags: Mapping[str, Any]) -> str:
    """Returns a command line that trains with recorded flags, without those at their defaults and unknown ones."""
    words = ["python", "train.py"]
    for name, value in flags.items():
        if name not in _DEFAULTS or value is None or _plain(value) == _plain(_DEFAULTS[name]):
            continue
        words += [f"--{name}", shown_value(value)]
    return shlex.join(words)


def _folder_of(path: str) -> str:
    """Returns the absolute path of the run's folder that a path means.

    Raises:
        FlagError: it means none.
    """
    folder = os.path.abspath(path)
    if os.path.basename(folder) in ("snapshot", "best") and os.path.exists(os.path.join(folder, os.pardir, _RECORD)):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise FlagError(f"{path} is not a folder: give the folder of a run, such as log/Toy/first")
    if not any(os.path.exists(os.path.join(folder, name)) for name in _SIGNS_OF_A_RUN):
        raise FlagError(
            f"{path} is not the folder of a run, as it has no {_RECORD}: give <log_dir>/<database>/<run>; "
            "python -m tools.results lists the runs"
        )
    return folder


def _short_name(folder: str) -> str:
    return os.path.join(os.path.basename(os.path.dirname(folder)), os.path.basename(folder))


def _record_in(folder: str) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        values = read_json(os.path.join(folder, _RECORD))
        if isinstance(values, dict):
            return values
    return {}


def _iou_in(path: str) -> list[tuple[str, float | None]]:
    """Reads the IoU of each class from a file of scores; empty if it has none."""
    with suppress(OSError, ValueError):
        classes = read_json(path).get("classes")
        rows = [(entry["name"], entry["iou"]) for entry in classes or ()] if _are_objects(classes) else []
        if all(isinstance(name, str) and is_fraction_or_none(iou) for name, iou in rows):
            return rows
    return []


def _are_objects(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, dict) and {"name", "iou"} <= set(value) for value in values
    )


def _is_color(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(part) is int and 0 <= part <= 255 for part in value)


def _plain(value: Any) -> Any:
    """Returns a value as JSON has it, so that a default can be compared with a recorded flag."""
    return list(value) if isinstance(value, tuple) else value
