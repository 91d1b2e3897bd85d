"""Implements the layers in float64 NumPy from their definitions, as reference values for the graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def conv2d(x: np.ndarray, kernel: np.ndarray, stride: int = 1, rate: int = 1) -> np.ndarray:
    """Convolves [N, H, W, C] with [k, k, C, D], k odd, zero-padded: [N, ceil(H / stride), ceil(W / stride), D]."""
    size = kernel.shape[0]
    margin = rate * (size - 1) // 2
    padded = np.pad(x.astype(np.float64), ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    rows, columns = -(-x.shape[1] // stride), -(-x.shape[2] // stride)
    windows = [
        padded[:, i * rate :: stride, j * rate :: stride][:, :rows, :columns] for i in range(size) for j in range(size)
    ]
    patches = np.stack(windows, axis=3).reshape(-1, size * size * x.shape[3])
    y = patches @ np.asarray(kernel, np.float64).reshape(-1, kernel.shape[3])
    return y.reshape(len(x), rows, columns, kernel.shape[3])


def moments(xs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, int]:
    """Computes mean, biased variance and count per channel of the values of all towers."""
    values = np.concatenate([x.astype(np.float64).reshape(-1, x.shape[-1]) for x in xs])
    return values.mean(axis=0), values.var(axis=0), len(values)


def batch_norm(
    xs: Sequence[np.ndarray], gamma: np.ndarray, beta: np.ndarray, epsilon: float = 1e-5
) -> list[np.ndarray]:
    """Normalizes every tower with the moments of all towers (Ioffe & Szegedy 2015, algorithm 1)."""
    mean, variance, _ = moments(xs)
    return [gamma * (x.astype(np.float64) - mean) / np.sqrt(variance + epsilon) + beta for x in xs]


def batch_norm_gradient(
    xs: Sequence[np.ndarray], dys: Sequence[np.ndarray], gamma: np.ndarray, epsilon: float = 1e-5
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Computes the gradients (dxs, d_gamma, d_beta) of sum(y * dy) over all towers (same paper, section 3)."""
    mean, variance, count = moments(xs)
    deviation = np.sqrt(variance + epsilon)
    hats = [(x.astype(np.float64) - mean) / deviation for x in xs]
    d_beta = sum(dy.astype(np.float64).sum(axis=(0, 1, 2)) for dy in dys)
    d_gamma = sum((dy * hat).sum(axis=(0, 1, 2)) for dy, hat in zip(dys, hats, strict=True))
    dxs = [gamma / deviation * (dy - d_beta / count - hat * d_gamma / count) for dy, hat in zip(dys, hats, strict=True)]
    return dxs, d_gamma, d_beta


def max_pool(x: np.ndarray, size: int, stride: int) -> np.ndarray:
    """Takes the maximum over windows; half of the padding rows, rounded down, come before the first row."""
    counts = [-(-length // stride) for length in x.shape[1:3]]
    margins = []
    for count, length in zip(counts, x.shape[1:3], strict=True):
        total = max((count - 1) * stride + size - length, 0)
        margins.append((total // 2, total - total // 2))
    padded = np.pad(x, ((0, 0), *margins, (0, 0)), constant_values=-np.inf)
    y = np.empty((len(x), *counts, x.shape[3]))
    for i in range(counts[0]):
        for j in range(counts[1]):
            window = padded[:, i * stride : i * stride + size, j * stride : j * stride + size]
            y[:, i, j] = window.max(axis=(1, 2))
    return y


def adaptive_avg_pool(x: np.ndarray, bins: int) -> np.ndarray:
    """Averages regions: region (i, j) spans rows floor(i H / bins) to ceil((i + 1) H / bins), columns likewise."""
    height, width = x.shape[1:3]
    y = np.empty((len(x), bins, bins, x.shape[3]))
    for i in range(bins):
        for j in range(bins):
            top, bottom = int(np.floor(i * height / bins)), int(np.ceil((i + 1) * height / bins))
            left, right = int(np.floor(j * width / bins)), int(np.ceil((j + 1) * width / bins))
            y[:, i, j] = x[:, top:bottom, left:right].astype(np.float64).mean(axis=(1, 2))
    return y


def source_positions(length: int, new_length: int, grid: str) -> np.ndarray:
    """Returns the position of each of `new_length` samples on an axis of `length` samples, in [0, length - 1]."""
    index = np.arange(new_length, dtype=np.float64)
    if grid == "align_corners":
        return index * (length - 1) / (new_length - 1) if new_length > 1 else 0.0 * index
    positions = index * length / new_length
    if grid == "half_pixel":
        positions = (index + 0.5) * length / new_length - 0.5
    return np.clip(positions, 0, length - 1)


def _interpolating_matrix(length: int, new_length: int, grid: str) -> np.ndarray:
    positions = source_positions(length, new_length, grid)
    low = np.floor(positions).astype(int)
    high = np.minimum(low + 1, length - 1)
    matrix = np.zeros((new_length, length))
    np.add.at(matrix, (np.arange(new_length), low), 1 - (positions - low))
    np.add.at(matrix, (np.arange(new_length), high), positions - low)
    return matrix


def resize_bilinear(x: np.ndarray, height: int, width: int, grid: str) -> np.ndarray:
    """Resizes [N, h, w, C] to [N, height, width, C]."""
    rows = _interpolating_matrix(x.shape[1], height, grid)
    columns = _interpolating_matrix(x.shape[2], width, grid)
    return np.einsum("ih,jw,nhwc->nijc", rows, columns, x.astype(np.float64))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Computes the logarithm of the softmax over the last axis."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def pixel_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Computes -log p of the label at all pixels whose label is not 255, as a flat array."""
    valid = labels != 255
    return -np.take_along_axis(log_softmax(logits[valid]), labels[valid][:, np.newaxis], axis=-1)[:, 0]
