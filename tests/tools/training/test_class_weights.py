"""Weights of classes from files and from labels."""

from __future__ import annotations

import numpy as np
import pytest

from database.classes import identity_map
from database.images import write_image
from database.layouts import Sample
from tools.errors import ClassWeightsError
from tools.training.class_weights import class_weights


@pytest.mark.parametrize("text", ["0.5 1\n2e1\n", "0.5,1,20", "0.5, 1, 20\n"])
def test_weights_from_a_file(tmp_path, text):
    path = tmp_path / "weights.txt"
    path.write_text(text)
    assert class_weights(str(path), [], 3) == (0.5, 1.0, 20.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"cannot be read \(No such file or directory\)"),
        (b"1 2", "has 2 numbers, expected 3"),
        (b"", "has 0 numbers"),
        (b"1 2 many", r"is not a text file of numbers \(line 1: could not convert"),
        (b"1\n2\n1 # rare", r"numbers \(line 3: could not convert .*; .*comment"),
        (b"\xff\xfe1", "is not a text file of numbers"),
        (b"1 2 -1", "expected finite numbers >= 0"),
        (b"1 2 inf", "expected finite numbers >= 0"),
        (b"1 2 nan", "expected finite numbers >= 0"),
        (b"0 0 0", "at least one > 0"),
    ],
)
def test_files_that_hold_no_weights(tmp_path, content, message):
    path = tmp_path / "weights.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ClassWeightsError, match=message) as caught:
        class_weights(str(path), [], 3)
    assert "\n" not in str(caught.value)


def _samples(tmp_path, *labels: list[list[int]]) -> list[Sample]:
    samples = []
    for number, label in enumerate(labels):
        path = tmp_path / f"label{number}.png"
        write_image(str(path), np.array(label, np.uint8))
        samples.append(Sample(str(number), "image.png", str(path), identity_map(4)))
    return samples


def test_median_frequency(tmp_path):
    samples = _samples(tmp_path, [[0, 0, 0, 1]], [[0, 2, 255, 255]], [[2, 2, 2, 2]])
    # Class 0: 4 of the 6 valid pixels of its two images; class 1: 1 of 4; class 2: 5 of 6; class 3 is nowhere.
    frequencies = np.array([4 / 6, 1 / 4, 5 / 6])
    expected = [*(4 / 6 / frequencies), 1.0]
    np.testing.assert_allclose(class_weights("median_freq", samples, 4), expected, rtol=1e-12)


def test_median_frequency_without_valid_pixels(tmp_path):
    with pytest.raises(ClassWeightsError, match="no pixel of the training labels"):
        class_weights("median_freq", _samples(tmp_path, [[255, 255]]), 4)


def test_classes_that_no_label_shows_are_warned_of(tmp_path, caplog):
    """As with --check_data none, where nothing else warns; not for those that the dataset is known to lack."""
    samples = _samples(tmp_path, [[0, 2, 255]])
    assert class_weights("median_freq", samples, 4, expected=(0, 1, 2)) == (1, 1, 1, 1)
    [line] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "--class_weights median_freq: no training label shows class 1, so its weight is 1" in line
    caplog.clear()
    assert class_weights("median_freq", samples, 4, expected=(0, 2)) == (1, 1, 1, 1)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_many_classes_that_no_label_shows_are_counted(tmp_path, caplog):
    class_weights("median_freq", _samples(tmp_path, [[0, 1]]), 10, expected=range(10))
    assert "shows class 2, 3, 4, 5, 6 and 3 more, " in caplog.text
