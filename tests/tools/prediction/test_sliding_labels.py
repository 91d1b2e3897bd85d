"""Labels of the sliding prediction: the most probable classes, in little memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from tests.tools.prediction.window_predictions import per_position, random_image
from tools.prediction.predictions import Wanted
from tools.prediction.scaled_sizes import SCALES_MULTI
from tools.prediction.sliding import SlidingPredictor


def test_labels_need_memory_for_the_rows_that_a_window_reaches_only():
    num_classes, window, height = 128, 32, 400
    kept = np.full((4, window, window, num_classes), 1 / num_classes, np.float32)
    image = random_image(height, window)
    predictor = SlidingPredictor(lambda windows: kept[: len(windows)], num_classes, window, SCALES_MULTI)
    tracemalloc.start()
    labels = predictor.labels(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert labels.shape == (height, window)
    # A window at scale 0.5 reaches 64 of the 400 rows; beside them there are image, windows and matrices.
    assert peak < 0.6 * height * window * num_classes * 4


@pytest.mark.parametrize(("num_classes", "dtype"), [(1, np.uint8), (256, np.uint8), (257, np.uint16)])
def test_labels_are_the_most_probable_classes(num_classes, dtype):
    def last_class_where_bright(windows):
        classes = np.where(windows[..., 0] > 0, num_classes - 1, 0)
        return np.eye(num_classes, dtype=np.float32)[classes]

    image = random_image(12, 15)
    labels = SlidingPredictor(last_class_where_bright, num_classes, 8).labels(image)
    assert labels.dtype == dtype
    np.testing.assert_array_equal(labels, np.where(image[..., 0] > 0, num_classes - 1, 0))


def test_labels_are_those_of_the_probabilities():
    image = random_image(50, 31)
    predictor = SlidingPredictor(per_position, 4, (9, 11), SCALES_MULTI)
    best = np.sort(predictor.probabilities(image), axis=2)
    clear = best[..., -1] - best[..., -2] > 1e-6
    assert clear.mean() > 0.99
    labels = predictor.labels(image)
    np.testing.assert_array_equal(labels[clear], predictor.probabilities(image).argmax(axis=2)[clear])
    assert len(np.unique(labels)) > 1


@pytest.mark.parametrize("confidence", [False, True])
@pytest.mark.parametrize("kind", [None, np.float32, np.float16, np.uint8])
def test_what_else_is_wanted_does_not_change_the_labels(kind, confidence):
    image = random_image(50, 31)
    predictor = SlidingPredictor(per_position, 4, (9, 11), SCALES_MULTI)
    averages = predictor.probabilities(image)
    found = predictor.predict(image, Wanted(kind, confidence))
    np.testing.assert_array_equal(found.labels, predictor.labels(image))
    assert (found.probabilities is None) == (kind is None)
    if kind is not None:
        expected = np.rint(255 * averages.astype(np.float64)) if kind is np.uint8 else averages.astype(kind)
        assert found.probabilities.dtype == kind
        np.testing.assert_array_equal(found.probabilities, expected)
    assert (found.confidence is None) == (not confidence)
    if confidence:
        np.testing.assert_array_equal(found.confidence, averages.max(axis=2))


def test_probabilities_of_the_labels():
    image = random_image(50, 31)
    predictor = SlidingPredictor(per_position, 4, (9, 11), SCALES_MULTI)
    label = np.random.default_rng(0).integers(0, 4, (50, 31)).astype(np.uint8)
    label[:20, 3:7] = 255
    found = predictor.predict(image, Wanted(label=label))
    ids = np.where(label == 255, 0, label)[..., np.newaxis]
    expected = np.take_along_axis(predictor.probabilities(image), ids, axis=2)[..., 0]
    np.testing.assert_array_equal(found.of_label, np.where(label == 255, 0, expected))
    np.testing.assert_array_equal(found.labels, predictor.labels(image))
    assert predictor.predict(image).of_label is None


def test_confidence_needs_no_probabilities_of_the_whole_image():
    num_classes, window, height = 128, 32, 400
    kept = np.full((4, window, window, num_classes), 1 / num_classes, np.float32)
    predictor = SlidingPredictor(lambda windows: kept[: len(windows)], num_classes, window, SCALES_MULTI)
    tracemalloc.start()
    found = predictor.predict(random_image(height, window), Wanted(confidence=True))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(found.confidence, 1 / num_classes, rtol=1e-5)
    assert peak < 0.6 * height * window * num_classes * 4
