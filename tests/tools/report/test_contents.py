"""What a report says of several runs together."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tools.report.written_run import NAMES, write_run
from tools.report.contents import EvaluatedRun, report_of
from tools.report.reported_run import read_reported_runs

pytest.importorskip("plotly", reason="needs the extra report")


@pytest.mark.parametrize("is_same", [True, False])
def test_shares_of_the_pixels_are_shown_if_they_are_those_of_all_runs(tmp_path, is_same):
    """Runs of equal class names may have been validated on other data."""
    runs = read_reported_runs([str(write_run(tmp_path, name)) for name in "ab"], "none")
    first, second = np.diag([6, 3, 1]), np.diag([6, 3, 1] if is_same else [1, 3, 6])
    evaluated = {
        run.path: EvaluatedRun(NAMES, matrix, (matrix.sum(axis=1) / 10).tolist(), 1.0, "")
        for run, matrix in zip(runs, (first, second), strict=True)
    }
    [chart] = report_of(runs, evaluated, [], []).class_charts
    assert chart["has_shares"] == is_same
    assert ("share of the pixels %" in chart["header"]) == is_same
