"""How exports and session are compared."""

from __future__ import annotations

import numpy as np
import pytest

from tools.errors import ExportError
from tools.export.checking import Agreement, compare, load
from tools.export.engines import Engine
from tools.export.forms import FORMS, Tolerance
from tools.export.images import Picture

STRICT = Tolerance(largest_difference=0.01, mean_difference=0.5, equal_labels=0.9, lost_points=1.0)
EXPECTED = np.tile(np.float32([0.7, 0.3]), (2, 5, 1))  # class 0 everywhere


def agreement(probabilities, truth=None, labels=None):
    found = Agreement(2)
    found.add(EXPECTED, probabilities.argmax(axis=2) if labels is None else labels, probabilities, truth)
    return found


def test_equal_predictions():
    found = agreement(EXPECTED)
    assert (found.largest_difference, found.equal_labels, found.mean_ious) == (0.0, 1.0, None)
    assert found.faults(STRICT) == []
    assert found.entries() == {"largest_difference": 0.0, "mean_difference": 0.0, "equal_labels": 1.0, "pixels": 10}


def test_probabilities_that_differ():
    changed = EXPECTED.copy()
    changed[0, 0] = 0.65, 0.35
    [fault] = agreement(changed).faults(STRICT)
    assert "up to 0.05" in fault
    assert "0.01" in fault


QUANTIZED = FORMS["openvino", "int8"].tolerance


@pytest.mark.parametrize(
    ("probabilities", "words"),
    [
        (np.zeros_like(EXPECTED), "sum to 1 only within 1,"),
        (np.full_like(EXPECTED, 0.5), "differ by 0.2 on average, at most 0.05 is allowed"),
        (2 * EXPECTED, "sum to 1 only within 1,"),
        (EXPECTED[..., ::-1], "differ by 0.4 on average"),
    ],
)
def test_a_quantized_form_is_also_judged_by_its_probabilities(probabilities, words):
    """With equal labels, as an engine computes them apart from the probabilities."""
    faults = agreement(probabilities, labels=np.zeros((2, 5), int)).faults(QUANTIZED)
    assert any(words in fault for fault in faults)


def test_single_probabilities_of_a_quantized_form_may_differ():
    changed = EXPECTED.copy()
    changed[0, 0] = 0.55, 0.45
    found = agreement(changed)
    assert found.mean_difference == pytest.approx(0.015)
    assert found.faults(QUANTIZED) == []


def test_labels_that_differ():
    labels = np.zeros((2, 5), int)
    labels[0, :2] = 1
    [fault] = agreement(EXPECTED, labels=labels).faults(STRICT)
    assert "0.8000 of the labels" in fault
    assert "0.9" in fault


def test_score_that_falls():
    labels = np.zeros((2, 5), int)
    labels[0, 0] = 1
    found = agreement(EXPECTED, np.zeros((2, 5), int), labels)
    assert found.mean_ious == (100.0, 45.0)
    [fault] = found.faults(STRICT)
    assert "mIoU falls from 100.00 to 45.00 %" in fault
    assert found.entries()["mean_iou_of_session"] == 100.0


def test_a_score_that_rises_is_no_fault():
    truth = np.zeros((2, 5), int)
    truth[0, 0] = 1
    assert agreement(EXPECTED, truth, truth).faults(STRICT) == []


def test_values_that_are_not_finite_differ():
    broken = EXPECTED.copy()
    broken[0, 0, 0] = np.nan
    assert agreement(broken).largest_difference == np.inf
    assert agreement(broken).faults(STRICT)


def test_other_shapes_are_an_error():
    with pytest.raises(ExportError, match=r"\[2, 4\], \[2, 4, 2\], expected \[2, 5, 2\]"):
        agreement(EXPECTED[:, :4])


class _Predictor:
    def probabilities(self, image):
        return np.tile(np.float32([0.7, 0.3]), (*image.shape[:2], 1))


def _run(images):
    probabilities = np.stack([_Predictor().probabilities(image) for image in images])
    return probabilities.argmax(axis=3), probabilities


def test_each_picture_is_predicted_in_every_engine_and_two_parts_of_the_first_together():
    shapes = []

    def run(images):
        shapes.append(images.shape)
        return _run(images)

    pictures = [Picture("", np.zeros((h, 20, 3), np.uint8), None) for h in (16, 1)]
    found = compare({"a": run, "b": run}, _Predictor(), pictures, num_classes=2, any_size=True)
    assert shapes == [s for s in [(1, 16, 20, 3), (2, 11, 13, 3), (1, 1, 20, 3)] for _ in "ab"]
    assert {name: (of.pixels, of.equal_labels) for name, of in found.items()} == dict.fromkeys("ab", (626, 1.0))


class _Striped(_Predictor):
    """Predicts the class by the red channel."""

    def probabilities(self, image):
        return np.stack([image[..., 0] / 255, 1 - image[..., 0] / 255], axis=2).astype(np.float32)


def test_pictures_of_a_batch_that_are_swapped_are_found():
    def swapped(images):
        probabilities = np.stack([_Striped().probabilities(image) for image in images[::-1]])
        return probabilities.argmax(axis=3), probabilities

    image = np.zeros((16, 20, 3), np.uint8)
    image[:, :10] = 255
    found = compare({"a": swapped}, _Striped(), [Picture("", image, None)], num_classes=2, any_size=True)
    assert found["a"].classes == {0, 1}
    assert found["a"].equal_labels < 0.8


def test_an_engine_that_fails_is_named_in_one_line():
    def fail(*arguments):
        raise RuntimeError("first line\nsecond line")

    engine = Engine(("numpy",), fail)
    with pytest.raises(ExportError, match=r"^numpy \S+ cannot load it: first line$"):
        load("model", [engine], None)
    pictures = [Picture("", np.zeros((4, 5, 3), np.uint8), None)]
    with pytest.raises(ExportError, match="^NumPy cannot run it on images of 1x4x5: first line$"):
        compare({"NumPy": fail}, _Predictor(), pictures, num_classes=2, any_size=False)
