"""Charts hold the values that they are given, and names that Plotly shows as they are."""

from __future__ import annotations

import html
import math

import numpy as np
import pytest

pytest.importorskip("plotly", reason="needs the extra report")

from tools.pages.charts import Curve, class_bars, curves_chart, matrix_chart  # noqa: E402

HOSTILE = '<a href="https://example.test">x</a>&lt;b>'


def test_curves():
    values = [1.0, math.nan, 0.25, math.inf]
    chart = curves_chart([Curve("loss", [1, 2, 3, 4], values), Curve("rate", [5], [0.5], 1, 1, marked=True)], "loss")
    first, second = chart["data"]
    assert (first["name"], first["x"], first["y"]) == ("loss", [1, 2, 3, 4], [1.0, None, 0.25, None])
    assert (second["mode"], second["y"]) == ("lines+markers", [0.5])
    assert first["line"]["color"] != second["line"]["color"]
    assert first["line"]["dash"] != second["line"]["dash"]
    assert chart["layout"]["yaxis"]["title"]["text"] == "loss"


def test_long_curves_keep_their_ends():
    steps = list(range(1, 10001))
    [trace] = curves_chart([Curve("loss", steps, [step / 2 for step in steps])], "loss")["data"]
    assert 2900 < len(trace["x"]) <= 3000
    assert (trace["x"][0], trace["x"][-1]) == (1, 10000)
    assert [2 * value for value in trace["y"]] == trace["x"]


def test_bars():
    chart = class_bars(["sky", "sky", HOSTILE], [("a", [0.5, None, 0.25])], [0.1, 0.2, 0.7], "%")
    iou, share = chart["data"]
    assert (iou["x"], share["x"]) == ([50.0, None, 25.0], pytest.approx([10, 20, 70]))
    assert iou["y"] == [0, 1, 2]
    axis = chart["layout"]["yaxis"]
    assert axis["tickvals"] == [0, 1, 2]
    assert axis["ticktext"][:2] == ["sky", "sky"]
    assert html.unescape(iou["customdata"][2]) == HOSTILE
    assert "<" not in "".join([*iou["customdata"], *axis["ticktext"]])
    assert len(class_bars(["sky"], [("a", [0.5])], None, "%")["data"]) == 1


def test_matrix():
    matrix = np.array([[6, 2, 0], [0, 0, 0], [1, 1, 2]])
    chart = matrix_chart(["sky", "road", HOSTILE], matrix)
    [heatmap] = chart["data"]
    assert heatmap["z"] == [[75.0, 25.0, 0.0], [None, None, None], [25.0, 25.0, 50.0]]
    assert heatmap["customdata"][2][1].endswith("predicted road<br>1 pixels")
    assert "<a" not in str(chart)
    assert chart["layout"]["yaxis"]["autorange"] == "reversed"


def test_large_matrix_has_no_numbers_written_in():
    [small] = matrix_chart(["x"] * 20, np.eye(20, dtype=int))["data"]
    [large] = matrix_chart(["x"] * 150, np.eye(150, dtype=int))["data"]
    assert "texttemplate" in small
    assert "texttemplate" not in large


def test_labels_of_a_large_matrix_do_not_overlap():
    layout = matrix_chart([f"c{index}" for index in range(150)], np.eye(150, dtype=int))["layout"]
    assert layout["yaxis"]["ticktext"][:3] == ["c0", "c3", "c6"]
    assert layout["yaxis"]["tickvals"] == layout["xaxis"]["tickvals"] == list(range(0, 150, 3))
    assert layout["yaxis"]["title"]["text"] == "truth (one class in 3 is named)"
