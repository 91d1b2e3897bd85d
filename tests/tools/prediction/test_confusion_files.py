"""The confusion matrix as a table and as a picture."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools.errors import MissingPackageError, ResultsFolderError
from tools.prediction.confusion_files import confusion_figure, require_plot, write_confusion_matrix
from tools.prediction.metrics import ConfusionMatrix

pytest.importorskip("matplotlib")

MATRIX = np.array([[90, 10, 0], [0, 0, 0], [1, 999, 1000]])
NAMES = ("ground", "a $very$ long name of a class, and more", "car\x1b[0m")


def texts_of(matrix, names=NAMES) -> dict[tuple[int, int], str]:
    """The number in each cell, by row and column."""
    [axes, _] = confusion_figure(matrix, names).axes
    return {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in axes.texts}


def test_the_table_has_the_pixels(tmp_path):
    paths = write_confusion_matrix(MATRIX, NAMES, str(tmp_path / "new"))
    with open(paths[0], encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    assert header == ["true class", *NAMES]
    assert [row[0] for row in rows] == list(NAMES)
    np.testing.assert_array_equal([[int(value) for value in row[1:]] for row in rows], MATRIX)


def test_pixels_that_are_predicted_as_no_class_are_a_column(tmp_path):
    """So that the rows are the pixels of the labels, as in scores.json."""
    labels = np.array([[0, 0, 0, 1, 2, 2, 255]])
    predicted = np.array([[0, 255, 255, 1, 2, 255, 255]])
    counts = ConfusionMatrix(3, missed_label=255)
    counts.process(labels, predicted)
    paths = write_confusion_matrix(counts.matrix, NAMES, str(tmp_path), counts.missed)
    with open(paths[0], encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    assert header == ["true class", *NAMES, "no class"]
    assert [list(map(int, row[1:])) for row in rows] == [[1, 0, 0, 2], [0, 1, 0, 0], [0, 0, 1, 1]]
    [axes, _] = confusion_figure(np.array([[1, 0, 0, 2]] * 3), NAMES, [*NAMES, "no class"]).axes
    assert [label.get_text() for label in axes.get_xticklabels()][-1] == "no class"
    np.testing.assert_allclose(axes.images[0].get_array()[0], [100 / 3, 0, 0, 200 / 3])
    without = write_confusion_matrix(MATRIX, NAMES, str(tmp_path / "other"), np.zeros(3, int))
    assert Path(without[0]).read_text().splitlines()[0].endswith(NAMES[-1])


def test_the_picture_has_percentages_of_the_true_class(tmp_path):
    assert texts_of(MATRIX) == {(0, 0): "90", (0, 1): "10", (2, 0): "<1", (2, 1): "50", (2, 2): "50"}
    [axes, _] = confusion_figure(MATRIX, NAMES).axes
    drawn = axes.images[0].get_array()
    np.testing.assert_allclose(drawn[0], [90, 10, 0])
    assert np.isnan(np.asarray(drawn.filled(np.nan))[1]).all()
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "ground", r"a \$very\$ long name of a ", r"car\x1b[0m"
    ]  # fmt: skip
    path = write_confusion_matrix(MATRIX, NAMES, str(tmp_path))[1]
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300


def test_many_classes_have_no_numbers(tmp_path):
    names = [f"class {number}" for number in range(40)]
    assert texts_of(np.eye(40, dtype=int), names) == {}


def test_doing_it_twice_gives_the_same_files(tmp_path):
    paths = write_confusion_matrix(MATRIX, NAMES, str(tmp_path))
    before = [Path(path).read_bytes() for path in paths]
    write_confusion_matrix(MATRIX, NAMES, str(tmp_path))
    assert [Path(path).read_bytes() for path in paths] == before


def test_files_that_cannot_be_written(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(ResultsFolderError, match=r"confusion_matrix\.csv: cannot be written"):
        write_confusion_matrix(MATRIX, NAMES, str(tmp_path / "taken"))


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingPackageError, match=r"--confusion_matrix 1 needs the package matplotlib.*\[plot\]"):
        require_plot()
    with pytest.raises(MissingPackageError, match=r"a picture of the confusion matrix needs .*\[plot\]"):
        confusion_figure(MATRIX, NAMES)
