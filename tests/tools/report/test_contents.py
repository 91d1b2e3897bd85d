"""What a report says of several runs together."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tools.report.test_event_files import scalar
from tests.tools.report.written_run import NAMES, event_bytes, write_run
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


def test_curves_of_mean_iou_are_percentages_and_the_validation_has_its_loss(tmp_path):
    folder = write_run(tmp_path, "a")
    (folder / "training.csv").write_text("step,loss,mean_iou\n1,2.5,0.25\n2,2.0,0.5\n")
    events = [scalar(2, "validation/mean_iou", 0.75), scalar(2, "validation/loss", 1.5)]
    (folder / "events.out.tfevents.2.a.validation-2").write_bytes(event_bytes(*events))
    report = report_of(read_reported_runs([str(folder)], "none"), {}, [], [])
    drawn = {id_: [list(line["y"]) for line in report.charts[f"curve-{id_}"]["data"]] for id_ in ("miou", "loss")}
    assert drawn == {"miou": [[25.0, 50.0], [75.0]], "loss": [[2.5, 2.0], [1.5]]}
    assert ("curve-miou", "Mean IoU %") in report.curve_charts
