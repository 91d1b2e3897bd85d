"""Lists the runs below a log folder: the flags in which they differ, and their scores.

python -m tools.results --log_dir ./log --json results.json
"""

from __future__ import annotations

import dataclasses
import glob
import json
import logging
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from database.atomic import written_atomically
from database.json_files import read_json
from tools.console import run_script, set_up_logging
from tools.flag_parsing import FlagError, file_path, flag, parse_flags
from tools.tables import percent

logger = logging.getLogger(__name__)

_CONFIG_NAME = "config.json"
_EARLIER = re.compile(r"\.earlier-\d+$")

# Flags that say how a run was watched over, not what it is; and what a run's record keeps among the flags.
_NO_PROPERTY = frozenset(
    {
        "log_dir", "data_dir", "resume_step", "eval_only", "check_data", "show_period", "snapshot", "keep", "val_every",
        "log_memory", "save_first_iteration", "save_memory", "checkpoint_units", "test_max_iter", "pretrained_prefix",
        "pretrained_sha256", "training_samples_sha256", "class_weight_values", "data_format", "max_pixels",
        "auto_resume", "snapshot_minutes", "max_bad_files", "on_nan", "deterministic",
        "device",
    }
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ResultsConfig:
    """Flags of the list of results."""

    log_dir: str = flag("./log", "folder of all runs", file_path)
    predictions_dir: str = flag("./val_set", "folder where predict.py left its scores", file_path)
    earlier: bool = flag(False, "also runs that were set aside for another of the same flags")
    json: str | None = flag(None, "file for the list as JSON", file_path)


@dataclass(frozen=True)
class Score:
    """One file of scores.

    Attributes:
        of: where it is from, e.g. `scores-600` or `step600-ms1`.
        step: of the snapshot.
        mean_iou, pixel_accuracy: fractions 0..1, None where nothing was valid.
    """

    of: str
    step: int | None
    mean_iou: float | None
    pixel_accuracy: float | None


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        name: its path below the log folder.
        flags: what it was started with.
        scores: by step.
    """

    name: str
    flags: dict[str, Any]
    scores: list[Score]


def find_runs(log_dir: str, predictions_dir: str, *, earlier: bool = False) -> list[Run]:
    """The runs below a folder, by name.

    Args:
        log_dir: folder of all runs.
        predictions_dir: folder where predict.py left its scores.
        earlier: whether to list runs that were set aside, too.

    Raises:
        FlagError: there is no such folder.
    """
    if not os.path.isdir(log_dir):
        raise FlagError(f"--log_dir {log_dir} is no folder: give the folder of the runs")
    runs = []
    folders = map(os.path.dirname, glob.glob(os.path.join(glob.escape(log_dir), "*", "*", _CONFIG_NAME)))
    for folder in sorted(folders):
        if earlier or not _EARLIER.search(folder):
            record = _read_object(os.path.join(folder, _CONFIG_NAME))
            if record is not None and isinstance(record.get("flags"), dict):
                name = os.path.relpath(folder, log_dir)
                runs.append(Run(name, record["flags"], _scores(folder, os.path.join(predictions_dir, name))))
    return runs


def _scores(folder: str, predictions: str) -> list[Score]:
    """The scores of validation in a run's folder, and those of predict.py, by step."""
    paths = glob.glob(os.path.join(glob.escape(folder), "scores-*.json"))
    paths += glob.glob(os.path.join(glob.escape(predictions), "*", "scores.json"))
    scores = []
    for path in sorted(paths):
        values = _read_object(path)
        if values is not None:
            stem = os.path.splitext(os.path.basename(path))[0]
            of = os.path.basename(os.path.dirname(path)) if stem == "scores" else stem
            run = values.get("run")
            step = run.get("step") if isinstance(run, dict) else None
            scores.append(Score(of, step, values.get("mean_iou"), values.get("pixel_accuracy")))
    return sorted(scores, key=lambda score: (score.step or 0, score.of))


def _read_object(path: str) -> dict[str, Any] | None:
    """The JSON object in a file; None, and a warning, where there is none."""
    try:
        values = read_json(path)
    except (OSError, ValueError) as error:
        logger.warning("%s is left out: %s", path, " ".join(str(error).split()))
        return None
    return values if isinstance(values, dict) else None


def differing_flags(runs: Sequence[Run]) -> list[str]:
    """Names of the flags that are properties of a run and not equal in all, by name."""
    names = sorted({name for run in runs for name in run.flags} - _NO_PROPERTY)
    return [name for name in names if any(run.flags.get(name) != runs[0].flags.get(name) for run in runs)]


def text_of(runs: Sequence[Run]) -> str:
    """The list as lines: for each run its name, the flags that tell it from others, its scores."""
    names = differing_flags(runs)
    lines = []
    for run in runs:
        lines.append(run.name)
        if names:
            lines.append("    " + "  ".join(f"{name} {_shown(run.flags.get(name))}" for name in names))
        width = max((len(score.of) for score in run.scores), default=0)
        for score in run.scores:
            iou, accuracy = percent(score.mean_iou), percent(score.pixel_accuracy)
            lines.append(f"    {score.of:<{width}}  mIoU {iou:>6}  pixel accuracy {accuracy:>6}")
        if not run.scores:
            lines.append("    no scores")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return ",".join(map(str, value)) if isinstance(value, list) else "-" if value is None else str(value)


def _write_json(runs: Sequence[Run], path: str) -> None:
    try:
        with written_atomically(path) as partial_path, open(partial_path, "w", encoding="utf-8") as file:
            json.dump([dataclasses.asdict(run) for run in runs], file, indent=2)
    except OSError as error:
        raise FlagError(f"--json {path} cannot be written ({error.strerror}): give another file") from error


def main(arguments: Sequence[str]) -> None:
    """Parses flags and prints the list."""
    config = parse_flags(ResultsConfig, arguments, "List runs and their scores.")
    runs = find_runs(config.log_dir, config.predictions_dir, earlier=config.earlier)
    print(text_of(runs) if runs else f"no run below {config.log_dir}")
    if config.json is not None:
        _write_json(runs, config.json)


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))
