"""Reference implementation of the augmentation, in float64 with SciPy."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage


def shift(x, y):
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def affine_map(draws, size, augmentation):
    """Returns the product of the elementary maps from crop (x, y) to source (x, y), float64 [3, 3]."""
    (height, width), (crop_height, crop_width) = size, augmentation.crop_size
    low, high = augmentation.scale_range
    factor = low + float(draws[0]) * (high - low)
    frame_height, frame_width = max(np.rint(height * factor), 1.0), max(np.rint(width * factor), 1.0)
    angle = math.radians((2.0 * float(draws[1]) - 1.0) * augmentation.max_rotation)
    mirrored = augmentation.mirror and draws[4] < 0.5
    offsets = []
    for draw, frame, crop in ((draws[2], frame_height, crop_height), (draws[3], frame_width, crop_width)):
        places = frame - crop + 1.0
        offsets.append(math.floor(float(draw) * places) if places > 1.0 else math.floor((frame - crop) / 2.0))
    flip = shift(crop_width - 1.0, 0.0) @ np.diag([-1.0, 1.0, 1.0]) if mirrored else np.eye(3)
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    unscale = np.diag([width / frame_width, height / frame_height, 1.0])
    to_centre = shift(-(frame_width - 1.0) / 2.0, -(frame_height - 1.0) / 2.0)
    from_centre = shift((width - 1.0) / 2.0, (height - 1.0) / 2.0)
    return from_centre @ unscale @ turn @ to_centre @ shift(offsets[1], offsets[0]) @ flip


def warp(image, label, draws, augmentation):
    """Returns image (order 1), label (order 0), inside, and a mask of the pixels whose rounding is not nearly a tie."""
    affine = affine_map(draws, label.shape, augmentation)
    y, x = np.mgrid[: augmentation.crop_size[0], : augmentation.crop_size[1]]
    source_x, source_y, _ = np.tensordot(affine, np.stack([x, y, np.ones_like(x)]), 1)
    places = np.stack([source_y, source_x])
    planes = [
        ndimage.map_coordinates(image[..., channel].astype(np.float64), places, order=1, mode="nearest")
        for channel in range(3)
    ]
    sampled = ndimage.map_coordinates(label, places, order=0, mode="nearest")
    limits = np.array(label.shape)[:, np.newaxis, np.newaxis] - 0.5
    inside = ((places >= -0.5) & (places < limits)).all(axis=0)
    clear = (np.abs(places - np.floor(places) - 0.5) > 1e-3).all(axis=0)
    return np.stack(planes, axis=-1), np.where(inside, sampled, 255), inside, clear


def jitter_colors(image, inside, draws):
    """Changes brightness, saturation, then contrast about the mean of the pixels inside."""
    image = image.astype(np.float64) + (-63.0 + 126.0 * draws[0])
    grey = (image @ [0.299, 0.587, 0.114])[..., np.newaxis]
    image = grey + (0.5 + draws[1]) * (image - grey)
    mean = image[inside].mean(axis=0) if inside.any() else 0.0
    return np.clip(mean + (0.2 + 1.6 * draws[2]) * (image - mean), 0.0, 255.0)


def gaussian_blur(image, sigma):
    """Blurs with weights out to 4 pixels; SciPy's radius is int(truncate * sigma + 0.5)."""
    planes = [
        ndimage.gaussian_filter(image[..., channel].astype(np.float64), sigma, mode="nearest", truncate=4.0 / sigma)
        for channel in range(3)
    ]
    return np.stack(planes, axis=-1)
