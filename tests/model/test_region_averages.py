"""Tests the matrix of averages over regions, for static and for unknown sizes."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from model.region_averages import region_averages

BINS = (1, 2, 3, 6)


def by_loop(height: int, width: int, bins: int) -> np.ndarray:
    """Builds float64 [bins * bins, height * width]; region i spans floor(i L / bins) to ceil((i + 1) L / bins)."""
    matrix = np.zeros((bins, bins, height, width))
    for row in range(bins):
        for column in range(bins):
            top, bottom = int(np.floor(row * height / bins)), int(np.ceil((row + 1) * height / bins))
            left, right = int(np.floor(column * width / bins)), int(np.ceil((column + 1) * width / bins))
            matrix[row, column, top:bottom, left:right] = 1 / ((bottom - top) * (right - left))
    return matrix.reshape(bins * bins, height * width)


@pytest.fixture(scope="module")
def computed():
    """Returns a function of height, width and bins that runs one graph for all sizes."""
    with tf.Graph().as_default(), tf.Session() as session:
        height, width = tf.placeholder(tf.int32, []), tf.placeholder(tf.int32, [])
        matrices = {bins: region_averages(height, width, bins) for bins in BINS}
        yield lambda rows, columns, bins: session.run(matrices[bins], {height: rows, width: columns})


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(BINS))
def test_regions_are_those_of_a_loop_and_cover_the_image(computed, height, width, bins):
    matrix = computed(height, width, bins)
    np.testing.assert_allclose(matrix, by_loop(height, width, bins), atol=1e-7)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-5)
    assert (matrix.sum(axis=0) > 0).all()


@pytest.mark.parametrize(("height", "width", "bins"), [(1, 1, 6), (7, 5, 6), (60, 60, 3), (9, 40, 2)])
def test_known_sizes_give_the_same(computed, height, width, bins):
    with tf.Graph().as_default(), tf.Session() as session:
        known = session.run(region_averages(height, width, bins))
    np.testing.assert_allclose(known, computed(height, width, bins), rtol=1e-6)
