from __future__ import annotations

import math
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from tests.tools.reference import resize_by_scipy
from tools.errors import NotFiniteError
from tools.prediction.sliding import SCALES_MULTI, SCALES_SINGLE, SlidingPredictor

COLOUR_TO_LOGITS = np.array([[0.02, -0.01, 0.03, 0.0], [0.01, 0.02, -0.02, 0.01], [-0.03, 0.0, 0.01, 0.02]])


def per_pixel(windows):
    """Probabilities of 4 classes that depend on the pixel's own colour alone."""
    return softmax(windows.astype(np.float64) @ COLOUR_TO_LOGITS, axis=-1).astype(np.float32)


def per_position(windows):
    """As `per_pixel`, yet depending on where in the window a pixel lies, and on the window's mean."""
    height, width = windows.shape[1:3]
    rows, columns = np.mgrid[:height, :width] / 3.0
    logits = windows.astype(np.float64) @ COLOUR_TO_LOGITS
    logits[..., 0] += rows
    logits[..., 1] += columns
    logits[..., 2] += 0.05 * windows.mean(axis=(1, 2, 3), dtype=np.float64)[:, None, None]
    return softmax(logits, axis=-1).astype(np.float32)


def random_image(height, width, seed=3):
    return np.random.default_rng(seed).uniform(-120, 130, (height, width, 3)).astype(np.float32)


def stitch_by_loop(predict, image, window, stride):
    """float64 [H, W, C]: windows stepping along the padded image, summed and divided by their number."""
    height, width = image.shape[:2]
    padded = np.zeros((max(height, window[0]), max(width, window[1]), 3), np.float32)
    padded[:height, :width] = image
    sums, counts = np.zeros((*padded.shape[:2], 4)), np.zeros(padded.shape[:2])
    top = 0
    while True:
        top = min(top, padded.shape[0] - window[0])
        left = 0
        while True:
            left = min(left, padded.shape[1] - window[1])
            crop = padded[None, top : top + window[0], left : left + window[1]]
            sums[top : top + window[0], left : left + window[1]] += predict(crop)[0]
            counts[top : top + window[0], left : left + window[1]] += 1
            if left + window[1] == padded.shape[1]:
                break
            left += stride[1]
        if top + window[0] == padded.shape[0]:
            break
        top += stride[0]
    return (sums / counts[..., None])[:height, :width]


def evaluate_by_loop(predict, image, window, stride, scales, mirror):
    height, width = image.shape[:2]
    maps = []
    for scale in scales:
        size = max(1, round(height * scale)), max(1, round(width * scale))
        scaled = resize_by_scipy(image, *size).astype(np.float32)
        maps.append(resize_by_scipy(stitch_by_loop(predict, scaled, window, stride), height, width))
        if mirror:
            mirrored = stitch_by_loop(predict, scaled[:, ::-1], window, stride)[:, ::-1]
            maps.append(resize_by_scipy(mirrored, height, width))
    return np.mean(maps, axis=0)


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


