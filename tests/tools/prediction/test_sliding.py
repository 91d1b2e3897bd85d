"""Probabilities of the sliding prediction: windows, scales and mirrored copies are averaged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools.prediction.window_predictions import evaluate_by_loop, per_pixel, per_position, random_image
from tools.prediction.scaled_sizes import SCALES_MULTI, SCALES_SINGLE
from tools.prediction.sliding import SlidingPredictor
from tools.prediction.windows import WindowPlacing


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("size", [(20, 33), (9, 12), (5, 7), (1, 1), (1, 30), (30, 1), (9, 40)])
def test_per_pixel_prediction_is_stitched_to_itself(size, mirror):
    image = random_image(*size)
    predictor = SlidingPredictor(per_pixel, 4, (9, 12), mirror=mirror)
    probabilities = predictor.probabilities(image)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, per_pixel(image[None])[0], atol=1e-6)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("scales", [SCALES_SINGLE, (0.5, 1.3), SCALES_MULTI])
@pytest.mark.parametrize("size", [(20, 33), (6, 25), (4, 5), (1, 1), (1, 17), (64, 13)])
def test_position_dependent_prediction_matches_a_loop_over_windows(size, scales, mirror):
    image = random_image(*size)
    predictor = SlidingPredictor(per_position, 4, (9, 11), scales, mirror, windows_per_batch=3)
    expected = evaluate_by_loop(per_position, image, (9, 11), (6, 7), scales, mirror)
    np.testing.assert_allclose(predictor.probabilities(image), expected, atol=2e-5)


def test_scales_have_equal_weight_whatever_their_number_of_windows():
    calls = []

    def one_hot_by_scale(windows):
        """Class 0 for the small scale, whose window is padded with 0, class 1 for the large one."""
        padded = (windows[:, -1, -1] == 0).all(axis=-1)
        calls.extend(padded.tolist())
        classes = np.where(padded, 0, 1)
        return np.broadcast_to(np.eye(2, dtype=np.float32)[classes][:, None, None], (*windows.shape[:3], 2))

    image = np.full((16, 16, 3), 50, np.float32)
    probabilities = SlidingPredictor(one_hot_by_scale, 2, 10, scales=(0.5, 2.0)).probabilities(image)
    assert (sum(calls), len(calls)) == (2, 2 + 2 * 25)
    np.testing.assert_allclose(probabilities, 0.5, atol=1e-6)


@pytest.mark.parametrize("size", [(20, 33), (5, 7)])
def test_mirroring_the_image_mirrors_the_prediction(size):
    image = random_image(*size)
    predictor = SlidingPredictor(per_position, 4, (9, 12), scales=(0.7, 1.0))
    of_mirrored, mirrored = predictor.probabilities(image[:, ::-1]), predictor.probabilities(image)[:, ::-1]
    np.testing.assert_allclose(of_mirrored, mirrored, atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 25),
    st.integers(1, 25),
    st.integers(1, 12),
    st.integers(1, 12),
    st.lists(st.sampled_from([0.01, 0.3, 0.5, 1.0, 1.7]), min_size=1, max_size=3),
    st.booleans(),
    st.integers(1, 5),
)
def test_probabilities_sum_to_one(height, width, window_height, window_width, scales, mirror, batch):
    predictor = SlidingPredictor(per_position, 4, (window_height, window_width), scales, mirror, batch)
    probabilities = predictor.probabilities(random_image(height, width))
    assert probabilities.shape == (height, width, 4)
    assert probabilities.min() >= 0
    np.testing.assert_allclose(probabilities.sum(axis=2), 1, atol=2e-6)


AXIS_LENGTHS, WINDOW_LENGTHS = st.integers(1, 25), st.integers(1, 12)


@settings(deadline=None, max_examples=30)
@given(
    st.tuples(AXIS_LENGTHS, AXIS_LENGTHS),
    st.tuples(WINDOW_LENGTHS, WINDOW_LENGTHS),
    st.floats(0, 0.99),
    st.booleans(),
    st.integers(1, 5),
)
def test_what_the_windows_show_is_stitched_to_the_image(size, window, overlap, mirror, batch):
    image = random_image(*size)
    predictor = SlidingPredictor(
        lambda windows: windows, 3, window, SCALES_SINGLE, mirror, batch, WindowPlacing(overlap)
    )
    np.testing.assert_allclose(predictor.probabilities(image), image, rtol=1e-5, atol=1e-4)


@settings(deadline=None, max_examples=20)
@given(
    st.tuples(AXIS_LENGTHS, AXIS_LENGTHS),
    st.tuples(WINDOW_LENGTHS, WINDOW_LENGTHS),
    st.lists(st.sampled_from([0.01, 0.3, 0.5, 1.0, 1.7]), min_size=1, max_size=3),
    st.booleans(),
)
def test_a_constant_is_stitched_to_itself(size, window, scales, mirror):
    constant = np.array([0.25, 7.5], np.float32)

    def predict(windows):
        return np.broadcast_to(constant, (*windows.shape[:3], 2))

    stitched = SlidingPredictor(predict, 2, window, scales, mirror).probabilities(random_image(*size))
    np.testing.assert_allclose(stitched, np.broadcast_to(constant, (*size, 2)), rtol=1e-5)


def test_prediction_kept_and_reused_by_the_caller_is_not_modified():
    kept = np.full((4, 8, 8, 2), 0.5, np.float32)
    kept.flags.writeable = False
    image = random_image(20, 20)
    SlidingPredictor(lambda windows: kept[: len(windows)], 2, 8).probabilities(image)
    np.testing.assert_array_equal(image, random_image(20, 20))
