"""Compares runs: the flags in which they differ, and differences of scores with their noise over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tools.results.runs import Run, Score
from tools.results.tables import differing_values, runs_by_seed, way_of_scoring

_SEED = "seed"
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Sample:
    """Scores of runs that differ only in the seed.

    Attributes:
        names: of the runs.
        seeds: of the runs.
        scores: mean IoU of each, fraction 0..1.
    """

    names: tuple[str, ...]
    seeds: tuple[str, ...]
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.scores)

    @property
    def deviation(self) -> float | None:
        """Returns the sample standard deviation (n - 1), None if all runs have the same seed."""
        return statistics.stdev(self.scores) if len({*self.seeds}) > 1 else None


@dataclass(frozen=True)
class Difference:
    """Difference of a group of runs from the first one.

    Attributes:
        sample: of the group.
        difference: of the means, fraction; None for the first group.
        interval: half of the 95 % confidence interval of the difference; None if the noise is unknown.
    """

    sample: Sample
    difference: float | None = None
    interval: float | None = None

    @property
    def verdict(self) -> str:
        """Says whether the difference is larger than the noise."""
        if self.difference is None:
            return "reference"
        if self.interval is None:
            return "noise unknown"
        return "larger than the noise" if abs(self.difference) > self.interval else "within the noise"


@dataclass(frozen=True)
class Comparison:
    """Groups of runs that were scored in the same way.

    Attributes:
        of: what was scored and how.
        rows: one per group, in the order of the runs.
        borrowed: whether the noise is that of the only group with several seeds.
    """

    of: str
    rows: Sequence[Difference]
    borrowed: bool


def flag_rows(runs: Sequence[Run]) -> list[list[str]]:
    """Returns a row per flag in which runs differ: its name, and its value in each run."""
    names, values = differing_values(runs)
    return [[name, *(row[index] for row in values)] for index, name in enumerate(names)]


def compare(runs: Sequence[Run]) -> list[Comparison]:
    """Compares runs by each way of scoring that at least two of them have; of each run, its best or last snapshot.

    A way with the same scores as another one is left out. Runs that differ only in the seed form a group. Groups are
    compared with the first one by Welch's interval for the difference of two means (Welch, "The generalization of
    'Student's' problem", Biometrika 1947). If only one group has several seeds, the others are assumed to vary as it
    does.
    """
    groups = runs_by_seed(runs)
    ways: dict[str, list[tuple[Run, Score]]] = {}
    for run in runs:
        latest: dict[str, Score] = {}
        for score in run.scores:
            key = way_of_scoring(run, score)
            known = latest.get(key)
            if score.mean_iou is not None and (known is None or _rank(score) >= _rank(known)):
                latest[key] = score
        for key, score in latest.items():
            ways.setdefault(key, []).append((run, score))
    found: list[Comparison] = []
    for scored in ways.values():
        by_name = {run.name: score for run, score in scored}
        samples = [_sample([run for run in group if run.name in by_name], by_name) for group in groups]
        samples = [sample for sample in samples if sample.names]
        if len(scored) > 1 and samples not in [[row.sample for row in earlier.rows] for earlier in found]:
            found.append(_compared(scored[0][1].kind, samples))
    return found


def _rank(score: Score) -> tuple[bool, int]:
    return score.is_best, score.step or 0


def _sample(runs: Sequence[Run], score_of: dict[str, Score]) -> Sample:
    scores = [score_of[run.name].mean_iou for run in runs]
    return Sample(
        tuple(run.name for run in runs),
        tuple(str(run.flags.get(_SEED, "unknown")) for run in runs),
        tuple(score for score in scores if score is not None),
    )


def _compared(of: str, samples: Sequence[Sample]) -> Comparison:
    known = [sample for sample in samples if sample.deviation is not None]
    lent = known[0] if len(known) == 1 else None
    first, *others = samples
    rows = [Difference(first)]
    for sample in others:
        rows.append(Difference(sample, sample.mean - first.mean, _interval(first, sample, lent)))
    borrowed = lent is not None and any(row.interval is not None for row in rows)
    return Comparison(of, rows, borrowed)


def _interval(first: Sample, second: Sample, lent: Sample | None) -> float | None:
    """Returns half of the confidence interval of the difference of two means; None if a deviation is unknown."""
    from scipy.stats import t

    if lent is not None:
        assert lent.deviation is not None
        freedom = float(len(lent.scores) - 1)
        error = lent.deviation * math.sqrt(1 / len(first.scores) + 1 / len(second.scores))
    elif first.deviation is None or second.deviation is None:
        return None
    else:
        parts = [sample.deviation**2 / len(sample.scores) for sample in (first, second)]  # type: ignore[operator]
        error = math.sqrt(sum(parts))
        if error == 0:
            return 0.0
        spread = [part**2 / (len(sample.scores) - 1) for part, sample in zip(parts, (first, second), strict=True)]
        freedom = sum(parts) ** 2 / sum(spread)
    return float(t.ppf((1 + _CONFIDENCE) / 2, freedom)) * error