@pytest.mark.parametrize(("overlap", "stride"), [(0.0, 10), (0.5, 5), (0.8, 2), (0.25, 7), (0.99, 1), (1 / 3, 6)])
def test_overlap_gives_the_stride(overlap, stride):
    image = random_image(10, 41)
    probabilities = SlidingPredictor(per_position, 4, 10, mirror=False, overlap=overlap).probabilities(image)
    expected = stitch_by_loop(per_position, image, (10, 10), (10, stride))
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_default_overlap_moves_by_two_thirds_of_any_window():
    for window in range(1, 60):
        starts = []

        def record(windows, starts=starts):
            starts.extend(windows[:, 0, 0, 0].astype(int).tolist())
            return np.ones((*windows.shape[:3], 1), np.float32)

        columns = np.arange(4 * window, dtype=np.float32)
        image = np.repeat(np.tile(columns[None, :, None], (1, 1, 3)), window, axis=0)
        SlidingPredictor(record, 1, window, mirror=False).probabilities(image)
        assert starts[1] == max(1, window * 2 // 3)


def test_scales_weigh_alike_whatever_their_number_of_windows():
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


def test_small_image_is_padded_with_the_mean_below_and_to_the_right():
    seen = []

    def record(windows):
        seen.append(windows.copy())
        return per_pixel(windows)

    image = random_image(3, 4)
    SlidingPredictor(record, 4, (5, 6), mirror=True).probabilities(image)
    assert len(seen) == 1
    plain, mirrored = seen[0]
    np.testing.assert_array_equal(plain[:3, :4], image)
    np.testing.assert_array_equal(mirrored[:3, :4], image[:, ::-1])
    for window in (plain, mirrored):
        assert not window[3:].any()
        assert not window[:, 4:].any()


@pytest.mark.parametrize("size", [(20, 33), (5, 7)])
def test_mirroring_the_image_mirrors_the_prediction(size):
    image = random_image(*size)
    predictor = SlidingPredictor(per_position, 4, (9, 12), scales=(0.7, 1.0))
    of_mirrored, mirrored = predictor.probabilities(image[:, ::-1]), predictor.probabilities(image)[:, ::-1]
    np.testing.assert_allclose(of_mirrored, mirrored, atol=1e-5)


def test_without_mirror_the_image_is_seen_one_way_only():
    image = random_image(9, 12)
    predictor = SlidingPredictor(per_position, 4, (9, 12), mirror=False)
    np.testing.assert_allclose(predictor.probabilities(image), per_position(image[None])[0], atol=1e-6)


@pytest.mark.parametrize("windows_per_batch", [1, 2, 4, 7, 1000])
def test_all_windows_run_in_full_batches_but_the_last(windows_per_batch):
    batches = []

    def record(windows):
        batches.append(len(windows))
        assert windows.shape[1:] == (9, 12, 3)
        assert windows.dtype == np.float32
        return per_position(windows)

    image = random_image(20, 33)
    scales = (0.5, 1.0, 1.5)
    probabilities = SlidingPredictor(record, 4, (9, 12), scales, True, windows_per_batch).probabilities(image)
    # Scaled to 10 x 16: rows 0 1, columns 0 4. 20 x 33: rows 0 6 11, columns 0 8 16 21.
    # 30 x 50: rows 0 6 12 18 21, columns 0 8 16 24 32 38.
    total = 2 * (2 * 2 + 3 * 4 + 5 * 6)
    assert sum(batches) == total
    assert set(batches[:-1]) <= {windows_per_batch}
    assert 1 <= batches[-1] <= windows_per_batch
    expected = evaluate_by_loop(per_position, image, (9, 12), (6, 8), scales, True)
    np.testing.assert_allclose(probabilities, expected, atol=2e-5)


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
    predictor = SlidingPredictor(lambda windows: windows, 3, window, SCALES_SINGLE, mirror, batch, overlap)
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

    def record(batch):
        seen.append((len(batch), *batch.shape[1:3]))
        return per_position(batch)

    image = random_image(20, 33)  # 10 x 16 and 32 x 53 at the other scales
    predictor = SlidingPredictor(record, 4, None, tuple(windows), mirror, whole_sizes=whole_sizes)
    probabilities = predictor.probabilities(image)
    assert sorted(seen) == sorted((1 + mirror, *size) for size in windows.values())
    by_scale = [evaluate_by_loop(per_position, image, size, size, (scale,), mirror) for scale, size in windows.items()]
    np.testing.assert_allclose(probabilities, np.mean(by_scale, axis=0), atol=2e-5)


def test_the_next_batch_is_predicted_while_the_last_is_added():
    started = [threading.Event() for _ in range(20)]
    numbers = iter(range(20))

    def record(batch):
        started[next(numbers)].set()
        return per_pixel(batch)

    image = random_image(60, 9)
    predictor = SlidingPredictor(record, 4, 9, mirror=False, windows_per_batch=1)
    bands = predictor._bands(image)
    next(bands)  # 16 rows, which three windows reach
    assert started[3].wait(timeout=10)
    bands.close()
    assert not started[6].is_set()


def test_windows_that_no_pixel_needs_are_not_predicted():
    predicted = []

    def record(windows):
        predicted.append(len(windows))
        return per_position(windows)

    image = random_image(4, 6)
    probabilities = SlidingPredictor(record, 4, 1, scales=(5.0,), mirror=True).probabilities(image)
    # Of the 20 x 30 pixels of the scaled image, which are as many windows, resizing back takes every fifth.
    assert sum(predicted) == 2 * 4 * 6
    expected = evaluate_by_loop(per_position, image, (1, 1), (1, 1), (5.0,), True)
    np.testing.assert_allclose(probabilities, expected, atol=2e-5)


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


def test_prediction_kept_and_reused_by_the_caller_is_left_alone():
    kept = np.full((4, 8, 8, 2), 0.5, np.float32)
    kept.flags.writeable = False
    image = random_image(20, 20)
    SlidingPredictor(lambda windows: kept[: len(windows)], 2, 8).probabilities(image)
    np.testing.assert_array_equal(image, random_image(20, 20))


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


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"window_size": 0}, "window_size is 0"),
        ({"window_size": (4, -1)}, r"window_size is \(4, -1\)"),
        ({"window_size": (4, 4, 3)}, "window_size"),
        ({"scales": ()}, r"scales are \[\]"),
        ({"scales": (1.0, 0.0)}, "scales"),
        ({"scales": (-1.0,)}, "scales"),
        ({"scales": (math.nan,)}, "scales"),
        ({"scales": (math.inf,)}, "scales"),
        ({"windows_per_batch": 0}, "windows_per_batch is 0"),
        ({"overlap": 1.0}, "overlap is 1.0"),
        ({"overlap": -0.1}, "overlap is -0.1"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"num_classes": 65537}, "num_classes is 65537"),
    ],
)
def test_settings_are_refused(changed, message):
    with pytest.raises(ValueError, match=message) as caught:
        SlidingPredictor(**{"predict": per_pixel, "num_classes": 4, "window_size": 8, **changed})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 4), (1, 8, 8, 3), (0, 8, 3)])
