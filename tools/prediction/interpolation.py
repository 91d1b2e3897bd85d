"""Bilinear resizing with one sparse matrix per axis.

Resizing is linear and separable. Other linear operations, such as averaging windows, can be multiplied into the same
matrices, and a part of an image is resized with a part of a matrix.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse


def interpolation_matrix(length: int, size: int) -> sparse.csr_array:
    """Returns the matrix that resizes an axis on the half-pixel grid without antialiasing, as OpenCV's INTER_LINEAR.

    Args:
      length: pixels along the axis, 1 or more.
      size: pixels along the resized axis, 1 or more.

    Returns:
      float64 [size, length], one or two entries above 0 in each row, which sum to 1.
    """
    positions = np.clip((np.arange(size) + 0.5) * (length / size) - 0.5, 0, length - 1)
    lower = np.floor(positions).astype(np.int32)
    upper = np.minimum(lower + 1, length - 1)
    weights = np.stack([1 - (positions - lower), positions - lower], axis=1)
    taps = np.stack([lower, upper], axis=1)
    matrix = sparse.csr_array((weights.ravel(), taps.ravel(), np.arange(0, 2 * size + 1, 2)), shape=(size, length))
    matrix.eliminate_zeros()
    return matrix


def along_rows(matrix: sparse.csr_array, array: np.ndarray) -> np.ndarray:
    """Multiplies the first axis of [H, W, C] by a matrix [size, H]; returns [size, W, C]."""
    return (matrix @ array.reshape(len(array), -1)).reshape(-1, *array.shape[1:])


def along_columns(matrix: sparse.csr_array, array: np.ndarray) -> np.ndarray:
    """Multiplies the second axis of [H, W, C] by a matrix [size, W]; returns [size, H, C], axes exchanged."""
    return along_rows(matrix, array.transpose(1, 0, 2))
