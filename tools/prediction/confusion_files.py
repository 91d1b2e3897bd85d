"""Writes a confusion matrix as a table and as a picture.

The package matplotlib is in the extra `plot`; only the functions that need it import it.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from tools.prediction.result_writing import result_file, result_text
from tools.runtime.extras import extra_needed
from tools.runtime.printable import printable

CSV_FILE = "confusion_matrix.csv"
PICTURE_FILE = "confusion_matrix.png"

_EXTRA = "plot"
_NO_CLASS = "no class"
_MOST_NUMBERED = 30  # classes whose cells have numbers
_INCHES_PER_CLASS = 0.45
_SMALLEST_INCHES, _LARGEST_INCHES = 4.0, 40.0
_LONGEST_NAME = 24


def require_plot(purpose: str = "--confusion_matrix 1") -> None:
    """Checks that the package for pictures of tables is installed.

    Raises:
        MissingPackageError: it is not.
    """
    with extra_needed(_EXTRA, purpose):
        import matplotlib.figure  # noqa: F401


def write_confusion_matrix(
    matrix: np.ndarray, class_names: Sequence[str], folder: str, missed: np.ndarray | None = None
) -> list[str]:
    """Writes `confusion_matrix.csv`, the pixels of each pair of classes, and `confusion_matrix.png`.

    Args:
        matrix: int64 [classes, classes]; rows are true classes, columns predicted ones.
        class_names: in the order of the classes.
        folder: created if missing.
        missed: int64 [classes], pixels of each true class that are predicted as no class; if there are any, they are a
            further column, `no class`.

    Returns:
        The paths.

    Raises:
        MissingPackageError: matplotlib is not installed.
        ResultsFolderError: a file cannot be written.
    """
    paths = [os.path.join(folder, name) for name in (CSV_FILE, PICTURE_FILE)]
    columns = list(class_names)
    if missed is not None and missed.any():
        matrix, columns = np.column_stack([matrix, missed]), [*columns, _NO_CLASS]
    with result_text(paths[0]) as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["true class", *columns])
        writer.writerows([name, *row] for name, row in zip(class_names, matrix.tolist(), strict=True))
    with result_file(paths[1]) as picture:
        confusion_figure(matrix, class_names, columns).savefig(picture, format="png", dpi=100)
    return paths


def confusion_figure(matrix: np.ndarray, class_names: Sequence[str], columns: Sequence[str] | None = None) -> Any:
    """Draws a confusion matrix, each row in per cent of the pixels of its true class.

    Args:
        matrix, class_names: see `write_confusion_matrix`.
        columns: names of the columns; those of the classes by default.

    Returns:
        A figure of matplotlib, which belongs to no window.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    with extra_needed(_EXTRA, "a picture of the confusion matrix"):
        from matplotlib.figure import Figure
    totals = matrix.sum(axis=1, keepdims=True)
    percent = np.divide(100.0 * matrix, totals, out=np.full(matrix.shape, np.nan), where=totals > 0)
    count = len(class_names)
    side = min(max(_INCHES_PER_CLASS * count + 2.5, _SMALLEST_INCHES), _LARGEST_INCHES)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.add_subplot()
    drawn = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    # A dollar sign would begin a formula.
    rows, columns = (
        [printable(name)[:_LONGEST_NAME].replace("$", r"\$") for name in names]
        for names in (class_names, class_names if columns is None else columns)
    )
    axes.set_xticks(range(len(columns)), columns, rotation=90)
    axes.set_yticks(range(count), rows)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if count <= _MOST_NUMBERED:
        _write_numbers(axes, percent)
    figure.colorbar(drawn, ax=axes, label="% of the pixels of the true class", shrink=0.8)
    return figure


def _write_numbers(axes: Any, percent: np.ndarray) -> None:
    """Writes the rounded percentages above 0 into the cells."""
    for row, column in np.argwhere(np.nan_to_num(percent) > 0):
        value = percent[row, column]
        color = "white" if value > 50 else "black"
        text = f"{value:.0f}" if value >= 1 else "<1"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