def test_images_are_refused(shape):
    with pytest.raises(ValueError, match="image has shape"):
        SlidingPredictor(per_pixel, 4, 8).probabilities(np.zeros(shape, np.float32))


@pytest.mark.parametrize("shape", [(1, 8, 8, 5), (2, 8, 8, 4), (1, 1, 1, 4), (1, 8, 8)])
def test_predictions_of_another_shape_are_refused(shape):
    predictor = SlidingPredictor(lambda windows: np.zeros(shape, np.float32), 4, 8, mirror=False)
    with pytest.raises(ValueError, match=r"predict returned shape .* expected \[1, 8, 8, 4\]"):
        predictor.labels(random_image(8, 8))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("use", ["labels", "probabilities"])
def test_probabilities_that_are_not_finite(value, use):
    """One value in the second row of windows, where they are 6 high, 8 wide, and overlap by a third."""

    def predict(windows):
        found = per_pixel(windows)
        for index, window in enumerate(windows):
            if (window == 99).any():
                found[index, 1, 2, 3] = value
        return found

    image = np.zeros((9, 20, 3), np.float32)
    predictor = SlidingPredictor(predict, 4, (6, 8), mirror=False)
    getattr(predictor, use)(image)
    image[8, 19] = 99
    words = "^1 of 192 probabilities .* window of 6x8 that reaches rows 3 to 8 and columns 12 to 19 of the image$"
    with pytest.raises(NotFiniteError, match=words):
        getattr(predictor, use)(image)


def test_sum_of_many_probabilities_of_half_precision_is_no_fault():
    def predict(windows):
        return np.full((*windows.shape[:3], 4), 0.25, np.float16)

    SlidingPredictor(predict, 4, 300, mirror=False).labels(np.zeros((300, 300, 3), np.float32))
