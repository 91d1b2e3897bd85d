from __future__ import annotations

import json
import math
import os

import numpy as np
import pytest

from tools.errors import TablesError
from tools.prediction.metrics import ConfusionMatrix, Scores
from tools.prediction.score_sections import ScoreSection
from tools.prediction.tables import (
    markdown_row,
    markdown_table,
    text_table,
    to_json_dict,
    warn_of_missed_classes,
    write_tables,
)

NAMES = ("road", "traffic light", "sky|air")
SCORES = Scores(
    iou=(0.98765, None, 0.0),
    accuracy=(1.0, None, None),
    mean_iou=0.493825,
    mean_accuracy=1.0,
    pixel_accuracy=0.987,
    frequency_weighted_iou=0.98765,
    pixels=123456,
    images=7,
)
EMPTY = Scores(
    iou=(None,),
    accuracy=(None,),
    mean_iou=math.nan,
    mean_accuracy=math.nan,
    pixel_accuracy=math.nan,
    frequency_weighted_iou=math.nan,
    pixels=0,
    images=0,
)

TEXT = """\
class          IoU %  Dice %  accuracy %
road           98.77   99.38      100.00
traffic light    n/a     n/a         n/a
sky|air         0.00    0.00         n/a

mIoU %                     49.38
mean Dice %                49.69
mean accuracy %           100.00
pixel accuracy %           98.70
overall score %            74.04
frequency weighted IoU %   98.77
images                         7
valid pixels              123456
"""

MARKDOWN = """\
| class | IoU % | Dice % | accuracy % |
| :--- | ---: | ---: | ---: |
| road | 98.77 | 99.38 | 100.00 |
| traffic light | n/a | n/a | n/a |
| sky\\|air | 0.00 | 0.00 | n/a |

| whole set | value |
| :--- | ---: |
| mIoU % | 49.38 |
| mean Dice % | 49.69 |
| mean accuracy % | 100.00 |
| pixel accuracy % | 98.70 |
| overall score % | 74.04 |
| frequency weighted IoU % | 98.77 |
| images | 7 |
| valid pixels | 123456 |
"""


def test_text_table():
    assert text_table(SCORES, NAMES) == TEXT


def test_markdown_table():
    assert markdown_table(SCORES, NAMES) == MARKDOWN


def test_json_dict_holds_fractions_and_none():
    assert to_json_dict(SCORES, NAMES) == {
        "mean_iou": 0.493825,
        "mean_dice": pytest.approx(2 * 0.98765 / 1.98765 / 2),
        "mean_accuracy": 1.0,
        "pixel_accuracy": 0.987,
        "overall_score": pytest.approx((0.493825 + 0.987) / 2),
        "frequency_weighted_iou": 0.98765,
        "pixels": 123456,
        "images": 7,
        "classes": [
            {"name": "road", "iou": 0.98765, "dice": pytest.approx(2 * 0.98765 / 1.98765), "accuracy": 1.0},
            {"name": "traffic light", "iou": None, "dice": None, "accuracy": None},
            {"name": "sky|air", "iou": 0.0, "dice": 0.0, "accuracy": None},
        ],
    }


def test_sections_follow_the_scores(tmp_path):
    sections = [ScoreSection("categories", "category", {"iou": "IoU %", "more": "iIoU %"}, {"flat|x": (0.5, None)})]
    assert text_table(SCORES, NAMES, sections) == TEXT + (
        "\ncategory  IoU %  iIoU %\nflat|x    50.00     n/a\nmean      50.00     n/a\n"
    )
    assert markdown_table(SCORES, NAMES, sections) == MARKDOWN + (
        "\n| category | IoU % | iIoU % |\n| :--- | ---: | ---: |\n| flat\\|x | 50.00 | n/a |\n| mean | 50.00 | n/a |\n"
    )
    found = to_json_dict(SCORES, NAMES, sections)
    expected = {"mean_iou": 0.5, "mean_more": None, "rows": [{"name": "flat|x", "iou": 0.5, "more": None}]}
    assert found == {**to_json_dict(SCORES, NAMES), "categories": expected}
    paths = write_tables(SCORES, NAMES, str(tmp_path), sections=sections)
    assert json.loads(open_text(paths[1])) == {"run": {}, **found}


