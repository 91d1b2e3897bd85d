"""Comparisons of runs, against SciPy's tests and figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tools.report.comparison import compare, flag_rows
from tools.results.runs import Run, Score


def run(name: str, seed: int, score: float | None, rate: float = 0.1, of: str = "scores-100", step: int = 100) -> Run:
    scores = [] if score is None else [Score(of, step, score, 0.5)]
    return Run(name, {"seed": seed, "lrn_rate": rate}, scores)


def test_groups_of_seeds():
    first, second = [0.50, 0.54, 0.52], [0.60, 0.62, 0.58, 0.61]
    runs = [run(f"a{seed}", seed, score) for seed, score in enumerate(first)]
    runs += [run(f"b{seed}", seed, score, 0.2) for seed, score in enumerate(second)]
    [found] = compare(runs)
    one, two = found.rows
    assert (one.difference, one.verdict) == (None, "reference")
    assert (one.sample.names, two.sample.seeds) == (("a0", "a1", "a2"), ("0", "1", "2", "3"))
    assert one.sample.deviation == pytest.approx(np.std(first, ddof=1))
    interval = stats.ttest_ind(second, first, equal_var=False).confidence_interval()
    assert two.difference - two.interval == pytest.approx(interval.low)
    assert two.difference + two.interval == pytest.approx(interval.high)
    assert two.verdict == "larger than the noise"
    assert not found.borrowed


def test_noise_of_the_only_group_with_seeds_is_borrowed():
    runs = [run("a", 0, 0.50), run("b", 0, 0.60, 0.2), run("c", 1, 0.50, 0.2), run("d", 2, 0.55, 0.2)]
    [found] = compare(runs)
    deviation = np.std([0.60, 0.50, 0.55], ddof=1)
    expected = stats.t.ppf(0.975, 2) * deviation * np.sqrt(1 + 1 / 3)
    assert found.rows[1].interval == pytest.approx(expected)
    assert found.rows[1].verdict == "within the noise"
    assert found.borrowed


def test_noise_is_unknown_with_one_seed():
    [found] = compare([run("a", 0, 0.5), run("b", 0, 0.6, 0.2)])
    assert found.rows[1].difference == pytest.approx(0.1)
    assert (found.rows[1].interval, found.rows[1].verdict) == (None, "noise unknown")
    assert not found.borrowed


def test_copies_of_a_run_are_no_seeds():
    [found] = compare([run("a", 0, 0.5), run("b", 0, 0.5), run("c", 0, 0.7, 0.2)])
    assert (found.rows[0].sample.deviation, found.rows[1].interval) == (None, None)


def test_equal_scores_have_no_noise():
    runs = [run("a", 0, 0.5), run("b", 1, 0.5), run("c", 0, 0.75, 0.2), run("d", 1, 0.75, 0.2)]
    assert compare(runs)[0].rows[1].interval == 0


def test_best_snapshots_are_compared_otherwise_the_last():
    best = Run("a", {"seed": 0, "lrn_rate": 1}, [Score("scores-10", 10, 0.7, 0.5, is_best=True),
                                                Score("scores-20", 20, 0.6, 0.5)])  # fmt: skip
    last = Run("b", {"seed": 0, "lrn_rate": 2}, [Score("scores-10", 10, 0.9, 0.5), Score("scores-20", 20, 0.65, 0.5)])
    [found] = compare([best, last])
    assert [row.sample.scores for row in found.rows] == [(0.7,), (0.65,)]


def test_scores_of_other_images_or_settings_are_not_compared():
    other = Run("b", {"seed": 0, "lrn_rate": 2}, [Score("scores-100", 100, 0.5, 0.5, scored_with={"data": "x"})])
    assert compare([run("a", 0, 0.5), other]) == []
    assert compare([run("a", 0, 0.5), run("b", 0, 0.5, 2.0, "step100-ms1")]) == []
    assert compare([run("a", 0, 0.5), run("b", 0, None, 2.0)]) == []


def test_equal_scores_are_compared_once():
    """Such as those of training, and of the same snapshot by predict.py."""
    runs = [
        Run(name, {"seed": 0, "lrn_rate": rate}, [Score("scores-5", 5, score, 0.5), Score("step5-ms0", 5, score, 0.5)])
        for name, rate, score in (("a", 1, 0.5), ("b", 2, 0.75))
    ]
    assert [found.of for found in compare(runs)] == ["scores"]


def test_flags_that_differ():
    assert flag_rows([run("a", 0, 0.5), run("b", 3, 0.5, 0.2)]) == [["lrn_rate", "0.1", "0.2"], ["seed", "0", "3"]]
