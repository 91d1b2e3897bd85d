"""Formats runs and scores as text, Markdown and CSV, with means over runs that differ only in the seed."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tools.flags.choices import EARLIER_RUN
from tools.flags.dataset import FileFlags
from tools.flags.definition import flags_where
from tools.flags.train import TrainConfig
from tools.flags.values import shown_value
from tools.prediction.tables import markdown_row, percent
from tools.results.runs import Run, Score
from tools.runs.run_origin import CONTENTS_OF_FLAGS
from tools.runs.run_origin import NAMES as ORIGIN_NAMES
from tools.runtime.printable import printable

# Entries of a run's origin that distinguish runs. They are not shown, because the flags are easier to read.
_CHECKSUMS = frozenset(itertools.chain.from_iterable(CONTENTS_OF_FLAGS.values()))
_NOT_SHOWN = frozenset({*flags_where(TrainConfig, shown=False), *ORIGIN_NAMES})
_SEED = "seed"

# Flags that explain different contents of the file or folder that a flag names. If these flags are equal and the
# contents are not, the table shows a checksum of the contents.
_EXPLAINED_BY = {
    "class_weights": ("class_weights", "database", "num_classes"),
    "data_dir": ("database", "data_format", "subsets_for_training", "train_list", "holdout"),
    "fine_tune_filename": ("fine_tune_filename", "network"),
    "label_map": ("label_map", "database", "num_classes", "ignore_label", "reduce_zero_label"),
    "palette": ("palette", "database", "num_classes"),
}

# The folder and the list of the training images, whose contents have one set of checksums.
_TRAINING_FILES = flags_where(FileFlags, is_path=True, resume="content")
# The lists of images to score. Scores have a checksum of these images, except those of earlier versions.
_LISTS_OF_SCORES = flags_where(FileFlags, is_path=True, resume="free")

# Names of runs up to this length are not shortened in tables.
_LONGEST_NAME = 32
_DIGEST = re.compile(rf"-([0-9a-f]{{8}}({re.escape(EARLIER_RUN)}\d+)?)$")

_COLUMNS = ("scored", "step", "best", "mIoU %", "deviation", "pixel accuracy %")


@dataclass(frozen=True)
class SeedMean:
    """Mean score of runs that differ only in the seed.

    Attributes:
        names: of the runs.
        seeds: of the runs, in their order.
        of: what was scored and how; the best snapshot of each run if it begins with `best`.
        mean: of the mean IoUs, fraction 0..1.
        deviation: their sample standard deviation (n - 1).
    """

    names: tuple[str, ...]
    seeds: tuple[Any, ...]
    of: str
    mean: float
    deviation: float


def differing_flags(runs: Sequence[Run]) -> list[str]:
    """Lists, sorted, the flags that change results and differ between runs, or name files with different contents."""
    names = {name for run in runs for name in run.flags} - _NOT_SHOWN
    values = {name: _values(runs, name) for name in names}
    differing = {name for name in names if any(value != values[name][0] for value in values[name])}
    return sorted(differing | _hidden_differences(runs))


def _values(runs: Sequence[Run], name: str) -> list[Any]:
    """Returns a flag's value in each run. Where it was not given, it is what was built, if all records have that."""
    are_built = all(name in run.architecture for run in runs)
    return [
        run.architecture[name] if are_built and run.flags.get(name) is None else run.flags.get(name) for run in runs
    ]


def _hidden_differences(runs: Sequence[Run]) -> set[str]:
    """Returns the flags that name files or folders with different contents in runs whose flags are equal."""
    hidden = set()
    for name, explained_by in _EXPLAINED_BY.items():
        contents = defaultdict(set)
        for run in runs:
            if name in run.contents:
                contents[_as_key([run.flags.get(flag) for flag in explained_by])].add(run.contents[name])
        if any(len(found) > 1 for found in contents.values()):
            hidden.add(name)
    return hidden


