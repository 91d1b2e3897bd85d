"""Tables with a row per image."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from tools.errors import ResultsFolderError
from tools.prediction.image_tables import ImageTable, area_columns, area_values, score_columns, score_values

NAMES = ("ground", "tree, or bush", "car")


def rows_in(path) -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def write(path, rows, columns=("a", "b")) -> None:
    with ImageTable(str(path), columns) as table:
        for name, values in rows.items():
            table.add(name, values)


def test_a_row_per_image(tmp_path):
    write(tmp_path / "t.csv", {"x": (1, None), "sub/y, z": ("0.5", 2)})
    assert rows_in(tmp_path / "t.csv") == [["image", "a", "b"], ["x", "1", ""], ["sub/y, z", "0.5", "2"]]


def test_a_later_start_adds_rows_and_replaces_those_it_has(tmp_path):
    path = tmp_path / "t.csv"
    write(path, {"x": (1, 2), "\udcff": (3, 4)})  # a name that is not valid UTF-8
    before = path.read_bytes()
    write(path, {"x": (1, 2), "\udcff": (3, 4)})
    assert path.read_bytes() == before
    write(path, {"\udcff": (5, 6), "new": (7, 8)})
    assert rows_in(path)[1:] == [["x", "1", "2"], ["\\udcff", "5", "6"], ["new", "7", "8"]]


def test_rows_are_written_after_an_error(tmp_path):
    def interrupted():
        with ImageTable(str(tmp_path / "t.csv"), ["a"]) as table:
            table.add("x", [1])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert rows_in(tmp_path / "t.csv")[1:] == [["x", "1"]]


def test_without_rows_nothing_is_written(tmp_path):
    write(tmp_path / "t.csv", {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"image,other\nx,1\n", b"image,a,b\nx,1\n", b"\xff\xfe", b'image,a,b\n"'])
def test_a_damaged_table_is_replaced(tmp_path, caplog, content):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    write(path, {"y": (1, 2)})
    assert "t.csv" in caplog.text
    assert "it is replaced" in caplog.text
    assert rows_in(path) == [["image", "a", "b"], ["y", "1", "2"]]


def test_a_table_that_cannot_be_written(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(ResultsFolderError, match=r"t\.csv: cannot be written .*--output_dir"):
        write(tmp_path / "taken" / "t.csv", {"x": (1, 2)})


def test_areas_are_pixels_and_shares():
    labels = np.random.default_rng(0).integers(0, 3, (7, 11)).astype(np.uint8)
    labels[0, 0] = 255  # no class
    row = dict(zip(area_columns(NAMES), area_values(labels, 3), strict=True))
    for index, name in enumerate(NAMES):
        assert row[f"{name} pixels"] == int((labels == index).sum())
        assert float(row[f"{name} share"]) == pytest.approx(float(np.mean(labels == index)), abs=1e-6)


def test_scores_of_an_image():
    """By sets of pixels, in plain Python."""
    rng = np.random.default_rng(1)
    label, predicted = rng.integers(0, 2, (9, 8)), rng.integers(0, 2, (9, 8))
    label[:2] = 255
    row = dict(zip(score_columns(NAMES), score_values("a.png", label, predicted, 3), strict=True))
    pairs = [(a, b) for a, b in zip(label.ravel().tolist(), predicted.ravel().tolist(), strict=True) if a != 255]
    ious = []
    for index, name in enumerate(NAMES[:2]):
        both = sum(a == b == index for a, b in pairs)
        either = sum(index in pair for pair in pairs)
        ious.append(both / either)
        assert float(row[f"IoU {name}"]) == pytest.approx(both / either, abs=1e-6)
    assert row["IoU car"] is None
    assert float(row["mIoU"]) == pytest.approx(sum(ious) / 2, abs=1e-6)
    assert float(row["pixel accuracy"]) == pytest.approx(sum(a == b for a, b in pairs) / len(pairs), abs=1e-6)
    assert (row["file"], row["valid pixels"]) == ("a.png", 56)


def test_an_image_without_valid_pixels_has_empty_scores():
    ignored = np.full((2, 2), 255, np.uint8)
    assert score_values("a.png", ignored, np.zeros((2, 2), np.uint8), 3) == ["a.png", 0, None, None, None, None, None]
