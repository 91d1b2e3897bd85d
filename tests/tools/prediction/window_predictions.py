"""Predictions of windows that are computed without a network, and the sliding prediction as a plain loop."""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from tests.tools.reference import resize_by_scipy

COLOUR_TO_LOGITS = np.array([[0.02, -0.01, 0.03, 0.0], [0.01, 0.02, -0.02, 0.01], [-0.03, 0.0, 0.01, 0.02]])


def per_pixel(windows):
    """Probabilities of 4 classes that depend only on the colour of the pixel."""
    return softmax(windows.astype(np.float64) @ COLOUR_TO_LOGITS, axis=-1).astype(np.float32)


def per_position(windows):
    """Like `per_pixel`, but also depending on the position in the window, and on the window's mean."""
    height, width = windows.shape[1:3]
    rows, columns = np.mgrid[:height, :width] / 3.0
    logits = windows.astype(np.float64) @ COLOUR_TO_LOGITS
    logits[..., 0] += rows
    logits[..., 1] += columns
    logits[..., 2] += 0.05 * windows.mean(axis=(1, 2, 3), dtype=np.float64)[:, None, None]
    return softmax(logits, axis=-1).astype(np.float32)


def random_image(height, width, seed=3):
    """Returns noise around 0, float32 [height, width, 3]."""
    return np.random.default_rng(seed).uniform(-120, 130, (height, width, 3)).astype(np.float32)


def stitch_by_loop(predict, image, window, stride):
    """Returns float64 [H, W, C]: windows stepping along the padded image, summed and divided by their number."""
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
    """Returns float64 [H, W, C]: the mean of `stitch_by_loop` over scales and mirrored copies."""
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
