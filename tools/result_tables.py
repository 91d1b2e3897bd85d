"""Runs and scores as text, Markdown and CSV, and their mean over runs that differ in the seed alone."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tools.result_runs import Run, Score
from tools.tables import markdown_row, percent

# Flags that say how a run was watched over, not what it is.
NO_PROPERTY = frozenset(
    {
        "log_dir", "run_name", "data_dir", "resume_step", "eval_only", "check_data", "show_period", "snapshot", "keep",
        "val_every", "log_memory", "save_first_iteration", "save_memory", "checkpoint_units", "test_max_iter",
        "data_format", "max_pixels", "auto_resume", "snapshot_minutes", "max_bad_files", "on_nan", "deterministic",
        "allow_missing_classes", "device",
    }
)  # fmt: skip
# What a record keeps beside the flags: checksums, which say less to a reader than the flags do, but tell runs apart.
_CHECKSUMS = (
    "pretrained_sha256", "training_samples_sha256", "training_sizes_sha256", "training_contents_sha256",
    "class_weight_values",
)  # fmt: skip
_NOT_SHOWN = NO_PROPERTY | {*_CHECKSUMS, "pretrained_prefix", "run_uuid", "run_folder_name"}
_SEED = "seed"

_COLUMNS = ("run", "scored", "step", "best", "mIoU %", "deviation", "pixel accuracy %")


@dataclass(frozen=True)
class SeedMean:
    """Scores of runs that differ in the seed alone.

    Attributes:
        names: of the runs.
        seeds: of the runs, in their order.
        of: what was scored how; the best of each run where it begins with `best`.
        mean: of the mean IoUs, a fraction.
        deviation: their standard deviation, with n - 1.
    """

    names: tuple[str, ...]
    seeds: tuple[Any, ...]
    of: str
    mean: float
    deviation: float


def differing_flags(runs: Sequence[Run]) -> list[str]:
    """Names of the flags that are properties of a run and not equal in all, by name."""
    names = sorted({name for run in runs for name in run.flags} - _NOT_SHOWN)
    return [name for name in names if any(run.flags.get(name) != runs[0].flags.get(name) for run in runs)]


def seed_means(runs: Sequence[Run]) -> list[SeedMean]:
    """Averages over runs that are equal in every property but the seed, for each way of scoring that two of them share.

    The snapshots are those of the same step, and, if they were kept, the best of each run.
    """
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        groups[_without_seed(run.flags)].append(run)
    means = []
    for group in groups.values():
        scores: dict[str, dict[str, tuple[Any, float]]] = defaultdict(dict)
        for run in group:
            for score in run.scores:
                for title in (score.of, *([f"best, {score.kind}"] if score.is_best else [])):
                    if score.mean_iou is not None:
                        scores[title][run.name] = run.flags.get(_SEED), score.mean_iou
        for title, by_run in sorted(scores.items()):
            if len({seed for seed, _ in by_run.values()}) > 1:
                means.append(_mean(title, by_run))
    return means


def _without_seed(flags: Mapping[str, Any]) -> str:
    told = {name: value for name, value in flags.items() if name not in (_NOT_SHOWN - {*_CHECKSUMS}) | {_SEED}}
    return json.dumps(told, sort_keys=True, default=str)


def _mean(title: str, by_run: Mapping[str, tuple[Any, float]]) -> SeedMean:
    values = [value for _, value in by_run.values()]
    seeds = tuple(seed for seed, _ in by_run.values())
    return SeedMean(tuple(by_run), seeds, title, statistics.fmean(values), statistics.stdev(values))


def text_of(runs: Sequence[Run]) -> str:
    """Lines: for each run its name, the flags that tell it from others, its scores; then the means over seeds."""
    names = differing_flags(runs)
    lines = []
    for run in runs:
        lines.append(run.name)
        if names:
            lines.append("    " + "  ".join(f"{name} {_shown(run.flags.get(name))}" for name in names))
        width = max((len(score.of) for score in run.scores), default=0)
        for score in run.scores:
            iou, accuracy = percent(score.mean_iou), percent(score.pixel_accuracy)
            best = "  best" if score.is_best else ""
            lines.append(f"    {score.of:<{width}}  mIoU {iou:>6}  pixel accuracy {accuracy:>6}{best}")
        if not run.scores:
            lines.append("    no scores")
    means = seed_means(runs)
    if means:
        lines += ["", "mean and standard deviation over runs that differ in the seed alone:"]
    for mean in means:
        lines.append(f"    {_group_name(mean)}: {mean.of}  mIoU {percent(mean.mean)} +- {percent(mean.deviation)}")
    return "\n".join(lines)


def markdown_of(runs: Sequence[Run]) -> str:
    """A Markdown table with a row per score, and one per mean over seeds."""
    header, rows = _rows(runs)
    lines = [markdown_row(header), "|" + " --- |" * len(header), *map(markdown_row, rows)]
    return "\n".join(lines)


def csv_of(runs: Sequence[Run]) -> str:
    """The same as comma-separated values."""
    header, rows = _rows(runs)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return file.getvalue().rstrip("\n")


FORMATS: dict[str, Callable[[Sequence[Run]], str]] = {"text": text_of, "markdown": markdown_of, "csv": csv_of}


def _rows(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a table; flags in which runs differ have a column each."""
    names = differing_flags(runs)
    rows = []
    for run in runs:
        flags = [_shown(run.flags.get(name)) for name in names]
        for score in run.scores or [Score("no scores", None, None, None)]:
            step = "" if score.step is None else str(score.step)
            cells = [run.name, score.of, step, "best" if score.is_best else "", percent(score.mean_iou), ""]
            rows.append([*cells, percent(score.pixel_accuracy), *flags])
    for mean in seed_means(runs):
        cells = [_group_name(mean), mean.of, "", "", percent(mean.mean), percent(mean.deviation), ""]
        rows.append([*cells, *([""] * len(names))])
    return [*_COLUMNS, *names], rows


def _group_name(mean: SeedMean) -> str:
    return f"mean of {', '.join(mean.names)} (seeds {', '.join(map(str, mean.seeds))})"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return ",".join(map(str, value)) if isinstance(value, list) else "-" if value is None else str(value)
