"""The report on a dataset as Markdown and JSON, against figures worked out by hand."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from database.datasets import get_dataset
from database.errors import AbsentSplitError
from database.layouts import Sample
from tools.check_dataset.report import Fault, Findings, as_json, fault_lines, markdown, mean_flag
from tools.check_dataset.statistics import SampleFacts, SplitStatistics
from tools.flags.values import mean_color

DATASET = dataclasses.replace(
    get_dataset("CamVid"), class_names=("sky", "road", "car"), label_map={0: 0, 1: 1, 2: 2, 11: 255}
)

# Texts of the errors about splits that are absent: what is wrong, and advice.
ABSENT = {"val": ["no list"], "test": ["none", ": give one"], "trainaug": ["nothing is there"]}


def facts(size, color, ids) -> SampleFacts:
    """Of a picture of one colour."""
    colors = np.zeros((3, 256), np.int64)
    colors[range(3), color] = size[0] * size[1]
    return SampleFacts(Sample("a", "a.png", "b.png", DATASET.label_map), size, colors, ids, ())


@pytest.fixture
def findings() -> Findings:
    train, test = SplitStatistics(3), SplitStatistics(3)
    train.add(facts((2, 10), (10, 20, 30), {0: 15, 11: 5}))
    train.add(facts((4, 10), (40, 20, 60), {0: 10, 1: 25, 11: 4, 7: 1}))
    train.add(facts((2, 10), (10, 20, 30), {0: 20}))
    test.add(facts((1, 1), (0, 0, 0), {}))
    return Findings(
        DATASET, "there", {"train": 9, "test": 1}, {"train": train, "test": test},
        {split: AbsentSplitError(*texts) for split, texts in ABSENT.items()},
        [Fault("train", "b.png: id 7")], seed=5,
    )  # fmt: skip


def test_markdown(findings):
    lines = markdown(findings).splitlines()
    assert lines[0] == "# CamVid: 1 fault in 4 of 10 images of train, test"
    assert "- train: b.png: id 7" in lines
    assert "9 images; 3 of them checked, chosen with seed 5; 3 labels read." in lines
    assert "| height | 2 | 2 | 4 |" in lines
    assert "| width | 10 | 10 | 10 |" in lines
    assert "2 sizes; the most frequent is 2x10 (height x width), of 2 of 3 images." in lines
    # 40 pixels of (10, 20, 30) and 40 of (40, 20, 60).
    means = "`--image_mean 25.00,20.00,45.00`, standard deviation 15.00,0.00,15.00."
    assert any(means in line and "105.03,108.41,110.33" in line for line in lines)
    # Frequencies among the valid pixels of the images that show it: 45 of 70, 25 of 35; median 0.6786.
    assert "| 0 | sky | 45 | 64.29 | 3 | 1.056 |" in lines
    assert "| 1 | road | 25 | 35.71 | 1 | 0.950 |" in lines
    assert "| 2 | car | 0 | 0.00 | 0 |  |" in lines
    ignored = "Shares are of the valid pixels; 11.25 % of all are ignored, and 1 pixels have ids of no class."
    assert ignored in lines
    assert "In no image: car." in lines
    test = lines[lines.index("## test") :]
    assert "1 image; 0 labels read." in test
    assert not any("sky" in line for line in test)
    assert [line for line in lines if line.startswith("- ")] == [
        "- train: b.png: id 7",
        "- val: no list",
        "- test: none: give one",
    ]


def test_json(findings):
    content = json.loads(as_json(findings))
    assert content["faults"] == [{"split": "train", "message": "b.png: id 7"}]
    assert (content["database"], content["data_dir"]) == ("CamVid", "there")
    assert content["absent"] == {"val": "no list", "test": "none: give one", "trainaug": "nothing is there"}
    train = content["splits"]["train"]
    assert (train["images"], train["looked_at"], train["labels"]) == (9, 3, 3)
    assert train["sizes"] == [
        {"height": 2, "width": 10, "images": 2},
        {"height": 4, "width": 10, "images": 1},
    ]
    assert train["extents"]["height"] == {"min": 2, "median": 2, "max": 4}
    assert (train["color_mean"], train["color_deviation"]) == ([25, 20, 45], [15, 0, 15])
    assert (train["ignored_pixels"], train["ignored_share"], train["unknown_pixels"]) == (9, 9 / 80, 1)
    assert train["classes"][1] == {"name": "road", "pixels": 25, "share": 25 / 70, "images": 1}
    assert content["splits"]["test"]["labels"] == 0


def test_nothing_readable_and_nothing_valid(findings):
    empty, ignored = SplitStatistics(3), SplitStatistics(3)
    ignored.add(facts((1, 2), (0, 0, 0), {11: 2}))
    findings = dataclasses.replace(findings, statistics={"train": empty, "test": ignored})
    assert "100.00 % of all are ignored." in markdown(findings)
    assert json.loads(as_json(findings))["splits"]["train"]["extents"] is None


@pytest.mark.parametrize(("count", "words"), [(0, "no fault"), (1, "1 fault"), (21, "21 faults")])
def test_verdict(findings, count, words):
    findings = dataclasses.replace(findings, faults=[Fault("val", "x")] * count, counts={"train": 3, "test": 1})
    assert findings.verdict == f"CamVid: {words} in 4 images of train, test"


@pytest.mark.parametrize(("count", "lines", "last"), [(20, 20, "val: 19"), (23, 21, "and 3 more, in report.json")])
def test_first_faults(count, lines, last):
    listed = fault_lines([Fault("val", str(number)) for number in range(count)])
    assert (len(listed), listed[0], listed[-1]) == (lines, "val: 0", last)


def test_verdict_without_any_split(findings):
    findings = dataclasses.replace(findings, counts={}, statistics={})
    assert findings.verdict == "CamVid: 1 fault, and no split whose images could be checked"


def test_a_passing_report_is_silent_about_splits_that_nobody_needs(findings):
    findings = dataclasses.replace(findings, faults=[], absent={"test": AbsentSplitError("split 'test' is empty")})
    assert "test' is empty" not in markdown(findings)
    assert json.loads(as_json(findings))["absent"] == {"test": "split 'test' is empty"}


def test_equal_faults_are_one_line_with_their_count():
    """Whatever the files and numbers are; faults of another split and other faults have their own lines."""

    def fault(split, name, words):
        label = f"labels/{name}.png"
        return Fault.of_sample(split, Sample(name, f"images/{name}.jpg", label, {}), f"{label}: {words}")

    faults = [
        *(fault("train", "a1", "id 7 (3 pixels)"), fault("train", "a2", "truncated")),
        *(fault("train", "b3", "id 99 (1 pixels)"), fault("train", "c", "id 7 (30 pixels)")),
        *(fault("val", "d", "id 7 (3 pixels)"), Fault("train", "x"), Fault("train", "x")),
    ]
    assert fault_lines(faults) == [
        "train: labels/a1.png: id 7 (3 pixels) (and 2 faults of the same kind, in report.json)",
        "train: labels/a2.png: truncated",
        *("val: labels/d.png: id 7 (3 pixels)", "train: x", "train: x"),
    ]
    many = [fault("train", "e", f"{'x' * kind} 5") for kind in range(22) for _ in range(3)]
    assert fault_lines(many)[-1] == "and 6 more, in report.json"


def test_mean_is_one_that_the_flag_takes():
    assert mean_color(mean_flag((105.0331, 0.0, 255.0))) == (105.03, 0, 255)
