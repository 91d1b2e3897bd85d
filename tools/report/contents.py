"""Gathers charts, tables and pictures of runs for the template of the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tools.pages.charts import Curve, class_bars, curves_chart, matrix_chart
from tools.pages.page import text_of
from tools.prediction.metrics import iou_of
from tools.prediction.tables import percent
from tools.report.comparison import Comparison, compare, flag_rows
from tools.report.pictures import EncodedViews
from tools.report.reported_run import ReportedRun, training_command, unknown_flags
from tools.report.run_facts import all_flags, facts, figures, missing, state

# Columns of training.csv in each chart: name, text in the legend, line style.
_CURVES: Mapping[str, Sequence[tuple[str, str, int]]] = {
    "loss": (("loss", "loss", 0), ("auxiliary_loss", "auxiliary loss", 1)),
    "miou": (("mean_iou", "batch of training", 2),),
    "rate": (("learning_rate", "", 0),),
    "decay": (("weight_decay", "", 0),),
}
_OWN_SCORES = "scores"  # `Score.kind` of the scores that training writes
_TITLES = {"loss": "Loss", "miou": "Mean IoU %", "rate": "Learning rate", "decay": "Weight decay in the loss"}
_VALIDATION_COLORS = {"miou": 0, "loss": 2}  # in a report of one run, where the lines of a chart differ in colour
_FACTORS = {"miou": 100.0}  # of the recorded fractions


@dataclass(frozen=True)
class EvaluatedRun:
    """What predictions of a run add to the report.

    Attributes:
        class_names: by id.
        matrix: pixels by true and predicted class, [C, C]; None without labels.
        shares: share of each class in the valid pixels.
        mean_iou: of these predictions, a fraction; NaN without valid pixels.
        note: how they were made.
    """

    class_names: tuple[str, ...]
    matrix: Any
    shares: Sequence[float] | None
    mean_iou: float
    note: str


@dataclass(frozen=True)
class Card:
    """One validation image with the predictions of runs.

    Attributes:
        kind: why it was chosen.
        name: of the image.
        views: image, truth and predictions.
        captions: one per run.
    """

    kind: str
    name: str
    views: EncodedViews
    captions: Sequence[str]


@dataclass(frozen=True)
class PictureGroup:
    """Images of one split, with the predictions of the runs that have this split and the same classes.

    Attributes:
        names, palette: of the classes.
        cards: the images.
        note: one line on their choice and size.
    """

    names: Sequence[str]
    palette: Sequence[tuple[int, int, int]]
    cards: Sequence[Card]
    note: str


@dataclass
class Report:
    """Values for the template: `charts` and `pictures` are JSON values, the rest is text."""

    runs: list[dict[str, Any]]
    comparisons: list[dict[str, Any]] = field(default_factory=list)
    differing_flags: list[list[str]] = field(default_factory=list)
    class_charts: list[dict[str, Any]] = field(default_factory=list)
    matrices: list[dict[str, Any]] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)
    curve_charts: list[tuple[str, str]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    charts: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, Any] = field(default_factory=lambda: {"classes": [], "pictures": []})


def report_of(
    runs: Sequence[ReportedRun],
    evaluated: Mapping[str, EvaluatedRun],
    groups: Sequence[PictureGroup],
    notices: Iterable[str],
) -> Report:
    """Gathers the contents of a report.

    Args:
        runs: in the order of the report.
        evaluated: by the path of the run; runs without predictions are absent.
        groups: pictures.
        notices: about predictions that are missing, and how to get them.
    """
    report = Report([_about(run) for run in runs])
    report.notices = [*(line for run in runs for line in missing(run)), *notices]
    labels = {run.name: run.label for run in runs}
    report.differing_flags = flag_rows([run.run for run in runs]) if len(runs) > 1 else []
    report.comparisons = [_shown_comparison(found, labels) for found in compare([run.run for run in runs])]
    _add_curves(report, runs)
    _add_classes(report, runs, evaluated)
    for number, run in enumerate(runs):
        if run.path in evaluated and evaluated[run.path].matrix is not None:
            about = evaluated[run.path]
            report.charts[f"matrix-{number}"] = matrix_chart(about.class_names, about.matrix)
            report.matrices.append({"id": f"matrix-{number}", "run": run.label, "note": about.note,
                                    "mean_iou": percent(about.mean_iou)})  # fmt: skip
    for group in groups:
        _add_pictures(report, group)
    return report


def _about(run: ReportedRun) -> dict[str, Any]:
    return {
        "name": run.name,
        "label": run.label,
        "state": state(run),
        "figures": figures(run),
        "facts": facts(run),
        "commands": list(map(text_of, run.commands)),
        "command": training_command(run.flags) if run.record and not run.commands else "",
        "unknown_flags": ", ".join(map(text_of, unknown_flags(run.record.get("flags") or {}))),
        "flags": all_flags(run),
        "scores": [
            [score.of, "" if score.step is None else str(score.step), percent(score.mean_iou),
             percent(score.pixel_accuracy), "best" if score.is_best else ""]
            for score in run.run.scores
        ],
    }  # fmt: skip


def _shown_comparison(found: Comparison, labels: Mapping[str, str]) -> dict[str, Any]:
    rows = []
    for row in found.rows:
        deviation = row.sample.deviation
        difference = "-" if row.difference is None else f"{100 * row.difference:+.2f}"
        interval = "-" if row.interval is None else f"± {100 * row.interval:.2f}"
        names = ", ".join(labels[name] for name in row.sample.names)
        rows.append(
            [names, ", ".join(row.sample.seeds), str(len(row.sample.scores)),
             percent(row.sample.mean), "-" if deviation is None else percent(deviation), difference, interval,
             row.verdict if len(found.rows) > 1 else ""]
        )  # fmt: skip
    has_noise = any(row.sample.deviation is not None for row in found.rows)
    of = "validation of the training" if found.of == _OWN_SCORES else found.of
    return {"of": of, "rows": rows, "borrowed": found.borrowed, "has_noise": has_noise}


def _add_curves(report: Report, runs: Sequence[ReportedRun]) -> None:
    several = len(runs) > 1
    shown: dict[str, list[Curve]] = {id_: [] for id_ in _CURVES}
    for number, run in enumerate(runs):
        for id_, columns in _CURVES.items():
            for name, text, dash in columns:
                values, label = run.curves.columns.get(name), _label(run, text, several=several)
                if values:
                    color, line = (number, dash) if several else (dash, 0)
                    shown[id_].append(Curve(label, run.curves.steps, _scaled(values, id_), color, line))
        validation = {"miou": run.curves.validation, "loss": run.curves.validation_loss}
        for id_, by_step in validation.items():
            if by_step:
                label, values = _label(run, "validation", several=several), _scaled(list(by_step.values()), id_)
                color = number if several else _VALIDATION_COLORS[id_]
                shown[id_].append(Curve(label, list(by_step), values, color, marked=True))
    for id_, curves in shown.items():
        if curves:
            title = _TITLES[id_]
            report.charts[f"curve-{id_}"] = curves_chart(curves, title[0].lower() + title[1:])
            report.curve_charts.append((f"curve-{id_}", title))


def _scaled(values: Sequence[float], id_: str) -> Sequence[float]:
    factor = _FACTORS.get(id_)
    return values if factor is None else [factor * value for value in values]


def _label(run: ReportedRun, text: str, *, several: bool) -> str:
    """Returns the name of a curve in a legend; empty if nothing else is drawn."""
    return ": ".join(filter(None, (run.label, text))) if several else text


def _add_classes(report: Report, runs: Sequence[ReportedRun], evaluated: Mapping[str, EvaluatedRun]) -> None:
    """Adds a chart per set of classes: the IoU of each class in each run, and its share of the pixels."""
    by_classes: dict[tuple[str, ...], list[ReportedRun]] = {}
    for run in runs:
        names = evaluated[run.path].class_names if run.path in evaluated else run.class_names
        by_classes.setdefault(names, []).append(run)
    for number, (names, members) in enumerate(by_classes.items()):
        series = [(run.label, iou) for run in members if (iou := _iou_of(run, names, evaluated)) is not None]
        known = [found for run in members if (found := evaluated.get(run.path)) is not None]
        counted = [list(found.shares) for found in known if found.shares is not None]
        # Runs on other data have other shares, and one column would be wrong for some of them.
        shares = counted[0] if counted and all(other == counted[0] for other in counted) else None
        if not series or not names:
            continue
        id_ = f"classes-{number}"
        shown = [name if len(series) > 1 else "IoU" for name, _ in series]
        report.charts[id_] = class_bars(
            names, [(name, iou) for name, (_, iou) in zip(shown, series, strict=True)], shares, "%"
        )
        columns = [[percent(value) for value in iou] for _, iou in series]
        columns += [[percent(share) for share in shares]] if shares is not None else []
        header = ["class", *(f"IoU % {name}" if len(series) > 1 else "IoU %" for name, _ in series)]
        header += ["share of the pixels %"] if shares is not None else []
        rows = [list(row) for row in zip(names, *columns, strict=True)]
        report.class_charts.append({"id": id_, "header": header, "rows": rows, "has_shares": shares is not None})


def _iou_of(
    run: ReportedRun, class_names: tuple[str, ...], evaluated: Mapping[str, EvaluatedRun]
) -> list[float | None] | None:
    """Returns the IoU of each class: of the predictions, otherwise of the scores; None if there are none."""
    found = evaluated.get(run.path)
    if found is not None and found.matrix is not None:
        return list(iou_of(found.matrix))
    for scores in run.class_scores():
        if tuple(name for name, _ in scores.iou) == class_names:
            return [iou for _, iou in scores.iou]
    return None


def _add_pictures(report: Report, group: PictureGroup) -> None:
    classes = len(report.pictures["classes"])
    report.pictures["classes"].append(
        {"names": list(map(text_of, group.names)), "palette": [list(color) for color in group.palette]}
    )
    cards = []
    for card in group.cards:
        first = len(report.pictures["pictures"])
        for number, prediction in enumerate(card.views.predictions):
            truth = card.views.truth if number == 0 or card.views.truth is None else first  # once per page
            report.pictures["pictures"].append({
                "classes": classes, "width": card.views.width, "height": card.views.height, "truth": truth,
                "prediction": prediction,
            })  # fmt: skip
        layers = ["image", "prediction"] if card.views.truth is None else ["image", "truth", "prediction", "error"]
        panes = [{"index": first + number, "caption": caption} for number, caption in enumerate(card.captions)]
        cards.append(
            {"kind": card.kind, "name": card.name, "image": card.views.image, "panes": panes, "layers": layers}
        )
    report.groups.append({"names": group.names, "palette": group.palette, "cards": cards, "note": group.note})
