"""Bilinear resizing by matrices."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tools.reference import resize_by_scipy
from tools.prediction.interpolation import along_columns, along_rows, interpolation_matrix


def resize(array, height, width):
    rows = along_rows(interpolation_matrix(array.shape[0], height), array)
    return along_columns(interpolation_matrix(array.shape[1], width), rows).transpose(1, 0, 2)


@pytest.mark.parametrize("size", [(7, 11), (1, 1), (3, 5), (14, 22), (5, 30), (30, 5), (1, 40), (13, 1)])
@pytest.mark.parametrize("source", [(7, 11), (1, 1), (1, 6), (16, 2)])
def test_resizing_matches_scipy(source, size):
    array = np.random.default_rng(0).normal(size=(*source, 4))
    np.testing.assert_allclose(resize(array, *size), resize_by_scipy(array, *size), atol=1e-12)


def test_matrices_by_hand():
    np.testing.assert_allclose(interpolation_matrix(2, 4).toarray(), [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    np.testing.assert_allclose(interpolation_matrix(4, 2).toarray(), [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
    np.testing.assert_allclose(interpolation_matrix(3, 1).toarray(), [[0, 1, 0]])


@pytest.mark.parametrize("length", [1, 2, 9, 100])
def test_the_same_size_is_the_identity_and_holds_nothing_else(length):
    matrix = interpolation_matrix(length, length)
    np.testing.assert_array_equal(matrix.toarray(), np.eye(length))
    assert matrix.nnz == length


@pytest.mark.parametrize(("length", "size"), [(5, 17), (17, 5), (864, 1512), (1, 3), (3, 1)])
def test_rows_have_at_most_two_weights_that_sum_to_one(length, size):
    matrix = interpolation_matrix(length, size)
    assert matrix.shape == (size, length)
    assert (matrix.data > 0).all()
    assert set(np.diff(matrix.indptr)) <= {1, 2}
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-15)


def test_a_part_of_the_matrix_resizes_a_part_of_the_image():
    array = np.random.default_rng(1).normal(size=(20, 6, 3))
    matrix = interpolation_matrix(20, 31)
    np.testing.assert_array_equal(along_rows(matrix[4:9], array), along_rows(matrix, array)[4:9])


def test_float32_stays_float32():
    array = np.ones((4, 5, 3), np.float32)
    matrix = interpolation_matrix(4, 7).astype(np.float32)
    assert along_rows(matrix, array).dtype == np.float32
    assert along_columns(matrix, array[:, :4]).dtype == np.float32
