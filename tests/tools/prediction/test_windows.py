"""Where windows lie along an axis, and what they contribute."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from tests.tools.reference import resize_by_scipy
from tools.prediction import windows
from tools.prediction.windows import Placement, ScaledAxis, window_starts, window_stride


def scaled_axis(length, scale, window, stride):
    return ScaledAxis(length, max(1, round(length * scale)), window, stride)


@pytest.mark.parametrize(
    ("length", "window", "starts"),
    [
        (3584, 864, [0, 576, 1152, 1728, 2304, 2720]),
        (1792, 864, [0, 576, 928]),
        (1024, 864, [0, 160]),
        (864, 864, [0]),
        (2048, 720, [0, 480, 960, 1328]),
        (875, 480, [0, 320, 395]),
        (800, 480, [0, 320]),
        (799, 480, [0, 319]),
        (5, 480, [0]),
        (1, 1, [0]),
    ],
)
def test_window_starts_known(length, window, starts):
    assert window_starts(length, window, max(1, 2 * window // 3)) == starts


@given(st.integers(1, 500), st.integers(1, 200), st.data())
def test_window_starts_cover_all_inside_bounds(length, window, data):
    stride = data.draw(st.integers(1, window))
    starts = window_starts(length, window, stride)
    assert starts == sorted(set(starts))
    assert starts[0] == 0
    covered = {pixel for start in starts for pixel in range(start, min(start + window, length))}
    assert covered == set(range(length))
    if length > window:
        assert starts[-1] + window == length
        assert all(after - before <= stride for before, after in zip(starts, starts[1:], strict=False))
        assert len(starts) == math.ceil((length - window) / stride) + 1
    else:
        assert starts == [0]


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 60), st.integers(1, 25), st.floats(0, 0.99), st.sampled_from([0.1, 0.5, 1.0, 1.7, 3.0]))
def test_weights_of_all_windows_sum_to_one_at_every_pixel(length, window, overlap, scale):
    """Without the division, the weights sum to the number of windows that cover a pixel."""
    axis = scaled_axis(length, scale, window, window_stride(window, overlap))
    weights = sum(on_image(placement, length, window) for _, placement in axis.placements(mirrored=False))
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    if scale == 1.0:
        times_seen = np.zeros(length)
        for start in axis.starts:
            times_seen[start : start + window] += 1
        assert times_seen.min() >= 1
        assert times_seen.sum() == len(axis.starts) * min(window, length)
        for _, placement in axis.placements(mirrored=False):
            seen = times_seen[placement.reached]
            np.testing.assert_allclose(placement.weights.toarray(), np.diag(1 / seen), rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 4, 2), "length 0"),
        ((4, 0, 1), "window 0"),
        ((9, 4, 0), "stride 0"),
        ((9, 4, 5), "stride 5"),
    ],
)
def test_window_starts_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        window_starts(*arguments)


@pytest.mark.parametrize(
    ("window", "overlap", "stride"),
    [(10, 0.0, 10), (10, 0.5, 5), (10, 0.8, 2), (10, 0.25, 7), (10, 0.99, 1), (864, 1 / 3, 576), (1, 1 / 3, 1)],
)
def test_window_stride(window, overlap, stride):
    assert window_stride(window, overlap) == stride


def on_image(placement, image_length, window):
    """The weights of a placement as a dense matrix from all pixels of the window to all of the image."""
    weights = np.zeros((image_length, window))
    weights[placement.reached, placement.pixels] = placement.weights.toarray()
    return weights


def average_by_loop(predictions, starts, image_length, scaled_length):
    """Returns float64 [image_length]: predictions of windows, averaged where they overlap, then resized."""
    sums, counts = np.zeros(scaled_length), np.zeros(scaled_length)
    for start, prediction in zip(starts, predictions, strict=True):
        length = min(len(prediction), scaled_length - start)
        sums[start : start + length] += prediction[:length]
        counts[start : start + length] += 1
    return sums / counts


AXES = pytest.mark.parametrize(
    ("length", "scale", "window", "stride"),
    [(40, 1.0, 12, 8), (40, 0.5, 12, 8), (40, 1.75, 12, 8), (40, 0.5, 30, 20), (5, 1.0, 12, 8), (1, 1.3, 4, 2),
     (7, 5.0, 2, 1), (7, 5.0, 1, 1), (100, 0.01, 8, 5)],
)  # fmt: skip


@AXES
@pytest.mark.parametrize("mirrored", [False, True])
def test_contributions_sum_to_the_resized_average(length, scale, window, stride, mirrored):
    axis = scaled_axis(length, scale, window, stride)
    scaled_length = max(1, round(length * scale))
    assert axis.starts == window_starts(scaled_length, window, stride)
    rng = np.random.default_rng(0)
    predictions = {start: rng.normal(size=window) for start in axis.starts}
    average = average_by_loop(list(predictions.values()), axis.starts, length, scaled_length)
    if mirrored:
        average = average[::-1]
    expected = resize_by_scipy(average[:, None, None], length, 1)[:, 0, 0]
    placed = [
        on_image(placement, length, window) @ predictions[start] for start, placement in axis.placements(mirrored)
    ]
    np.testing.assert_allclose(np.sum(placed, axis=0), expected, atol=1e-6)


@AXES
@pytest.mark.parametrize("band_length", [1, 3, 8, 1000])
def test_placements_by_band_are_parts_of_the_placements(length, scale, window, stride, band_length):
    axis = scaled_axis(length, scale, window, stride)
    whole, by_band = axis.placements(mirrored=False), axis.placements_by_band(band_length)
    assert [start for start, _ in by_band] == [start for start, _ in whole]
    for (_, placement), (_, parts) in zip(whole, by_band, strict=True):
        np.testing.assert_array_equal(
            sum(on_image(part, length, window) for part in parts), on_image(placement, length, window)
        )
        firsts = [part.reached.start for part in parts]
        assert firsts == sorted(firsts)
        assert all(part.reached.start // band_length == (part.reached.stop - 1) // band_length for part in parts)


def test_the_image_is_resized_before_it_is_cut():
    axis = scaled_axis(10, 1.7, 6, 4)
    values = np.random.default_rng(2).normal(size=10).astype(np.float32)
    expected = resize_by_scipy(values[:, None, None], 17, 1)[:, 0, 0]
    np.testing.assert_allclose(axis.from_image @ values, expected, atol=1e-6)


@pytest.mark.parametrize("mirrored", [False, True])
def test_windows_between_the_pixels_of_the_image_are_left_out(mirrored):
    # 2 pixels scaled by 5 lie at 2 and 7.
    axis = scaled_axis(2, 5.0, 1, 1)
    assert len(axis.starts) == 10
    assert [start for start, _ in axis.placements(mirrored)] == [2, 7]
    assert [start for start, _ in axis.placements_by_band(1)] == [2, 7]


def placements_by_definition(axis: ScaledAxis, weights: csr_array, first: int, end: int) -> list[tuple]:
    """Every window cut out of all rows from `first` to `end`: start, pixels, reached rows, and weights as stored."""
    found = []
    for start in axis.starts:
        part = weights[first:end][:, start : start + axis.window]
        if part.nnz:
            rows = np.flatnonzero(np.diff(part.indptr))
            pixels = slice(int(part.indices.min()), int(part.indices.max()) + 1)
            values = part[rows[0] : rows[-1] + 1, pixels].astype(np.float32)
            found.append((start, pixels, slice(first + int(rows[0]), first + int(rows[-1]) + 1), values))
    return found


def assert_equal_in_every_bit(placements: list[tuple[int, Placement]], expected: list[tuple]) -> None:
    assert len(placements) == len(expected)
    for (start, placement), (wanted_start, pixels, reached, weights) in zip(placements, expected, strict=True):
        assert (start, placement.pixels, placement.reached) == (wanted_start, pixels, reached)
        assert placement.weights.shape == weights.shape
        for name in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(placement.weights, name), getattr(weights, name), strict=True)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 80), st.integers(1, 40), st.floats(0, 0.8), st.floats(0.05, 3), st.integers(1, 40))
def test_placements_are_those_cut_out_of_the_whole_matrix(length, window, overlap, scale, band):
    axis = scaled_axis(length, scale, window, window_stride(window, overlap))
    for mirrored in (False, True):
        weights = (axis._to_image[:, ::-1] if mirrored else axis._to_image) @ axis._average
        assert_equal_in_every_bit(axis.placements(mirrored), placements_by_definition(axis, weights, 0, length))
    weights = axis._to_image @ axis._average
    expected = [
        placement
        for first in range(0, length, band)
        for placement in placements_by_definition(axis, weights, first, first + band)
    ]
    found = [(start, placement) for start, parts in axis.placements_by_band(band) for placement in parts]
    assert_equal_in_every_bit(
        sorted(found, key=lambda entry: (entry[0], entry[1].reached.start)),
        sorted(expected, key=lambda entry: (entry[0], entry[2].start)),
    )


def test_entries_that_are_read_grow_with_the_length_and_not_with_its_square(monkeypatch):
    """Counts entries of the parts that windows are cut from."""
    counts = []
    for length in (1000, 4000):
        axis = scaled_axis(length, 1.0, 32, 21)
        read: list[int] = []
        original = windows._Columns.part

        def counted(self, rows, first, end, read=read, original=original):
            read.append(self._by_row[rows].nnz)
            return original(self, rows, first, end)

        with monkeypatch.context() as patch:
            patch.setattr(windows._Columns, "part", counted)
            axis.placements(mirrored=True)
            axis.placements_by_band(16)
        counts.append(sum(read))
    assert counts[1] < 4.5 * counts[0]