def test_scores_of_no_pixel_are_not_available():
    assert text_table(EMPTY, ["a"]).count("n/a") == 9
    assert markdown_table(EMPTY, ["a"]).count("n/a") == 9
    written = to_json_dict(EMPTY, ["a"])
    assert json.loads(json.dumps(written, allow_nan=False)) == written
    assert written["mean_iou"] is written["pixel_accuracy"] is None


def test_files_hold_header_and_scores(tmp_path):
    folder = str(tmp_path / "deep" / "er")
    header = {"checkpoint": "model.ckpt-30000", "step": 30000}
    paths = write_tables(SCORES, NAMES, folder, stem="val", header=header)
    assert paths == [os.path.join(folder, f"val.{ending}") for ending in ("txt", "json", "md")]
    assert sorted(os.listdir(folder)) == ["val.json", "val.md", "val.txt"]
    text, written, markdown = (open_text(path) for path in paths)
    assert text == "checkpoint: model.ckpt-30000\nstep: 30000\n\n" + TEXT
    assert markdown == "- checkpoint: model.ckpt-30000\n- step: 30000\n\n" + MARKDOWN
    assert json.loads(written) == {"run": header, **to_json_dict(SCORES, NAMES)}


def test_header_with_a_path_that_is_no_text(tmp_path):
    paths = write_tables(SCORES, NAMES, str(tmp_path), header={"checkpoint": "log\udcff/model.ckpt-1"})
    for path in paths:
        with open(path, encoding="utf-8") as file:
            assert "log\\udcff/model.ckpt-1" in file.read()


def test_files_without_header(tmp_path):
    text, written, markdown = (open_text(path) for path in write_tables(SCORES, NAMES, str(tmp_path)))
    assert (text, markdown) == (TEXT, MARKDOWN)
    assert json.loads(written)["run"] == {}
    assert sorted(os.listdir(tmp_path)) == ["scores.json", "scores.md", "scores.txt"]


def test_header_of_any_values_becomes_strict_json(tmp_path):
    header = {
        "step": np.int64(5),
        "loss": np.float32("nan"),
        "scales": (0.5, np.float64(1.5)),
        "mirror": True,
        "mean": np.array([1.0, math.inf]),
        "folder": tmp_path,
        "nothing": None,
        "nested": {1: "ü"},
    }
    path = write_tables(SCORES, NAMES, str(tmp_path), header=header)[1]
    assert json.loads(open_text(path))["run"] == {
        "step": 5,
        "loss": None,
        "scales": [0.5, 1.5],
        "mirror": True,
        "mean": [1.0, None],
        "folder": str(tmp_path),
        "nothing": None,
        "nested": {"1": "ü"},
    }


def test_writing_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert write_tables(SCORES, NAMES, "") == ["scores.txt", "scores.json", "scores.md"]
    assert open_text("scores.txt") == TEXT


