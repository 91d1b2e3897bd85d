"""Charts for pages, as Plotly's JSON values: curves, bars per class and confusion matrices.

Plotly reads a few HTML tags in text, such as links; `_literal` escapes them. Classes are drawn at positions 0, 1, ...
with their names as labels, because Plotly would merge classes of the same name.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tools.pages.page import text_of

# Colours that people with colour vision deficiencies can tell apart; Okabe and Ito, "Color Universal Design" (2008).
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#5B3A8C", "#222222")
SHARE_COLOR = "#9AA5B1"
_DASHES = ("solid", "dash", "dot", "dashdot")
_GRID, _TEXT = "#E3E7EC", "#1F2933"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
_FONT_SIZE = 13
_MOST_POINTS = 3000  # per curve
_LONGEST_LABEL = 26
_HEIGHT = 320
_LEGEND_ROW = 19  # pixels
_ROW, _BAR = 12, 13  # pixels per class, and per bar of it
_CELL, _SMALLEST_MATRIX, _LARGEST_MATRIX = 34, 300, 960
_LABEL = 16  # pixels that a label takes
_MOST_WRITTEN = 20  # classes whose cells have their value written in


@dataclass(frozen=True)
class Curve:
    """One curve of a chart.

    Attributes:
        name: in the legend.
        steps: of the points.
        values: of the points; points that are not finite are gaps.
        color: index of the colour.
        dash: index of the line style.
        marked: whether the points have markers.
    """

    name: str
    steps: Sequence[float]
    values: Sequence[float]
    color: int = 0
    dash: int = 0
    marked: bool = False


def curves_chart(curves: Sequence[Curve], y_title: str) -> dict[str, Any]:
    """Draws curves over the steps of a training.

    At most 3000 points of each are drawn, at equal distances; the last one always is.
    """
    import plotly.graph_objects as go

    traces = []
    for curve in curves:
        kept = _kept_points(len(curve.steps))
        traces.append(
            go.Scatter(
                name=_literal(curve.name),
                x=[float(curve.steps[index]) for index in kept],
                y=[_finite(curve.values[index]) for index in kept],
                mode="lines+markers" if curve.marked else "lines",
                line={"color": COLORS[curve.color % len(COLORS)], "dash": _DASHES[curve.dash % len(_DASHES)],
                      "width": 2.5 if curve.marked else 1.8},
                marker={"size": 8},
                hovertemplate="step %{x}: %{y:.5g}",
            )
        )  # fmt: skip
    y_axis = {"title": {"text": y_title}}
    named = [curve for curve in curves if curve.name]
    height = _HEIGHT + _LEGEND_ROW * len(named)
    layout = _layout(height, xaxis={"title": {"text": "step"}}, yaxis=y_axis, showlegend=bool(named))
    return _json(go.Figure(traces, layout))


def class_bars(
    class_names: Sequence[str],
    series: Sequence[tuple[str, Sequence[float | None]]],
    shares: Sequence[float] | None,
    title: str,
) -> dict[str, Any]:
    """Draws horizontal bars per class: one per series, and one for the class's share of the pixels.

    Args:
        class_names: from the top.
        series: (name, fraction 0..1 per class, None if undefined).
        shares: fraction of the pixels per class; None to leave them out.
        title: of the horizontal axis.
    """
    import plotly.graph_objects as go

    positions = list(range(len(class_names)))
    names = [_literal(name) for name in class_names]
    drawn = [(name, values, COLORS[index % len(COLORS)]) for index, (name, values) in enumerate(series)]
    drawn += [("share of the pixels", shares, SHARE_COLOR)] if shares is not None else []
    traces = [
        go.Bar(
            name=_literal(name),
            y=positions,
            x=[None if value is None else _finite(100 * value) for value in values],
            orientation="h",
            marker={"color": color},
            customdata=names,
            hovertemplate="%{customdata}: %{x:.2f} %",
        )
        for name, values, color in drawn
    ]
    x_axis = {"title": {"text": title}, "range": [0, 100]}
    y_axis = _class_axis(class_names) | {"autorange": "reversed"}
    height = 110 + len(positions) * (_ROW + _BAR * len(traces))
    layout = _layout(height, xaxis=x_axis, yaxis=y_axis, barmode="group", bargap=0.3, showlegend=True)
    layout["legend"] |= {"y": 1, "traceorder": "normal"}
    return _json(go.Figure(traces, layout))


def matrix_chart(class_names: Sequence[str], matrix: np.ndarray) -> dict[str, Any]:
    """Draws a confusion matrix: the share of each true class (row) that is predicted as each class (column).

    Args:
        class_names: by id.
        matrix: integer [C, C], pixels by true and predicted class.
    """
    import plotly.graph_objects as go

    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.where(totals > 0, 100 * matrix / np.maximum(totals, 1), np.nan)
    count = len(class_names)
    side = min(max(_CELL * count, _SMALLEST_MATRIX), _LARGEST_MATRIX)
    every = math.ceil(count * _LABEL / side)
    heatmap = go.Heatmap(
        x=list(range(count)),
        y=list(range(count)),
        z=[[_finite(value) for value in row] for row in shares.tolist()],
        customdata=_cell_texts(class_names, matrix),
        hovertemplate="%{customdata}<br>%{z:.2f} % of the true class<extra></extra>",
        zmin=0,
        zmax=100,
        colorscale=[[0, "#F7FAFC"], [0.05, "#DCEBF7"], [0.3, "#8CBEE0"], [0.7, "#2F7DB8"], [1, "#0B3C66"]],
        colorbar={"title": {"text": "%"}, "thickness": 14},
        xgap=int(every == 1),
        ygap=int(every == 1),
        texttemplate="%{z:.0f}" if count <= _MOST_WRITTEN else None,
    )
    note = "" if every == 1 else f" (one class in {every} is named)"
    axis = _class_axis(class_names, every) | {"showgrid": False}
    x_axis = axis | {"title": {"text": f"predicted{note}"}, "tickangle": -45}
    y_axis = axis | {"title": {"text": f"truth{note}", "standoff": 12}, "autorange": "reversed"}
    return _json(go.Figure(heatmap, _layout(side + 130, width=side + 185, xaxis=x_axis, yaxis=y_axis)))


def _cell_texts(class_names: Sequence[str], matrix: np.ndarray) -> list[list[str]]:
    """Returns the text for hovering over each cell of a confusion matrix."""
    names = [_literal(name) for name in class_names]
    return [
        [f"truth {truth}<br>predicted {name}<br>{pixels:,} pixels" for name, pixels in zip(names, row, strict=True)]
        for truth, row in zip(names, matrix.tolist(), strict=True)
    ]


def _class_axis(class_names: Sequence[str], every: int = 1) -> dict[str, Any]:
    """Returns an axis with the name of every n-th class."""
    return {
        "tickvals": list(range(0, len(class_names), every)),
        "ticktext": [_literal(_shortened(name)) for name in class_names[::every]],
        "automargin": True,
    }


def _layout(height: int, *, xaxis: dict[str, Any], yaxis: dict[str, Any], **more: Any) -> dict[str, Any]:
    axis = {"gridcolor": _GRID, "linecolor": _GRID, "zeroline": False, "automargin": True}
    return {
        "template": {},
        "height": height,
        "margin": {"l": 60, "r": 20, "t": 36, "b": 50},
        "font": {"family": _FONT, "size": _FONT_SIZE, "color": _TEXT},
        "paper_bgcolor": "#FFFFFF",
        "plot_bgcolor": "#FFFFFF",
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "hoverlabel": {"namelength": -1, "font": {"family": _FONT, "size": _FONT_SIZE}},
        "xaxis": axis | xaxis,
        "yaxis": axis | yaxis,
        **more,
    }


def _json(figure: Any) -> dict[str, Any]:
    """Returns the JSON values of a figure, which Plotly has checked."""
    return json.loads(figure.to_json())


def _literal(text: str) -> str:
    """Returns text that Plotly shows as it is."""
    return html.escape(text_of(text).replace("\n", " "), quote=False)


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_LABEL else f"{name[: _LONGEST_LABEL - 1]}…"


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _kept_points(count: int) -> list[int]:
    if count <= _MOST_POINTS:
        return list(range(count))
    return np.unique(np.linspace(0, count - 1, _MOST_POINTS).round().astype(int)).tolist()
