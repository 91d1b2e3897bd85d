"""Palette images that give the same index different colours."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from database.datasets import custom_dataset, find_samples
from database.images import read_label_with_table
from tools.check_dataset.__main__ import inspect_splits
from tools.check_dataset.label_faults import CheckedSplits, label_faults
from tools.make_tfrecord.__main__ import check_labels_as_a_whole
from tools.training.index_colors import IndexColors
from tools.training.preflight import check_labels

RED, GREEN, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 0)
OWN = custom_dataset(2)


def test_the_first_contradiction_is_kept():
    colors = IndexColors()
    colors.add("a", {0: RED, 1: GREEN})
    colors.add("b", {1: GREEN})
    assert colors.contradiction is None
    colors.add("c", {0: RED, 1: BLACK})
    assert colors.contradiction.startswith("c: this palette image gives index 1 the colour 0 0 0, and a gives it 0 255")
    colors.add("d", {0: BLACK})
    assert colors.contradiction.startswith("c: ")


def test_files_of_several_tallies_are_compared():
    first, second = IndexColors(), IndexColors()
    first.add("a", {0: RED})
    second.add("b", {0: GREEN})
    first.merge(second)
    assert first.contradiction.startswith("b: this palette image gives index 0 the colour 0 255 0, and a gives it 255")
    merged = IndexColors()
    merged.merge(first)
    assert merged.contradiction == first.contradiction


def save_label(path, ids, table) -> None:
    image = Image.fromarray(np.array([ids], np.uint8))
    if table is not None:
        image.putpalette([channel for color in table for channel in color])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def test_tables_are_read_with_the_ids(tmp_path):
    for number, (table, expected) in enumerate(
        [([RED, GREEN], [RED, GREEN]), ([(i, i, i) for i in range(4)], []), (None, [])]
    ):
        path = tmp_path / f"{number}.png"
        save_label(path, [0, 1], table)
        ids, found = read_label_with_table(str(path))
        assert (ids.tolist(), found) == ([[0, 1]], expected)


@pytest.mark.parametrize(
    ("tables", "ids", "is_told"),
    [
        ([[RED, GREEN], [GREEN, RED]], [0, 1], True),
        ([[RED, GREEN], [RED, GREEN]], [0, 1], False),
        ([[RED, GREEN], None], [0, 1], False),
        ([[RED, GREEN, *[BLACK] * 253, RED], [RED, GREEN, *[BLACK] * 253, GREEN]], [0, 1, 255], False),
    ],
    ids=["other order", "same", "grey beside", "ignored index"],
)
def test_training_records_and_the_check_tell_of_them(tmp_path, caplog, tables, ids, is_told):
    for name, table in zip("ab", tables, strict=True):
        save_label(tmp_path / "images" / "train" / f"{name}.png", ids, None)
        save_label(tmp_path / "labels" / "train" / f"{name}.png", ids, table)
    samples = find_samples(OWN, str(tmp_path), ["train"])
    splits = {"train": samples}

    def check() -> None:
        statistics, _ = inspect_splits(OWN, splits)
        label_faults(CheckedSplits(OWN, splits, splits, statistics))

    for look in (lambda: check_labels(samples, "all", OWN), check):
        caplog.clear()
        look()
        lines = [line for line in caplog.messages if "this palette image gives index 0 the colour 0 255 0" in line]
        assert len(lines) == is_told
        assert all("b.png: " in line and "a.png gives it 255 0 0" in line for line in lines)


def test_records_tell_of_those_that_were_looked_at(tmp_path, caplog):
    for name, ids, table in (("a", [0, 0], [RED, GREEN]), ("b", [0, 0], [GREEN, RED])):
        save_label(tmp_path / "images" / "train" / f"{name}.png", ids, None)
        save_label(tmp_path / "labels" / "train" / f"{name}.png", ids, table)
    samples = find_samples(OWN, str(tmp_path), ["train"])
    check_labels_as_a_whole(OWN, samples, "train")
    assert sum("this palette image gives index 0 the colour" in line for line in caplog.messages) == 1