def differing_values(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """Returns the flags in which runs differ and their values per run, with checksums if equal names hide them."""
    names, hidden = differing_flags(runs), _hidden_differences(runs)

    def shown(run: Run, name: str, value: Any) -> str:
        content = run.contents.get(name)
        if name not in hidden or (value is None and content is None):
            return _shown(value)
        return f"{_shown(value)} ({content or 'unknown'})"

    values = {name: _values(runs, name) for name in names}
    return names, [[shown(run, name, values[name][row]) for name in names] for row, run in enumerate(runs)]


def differing_settings(runs: Sequence[Run]) -> list[str]:
    """Lists the settings, and `data`, that are known to differ between scores of one kind."""
    known = defaultdict(set)
    for run in runs:
        for score in run.scores:
            for name, value in score.scored_with.items():
                known[score.kind, name].add(_as_key(value))
    return sorted({name for (_, name), values in known.items() if len(values) > 1})


def short_names(runs: Sequence[Run]) -> dict[str, str]:
    """Returns a name for tables by the name of each run: a short name itself, otherwise the checksum at its end.

    If two runs would have the same, or a long name does not end with a checksum, it is a number: `#2`.
    """
    wanted = {}
    for run in runs:
        digest = _DIGEST.search(run.name)
        wanted[run.name] = run.name if len(run.name) <= _LONGEST_NAME else digest[1] if digest else ""
    counts = Counter(wanted.values())
    return {
        name: short if short and counts[short] == 1 else f"#{number}"
        for number, (name, short) in enumerate(wanted.items(), start=1)
    }


def seed_means(runs: Sequence[Run]) -> list[SeedMean]:
    """Averages scores over runs that differ only in the seed, for each way of scoring that at least two of them share.

    Snapshots of the same step are averaged and, if they were kept, the best of each run. Scores with different images
    or settings are never averaged.
    """
    means = []
    for group in runs_by_seed(runs):
        scores: dict[tuple[str, str], dict[str, tuple[Any, float]]] = defaultdict(dict)
        for run in group:
            for score in run.scores:
                for title in (score.of, *([f"best, {score.kind}"] if score.is_best else [])):
                    if score.mean_iou is not None:
                        way = title, _way_of_scoring(run, score)
                        scores[way][run.name] = run.flags.get(_SEED), score.mean_iou
        for (title, _), by_run in sorted(scores.items()):
            if len({_as_key(seed) for seed, _ in by_run.values()}) > 1:
                means.append(_mean(title, by_run))
    return means


def runs_by_seed(runs: Sequence[Run]) -> list[list[Run]]:
    """Groups runs that differ only in the seed, in the order of the first of each group."""
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        groups[_without_seed(run)].append(run)
    return list(groups.values())


def way_of_scoring(run: Run, score: Score) -> str:
    """Returns a key of what was scored, the images and the settings: scores with equal keys are comparable."""
    return _as_key([score.kind, _way_of_scoring(run, score)])


def _as_key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _way_of_scoring(run: Run, score: Score) -> str:
    """Returns a key of settings and data; data counts by its checksum if it is known."""
    lists = [] if "data" in score.scored_with else [run.flags.get(name) for name in _LISTS_OF_SCORES]
    return _as_key([score.scored_with, lists])


def _setting(score: Score, name: str) -> str:
    """Formats a setting for tables; data by its name and checksum."""
    value = _shown(score.scored_with.get(name))
    return f"{score.data_name} ({value})" if name == "data" and score.data_name else value


def _without_seed(run: Run) -> str:
    """Returns a key of all properties of a run but the seed; files count by their contents."""
    files = {*run.contents, *(_TRAINING_FILES if run.contents.keys() & {*_TRAINING_FILES} else ())}
    left_out = (_NOT_SHOWN - _CHECKSUMS) | {_SEED, *_LISTS_OF_SCORES} | files
    flags = {name: value for name, value in run.flags.items() if name not in left_out}
    return _as_key([flags, run.contents])


def _mean(title: str, by_run: Mapping[str, tuple[Any, float]]) -> SeedMean:
    values = [value for _, value in by_run.values()]
    seeds = tuple(seed for seed, _ in by_run.values())
    return SeedMean(tuple(by_run), seeds, title, statistics.fmean(values), statistics.stdev(values))


def text_of(runs: Sequence[Run]) -> str:
    """Formats as text: name, differing flags and scores of each run, then the means over seeds."""
    names, properties = differing_values(runs)
    settings, short = differing_settings(runs), short_names(runs)
    lines = []
    for run, values in zip(runs, properties, strict=True):
        lines.append(run.name if short[run.name] == run.name else f"{short[run.name]}: {run.name}")
        if names:
            lines.append("    " + "  ".join(map(" ".join, zip(names, values, strict=True))))
        width = max((len(score.of) for score in run.scores), default=0)
        for score in run.scores:
            iou, accuracy = percent(score.mean_iou), percent(score.pixel_accuracy)
            more = [f"{name} {_setting(score, name)}" for name in settings]
            cells = [f"{score.of:<{width}}", f"mIoU % {iou:>6}", f"pixel accuracy % {accuracy:>6}", *more]
            lines.append("    " + "  ".join([*cells, "best"] if score.is_best else cells))
        if not run.scores:
            lines.append("    no scores")
    means = seed_means(runs)
    if means:
        lines += ["", "mean and standard deviation over runs that differ only in the seed:"]
    for mean in means:
        figures = f"{percent(mean.mean)} +- {percent(mean.deviation)}"
        lines.append(f"    {_group_name(mean, short)}: {mean.of}  mIoU % {figures}")
    return "\n".join(map(printable, lines))


def markdown_of(runs: Sequence[Run]) -> str:
    """Formats as a Markdown table: a row per score and per mean over seeds, then the full names of the runs."""
    header, rows = _rows(runs)
    short = short_names(runs)
    rows = [[short.get(run, run), *cells] for run, _, *cells in rows]
    header = [header[0], *header[2:]]
    lines = [markdown_row(header), "|" + " --- |" * len(header), *map(markdown_row, rows)]
    names = [printable(f"- {shown}: `{name}`") for name, shown in short.items() if shown != name]
    return "\n".join([*lines, "", *names] if names else lines)


def csv_of(runs: Sequence[Run]) -> str:
    """Formats as comma-separated values, with full and short names of the runs."""
    header, rows = _rows(runs)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return file.getvalue().rstrip("\n")


FORMATS: dict[str, Callable[[Sequence[Run]], str]] = {"text": text_of, "markdown": markdown_of, "csv": csv_of}


def _rows(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows of a table; the first columns are full and short name of the run.

    Each flag in which runs differ, and each setting in which scores of one kind differ, has a column.
    """
    names, properties = differing_values(runs)
    settings, short = differing_settings(runs), short_names(runs)
    rows = []
    for run, values in zip(runs, properties, strict=True):
        for score in run.scores or [Score("no scores", None, None, None)]:
            step = "" if score.step is None else str(score.step)
            cells = [score.of, step, "best" if score.is_best else "", percent(score.mean_iou), ""]
            more = [_setting(score, name) for name in settings]
            rows.append([run.name, short[run.name], *cells, percent(score.pixel_accuracy), *more, *values])
    for mean in seed_means(runs):
        cells = [mean.of, "", "", percent(mean.mean), percent(mean.deviation), ""]
        rows.append([_group_name(mean, short), "", *cells, *([""] * len([*settings, *names]))])
    return ["run", "short name", *_COLUMNS, *(f"scored with {name}" for name in settings), *names], rows


def _group_name(mean: SeedMean, short: Mapping[str, str]) -> str:
    return f"mean of {', '.join(short[name] for name in mean.names)} (seeds {', '.join(map(str, mean.seeds))})"


def _shown(value: Any) -> str:
    return "-" if value is None else shown_value(value)
