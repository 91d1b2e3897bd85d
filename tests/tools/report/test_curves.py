"""Curves of a run, from every file that may hold them."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from tests.tools.report.test_event_files import scalar
from tests.tools.report.written_run import event_bytes, write_run
from tools.report import curves as curves_module
from tools.report.curves import read_curves
from tools.results.runs import Score


def test_csv(tmp_path):
    folder = write_run(tmp_path, "a")
    curves = read_curves(str(folder), [])
    assert (curves.steps, curves.columns["loss"], curves.columns["learning_rate"]) == (
        [20, 40],
        [1.5, 0.75],
        [0.01, 0.005],
    )
    assert (curves.source, curves.last_step) == ("training.csv", 40)
    assert curves.validation == {}


def test_of_many_rows_equally_spaced_ones_and_the_last_are_read(tmp_path, monkeypatch):
    """A million took a minute and a gigabyte."""
    parsed = []
    number = curves_module._number
    monkeypatch.setattr(curves_module, "_number", lambda text: parsed.append(text) or number(text))
    folder = write_run(tmp_path, "a", [f"{step},{2 * step},0,0,0,0,0" for step in range(100_003)])
    curves = read_curves(str(folder), [])
    assert 10_000 <= len(curves.steps) <= 20_001
    assert len(parsed) <= 7 * 20_001
    assert curves.last_step == 100_002
    assert {second - first for first, second in pairwise(curves.steps[:-1])} == {10}
    assert curves.columns["loss"] == [2 * step for step in curves.steps]


def test_rows_that_are_damaged_or_not_complete(tmp_path):
    rows = ["20,1,1,1,1,1,1", "x", "30,nan,,1,1,1,1", "nan,1,1,1,1,1,1", "1e300,1,1,1,1,1,1", "-5,1,1,1,1,1,1"]
    folder = write_run(tmp_path, "a", rows)
    with open(folder / "training.csv", "a") as file:
        file.write("50,0.123")  # the run is writing it
    curves = read_curves(str(folder), [])
    assert curves.steps == [20, 30]
    assert math.isnan(curves.columns["loss"][1])
    assert math.isnan(curves.columns["auxiliary_loss"][1])


def test_events_where_there_is_no_csv(tmp_path):
    folder = write_run(tmp_path, "a")
    (folder / "training.csv").unlink()
    events = [scalar(20, "train/loss", 2.0), scalar(40, "train/loss", 1.0), scalar(40, "train/learning_rate", 0.5)]
    (folder / "events.out.tfevents.1.a").write_bytes(event_bytes(*events))
    curves = read_curves(str(folder), [])
    assert (curves.steps, curves.columns["loss"]) == ([20, 40], [2.0, 1.0])
    assert curves.columns["learning_rate"] == [pytest.approx(math.nan, nan_ok=True), 0.5]
    assert curves.source == "the TensorBoard events"


@pytest.mark.parametrize("content", [b"", b"step", b"a,b\n1,2\n", b"step,step\n1,1\n", b"\xff\xfe\0\n1\n"])
def test_no_curves(tmp_path, content):
    folder = write_run(tmp_path, "a")
    (folder / "training.csv").write_bytes(content)
    curves = read_curves(str(folder), [])
    assert (curves.source, curves.last_step) == (None, None)


def test_validation_is_that_of_the_events_and_of_the_scores_of_the_run(tmp_path):
    folder = write_run(tmp_path, "a")
    events = [scalar(100, "validation/mean_iou", 0.5), scalar(100, "validation/iou/sky", 0.9),
              scalar(100, "validation/loss", 1.5), scalar(200, "validation/loss", math.inf)]  # fmt: skip
    (folder / "events.out.tfevents.2.a.validation-100").write_bytes(event_bytes(*events))
    here, elsewhere = str(folder / "scores-50.json"), str(tmp_path / "val_set" / "scores.json")
    scores = [Score("scores-50", 50, 0.25, 0.5, path=here), Score("step150-ms1", 150, 0.75, 0.5, path=elsewhere),
              Score("scores-60", 60, None, None, path=here), Score("scores-100", 100, 0.1, 0.5, path=here)]  # fmt: skip
    curves = read_curves(str(folder), scores)
    assert (curves.validation, curves.validation_loss) == ({50: 0.25, 100: 0.5}, {100: 1.5})
