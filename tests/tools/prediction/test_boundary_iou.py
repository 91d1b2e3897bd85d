"""Boundary IoU against its definition with one mask per class and repeated erosion."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tools.prediction.boundary_iou import BoundaryIou, boundary_pixels, boundary_width

IGNORED = 255


def eroded(mask):
    """Erodes a mask by a 3x3 square; what is outside the image is not part of the mask."""
    height, width = mask.shape
    padded = np.zeros((height + 2, width + 2), bool)
    padded[1:-1, 1:-1] = mask
    shifted = [padded[row : row + height, column : column + width] for row in range(3) for column in range(3)]
    return np.logical_and.reduce(shifted)


def boundary_of(mask, width):
    inner = mask
    for _ in range(width):
        inner = eroded(inner)
    return mask & ~inner


def expected_scores(pairs, num_classes, fraction):
    """Equation 2 of Cheng et al. (2021), with numerator and denominator summed over the images."""
    scores = []
    for index in range(num_classes):
        intersection = union = np.float64(0)
        for label, prediction in pairs:
            width = max(1, int(np.rint(fraction * np.sqrt(np.float64(label.shape[0]) ** 2 + label.shape[1] ** 2))))
            true = boundary_of(label == index, width)
            found = boundary_of((prediction == index) & (label != IGNORED), width)
            intersection += np.sum(true & found)
            union += np.sum(true | found)
        scores.append(None if union == 0 else float(intersection / union))
    return scores


def blocks(rng, size, num_classes, block):
    """Draws square regions of classes."""
    height, width = size
    coarse = rng.integers(0, num_classes, (math.ceil(height / block), math.ceil(width / block)))
    return np.kron(coarse, np.ones((block, block), int))[:height, :width].astype(np.uint8)


def test_iou_is_that_of_the_definition():
    rng = np.random.default_rng(0)
    fraction, pairs, scored = 0.02, [], BoundaryIou(5)
    for size, block in (((97, 131), 16), ((200, 90), 23), ((60, 61), 7)):
        label, prediction = blocks(rng, size, 4, block), blocks(rng, size, 4, block)
        prediction = np.where(rng.random(size) < 0.97, label, prediction)
        label[rng.random(size) < 0.02] = IGNORED
        label[10:30, 5:40] = IGNORED
        pairs.append((label, prediction))
        scored.process(label, prediction)
    expected = expected_scores(pairs, 5, fraction)
    assert scored.iou()[:4] == pytest.approx(expected[:4], abs=1e-12)
    assert scored.iou()[4] is expected[4] is None
    assert all(0.05 < iou < 0.95 for iou in expected[:4])


@pytest.mark.parametrize("width", [1, 2, 5])
def test_boundary_is_what_erosion_removes(width):
    label = blocks(np.random.default_rng(width), (40, 53), 3, 13)
    expected = np.logical_or.reduce([boundary_of(label == index, width) for index in range(3)])
    assert np.array_equal(boundary_pixels(label, width), expected)
    assert 0 < expected.mean() < 1


def test_shift_costs_more_near_the_boundary():
    label = np.zeros((300, 300), np.uint8)
    label[50:250, 50:250] = 1
    scored = BoundaryIou(2)
    scored.process(label, np.roll(label, 2, axis=1))
    iou = 200 * 198 / (200 * 202)
    assert scored.iou()[1] < iou - 0.05


def test_prediction_without_a_class_is_missed():
    label = np.zeros((20, 20), np.uint8)
    prediction = label.copy()
    prediction[:, :10] = IGNORED
    scored = BoundaryIou(1, fraction=0.5)
    scored.process(label, prediction)
    assert scored.iou() == (0.5,)


@pytest.mark.parametrize(("size", "pixels"), [((1024, 2048), 46), ((10, 10), 1), ((1, 1), 1)])
def test_width_is_a_fiftieth_of_the_diagonal(size, pixels):
    assert boundary_width(*size) == pixels


def test_section_names_the_classes():
    scored = BoundaryIou(2)
    scored.process(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8))
    section = scored.section(("a", "b"))
    assert section.rows == {"a": (1.0,), "b": (None,)}
    assert section.means == (1.0,)
    assert section.to_json() == {
        "mean_boundary_iou": 1.0,
        "rows": [{"name": "a", "boundary_iou": 1.0}, {"name": "b", "boundary_iou": None}],
    }
