"""Which windows are predicted: strides, batches, padding, whole images, and the order of work."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tests.tools.prediction.window_predictions import (
    evaluate_by_loop,
    per_pixel,
    per_position,
    random_image,
    stitch_by_loop,
)
from tools.prediction.sliding import SlidingPredictor
from tools.prediction.windows import WindowPlacing


@pytest.mark.parametrize(("overlap", "stride"), [(0.0, 10), (0.5, 5), (0.8, 2), (0.25, 7), (0.99, 1), (1 / 3, 6)])
def test_overlap_gives_the_stride(overlap, stride):
    image = random_image(10, 41)
    probabilities = SlidingPredictor(per_position, 4, 10, mirror=False, placing=WindowPlacing(overlap)).probabilities(
        image
    )
    expected = stitch_by_loop(per_position, image, (10, 10), (10, stride))
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_default_overlap_moves_by_two_thirds_of_any_window():
    for window in range(1, 60):
        starts = []

        def predict(windows, starts=starts):
            starts.extend(windows[:, 0, 0, 0].astype(int).tolist())
            return np.ones((*windows.shape[:3], 1), np.float32)

        columns = np.arange(4 * window, dtype=np.float32)
        image = np.repeat(np.tile(columns[None, :, None], (1, 1, 3)), window, axis=0)
        SlidingPredictor(predict, 1, window, mirror=False).probabilities(image)
        assert starts[1] == max(1, window * 2 // 3)


def test_small_image_is_padded_with_the_mean_below_and_to_the_right():
    seen = []

    def predict(windows):
        seen.append(windows.copy())
        return per_pixel(windows)

    image = random_image(3, 4)
    SlidingPredictor(predict, 4, (5, 6), mirror=True).probabilities(image)
    assert len(seen) == 1
    plain, mirrored = seen[0]
    np.testing.assert_array_equal(plain[:3, :4], image)
    np.testing.assert_array_equal(mirrored[:3, :4], image[:, ::-1])
    for window in (plain, mirrored):
        assert not window[3:].any()
        assert not window[:, 4:].any()


def test_without_mirror_the_image_is_seen_one_way_only():
    image = random_image(9, 12)
    predictor = SlidingPredictor(per_position, 4, (9, 12), mirror=False)
    np.testing.assert_allclose(predictor.probabilities(image), per_position(image[None])[0], atol=1e-6)


@pytest.mark.parametrize("windows_per_batch", [1, 2, 4, 7, 1000])
def test_all_windows_run_in_full_batches_but_the_last(windows_per_batch):
    batches = []

    def predict(windows):
        batches.append(len(windows))
        assert windows.shape[1:] == (9, 12, 3)
        assert windows.dtype == np.float32
        return per_position(windows)

    image = random_image(20, 33)
    scales = (0.5, 1.0, 1.5)
    probabilities = SlidingPredictor(predict, 4, (9, 12), scales, True, windows_per_batch).probabilities(image)
    # Scaled to 10 x 16: rows 0 1, columns 0 4. 20 x 33: rows 0 6 11, columns 0 8 16 21.
    # 30 x 50: rows 0 6 12 18 21, columns 0 8 16 24 32 38.
    total = 2 * (2 * 2 + 3 * 4 + 5 * 6)
    assert sum(batches) == total
    assert set(batches[:-1]) <= {windows_per_batch}
    assert 1 <= batches[-1] <= windows_per_batch
    expected = evaluate_by_loop(per_position, image, (9, 12), (6, 8), scales, True)
    np.testing.assert_allclose(probabilities, expected, atol=2e-5)


@pytest.mark.parametrize(
    ("whole_sizes", "windows"),
    [
        ((8, 0), {0.5: (16, 16), 1.0: (24, 40), 1.6: (32, 56)}),
        ((8, 1), {0.5: (17, 17), 1.0: (25, 33), 1.6: (33, 57)}),
    ],
)
@pytest.mark.parametrize("mirror", [False, True])
def test_whole_images_are_seen_once_per_scale(whole_sizes, windows, mirror):
    seen = []

    def predict(batch):
        seen.append((len(batch), *batch.shape[1:3]))
        return per_position(batch)

    image = random_image(20, 33)  # 10 x 16 and 32 x 53 at the other scales
    predictor = SlidingPredictor(predict, 4, None, tuple(windows), mirror, whole_sizes=whole_sizes)
    probabilities = predictor.probabilities(image)
    assert sorted(seen) == sorted((1 + mirror, *size) for size in windows.values())
    by_scale = [evaluate_by_loop(per_position, image, size, size, (scale,), mirror) for scale, size in windows.items()]
    np.testing.assert_allclose(probabilities, np.mean(by_scale, axis=0), atol=2e-5)


def test_the_next_batch_is_predicted_while_the_last_is_added():
    started = [threading.Event() for _ in range(20)]
    numbers = iter(range(20))

    def predict(batch):
        started[next(numbers)].set()
        return per_pixel(batch)

    image = random_image(60, 9)
    predictor = SlidingPredictor(predict, 4, 9, mirror=False, windows_per_batch=1)
    bands = predictor._bands(image)
    next(bands)  # 16 rows, which three windows reach
    assert started[3].wait(timeout=10)
    bands.close()
    assert not started[6].is_set()


def test_windows_that_no_pixel_needs_are_not_predicted():
    predicted = []

    def predict(windows):
        predicted.append(len(windows))
        return per_position(windows)

    image = random_image(4, 6)
    probabilities = SlidingPredictor(predict, 4, 1, scales=(5.0,), mirror=True).probabilities(image)
    # Of the 20 x 30 pixels of the scaled image, which are as many windows, resizing back takes every fifth.
    assert sum(predicted) == 2 * 4 * 6
    expected = evaluate_by_loop(per_position, image, (1, 1), (1, 1), (5.0,), True)
    np.testing.assert_allclose(probabilities, expected, atol=2e-5)