def test_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "scores.txt").write_text("old")

    def refuse(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(TablesError, match=r"scores\.txt: table .* \(No space left on device\)"):
        write_tables(SCORES, NAMES, str(tmp_path))
    assert os.listdir(tmp_path) == ["scores.txt"]
    assert open_text(tmp_path / "scores.txt") == "old"


def test_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(TablesError, match="table cannot be written") as caught:
        write_tables(SCORES, NAMES, str(tmp_path / "taken"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("table", [text_table, markdown_table, to_json_dict])
def test_names_must_match_the_classes(table):
    with pytest.raises(TablesError, match="2 class names for scores of 3 classes"):
        table(SCORES, NAMES[:2])


def test_nothing_is_written_for_wrong_names(tmp_path):
    with pytest.raises(TablesError, match="4 class names"):
        write_tables(SCORES, [*NAMES, "more"], str(tmp_path))
    assert os.listdir(tmp_path) == []


def open_text(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


@pytest.mark.parametrize(("prediction", "warned"), [([0, 0, 0], True), ([0, 1, 0], False)])
def test_a_network_that_sees_one_class_only_is_warned_of(prediction, warned, caplog):
    matrix = ConfusionMatrix(2)
    matrix.process(np.array([[0, 1, 1]], np.uint8), np.array([prediction], np.uint8))
    warn_of_missed_classes(matrix.evaluate(), ("ground", "tree"))
    assert [("'ground'" in line, "--batch_size" in line) for line in caplog.messages] == [(True, True)] * warned


@pytest.mark.parametrize(("truth", "prediction", "missed"), [
    ([0, 1, 2, 2], [0, 1, 0, 1], ["'car'"]),
    ([0, 1, 1, 2], [0, 0, 1, 2], []),
    ([0, 0, 1, 1], [0, 0, 1, 2], []),  # in no label
])  # fmt: skip
def test_classes_that_are_never_predicted_are_named(truth, prediction, missed, caplog):
    matrix = ConfusionMatrix(3)
    matrix.process(np.array([truth], np.uint8), np.array([prediction], np.uint8))
    warn_of_missed_classes(matrix.evaluate(), ("ground", "tree", "car"))
    assert [name for name in ("'ground'", "'tree'", "'car'") if name in caplog.text] == missed
    assert ("--class_weights median_freq" in caplog.text) == (len(caplog.messages) == 1) == bool(missed)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({}, ["--class_weights", "--class_crops", "--train_image_size"]),
        ({"class_weights": "median_freq"}, ["--class_crops", "--train_image_size"]),
        ({"class_weights": "w.txt", "class_crops": 0.5}, ["--train_image_size"]),
        ({"class_weights": None, "class_crops": 0.0, "dynamic_size": True}, ["--class_weights"]),
        ({"class_weights": "median_freq", "dynamic_size": True}, []),
    ],
)
def test_advice_leaves_out_what_the_training_uses(flags, named, caplog):
    matrix = ConfusionMatrix(3)
    matrix.process(np.array([[0, 1, 2]], np.uint8), np.array([[0, 1, 0]], np.uint8))
    warn_of_missed_classes(matrix.evaluate(), ("ground", "tree", "car"), flags, step=5000)
    assert "train longer" in caplog.text
    ways = ("--class_weights", "--class_crops", "--train_image_size")
    assert [way for way in ways if way in caplog.text] == named


@pytest.mark.parametrize(("step", "count"), [(2, 0), (99, 0), (100, 1), (None, 1)])
@pytest.mark.parametrize("prediction", [[0, 1, 0], [0, 0, 0]])
def test_after_few_steps_a_missed_class_means_nothing(step, count, prediction, caplog):
    matrix = ConfusionMatrix(3)
    matrix.process(np.array([[0, 1, 2]], np.uint8), np.array([prediction], np.uint8))
    warn_of_missed_classes(matrix.evaluate(), ("ground", "tree", "car"), step=step)
    assert len(caplog.messages) == count


def test_of_many_missed_classes_the_first_are_named(caplog):
    matrix = ConfusionMatrix(9)
    matrix.process(np.arange(9, dtype=np.uint8)[None], np.array([[0, 1, 0, 0, 0, 0, 0, 0, 0]], np.uint8))
    warn_of_missed_classes(matrix.evaluate(), "abcdefghi")
    [line] = caplog.messages
    assert "'g' and 2 more classes;" in line


def test_cells_of_markdown_are_shown_as_they_are():
    assert markdown_row(["0.5*normal+0.5*dice", "a|b"]) == r"| 0.5\*normal+0.5\*dice | a\|b |"
