"""Samples image and label through one affine map, from the part of the source that a crop shows."""

from __future__ import annotations

import tensorflow.compat.v1 as tf


def _corners(affine: tf.Tensor, crop_size: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the columns and rows of the source, float32 [4] each, at the corners of a crop."""
    x = tf.constant([0.0, crop_size[1] - 1.0, 0.0, crop_size[1] - 1.0])
    y = tf.constant([0.0, 0.0, crop_size[0] - 1.0, crop_size[0] - 1.0])
    return affine[0] * x + affine[1] * y + affine[2], affine[3] * x + affine[4] * y + affine[5]


def part_shown(affine: tf.Tensor, source_size: tf.Tensor, crop_size: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes the part of the source that a crop is interpolated from.

    Args:
        affine: float32 [6], see `draw_affine`.
        source_size: int32 [2].
        crop_size: (height, width).

    Returns:
        `(first, size)`: int32 [2] each, its first row and column, its height and width; 1x1 or more.
    """
    columns, rows = _corners(affine, crop_size)
    lowest = tf.stack([tf.reduce_min(rows), tf.reduce_min(columns)])
    highest = tf.stack([tf.reduce_max(rows), tf.reduce_max(columns)])
    # One pixel more on each side than interpolation needs, because of rounding.
    first = tf.clip_by_value(tf.cast(tf.floor(lowest), tf.int32) - 1, 0, source_size - 1)
    end = tf.clip_by_value(tf.cast(tf.floor(highest), tf.int32) + 3, first + 1, source_size)
    return first, end - first


def shows_only_source(affine: tf.Tensor, source_size: tf.Tensor, crop_size: tuple[int, int]) -> tf.Tensor:
    """Returns whether a crop lies inside the source: a bool scalar, False if it is too close to decide."""
    columns, rows = _corners(affine, crop_size)
    height, width = tf.unstack(tf.cast(source_size, tf.float32))
    columns_inside = tf.logical_and(columns >= -0.25, columns <= width - 0.75)
    return tf.reduce_all(tf.logical_and(columns_inside, tf.logical_and(rows >= -0.25, rows <= height - 0.75)))


def warp(
    image: tf.Tensor,
    label: tf.Tensor,
    affine: tf.Tensor,
    source_size: tf.Tensor,
    crop_size: tuple[int, int],
    *,
    upright: bool = False,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Samples image (bilinear) and label (nearest) through one affine map, repeating the edge outside the source.

    Args:
        image: uint8 or float32 [H, W, channels]; rows at the end may be missing if the crop does not need them.
        label: uint8 [H, W]; rows may be missing as in the image.
        affine: float32 [6], see `draw_affine`.
        source_size: int32 [2], height and width of the whole source.
        crop_size: (height, width) of the output.
        upright: whether the map has no rotation and shows nothing outside the source, which takes a third of the time.

    Returns:
        `(image, label)`: float32 [h, w, channels] and uint8 [h, w].
    """
    channels = image.shape[-1]
    first, size = part_shown(affine, source_size, crop_size)
    image = tf.slice(image, tf.pad(first, [[0, 1]]), tf.concat([size, [channels]], 0))
    label = tf.slice(label, first, size)[..., tf.newaxis]
    row, column = tf.unstack(tf.cast(first, tf.float32))
    inside_part = affine - tf.stack([0.0, 0.0, column, 0.0, 0.0, row])
    sample = _sample_upright if upright else _sample
    sampled_image = sample(image, inside_part, crop_size, "bilinear")
    sampled_label = sample(label, inside_part, crop_size, "nearest")[..., 0]
    sampled_image.set_shape([*crop_size, channels])
    sampled_label.set_shape(crop_size)
    return tf.cast(sampled_image, tf.float32), tf.cast(sampled_label, tf.uint8)


def _sample(pixels: tf.Tensor, affine: tf.Tensor, crop_size: tuple[int, int], method: str) -> tf.Tensor:
    """Samples [H, W, C] -> [h, w, C] through any affine map: float32 (bilinear), or the same type (nearest)."""
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=(pixels if method == "nearest" else tf.cast(pixels, tf.float32))[tf.newaxis],
        transforms=tf.pad(affine, [[0, 2]])[tf.newaxis],
        output_shape=list(crop_size),
        interpolation=method.upper(),
        fill_mode="NEAREST",
        fill_value=0.0,
    )[0]


def _sample_upright(pixels: tf.Tensor, affine: tf.Tensor, crop_size: tuple[int, int], method: str) -> tf.Tensor:
    """Samples [H, W, C] -> float32 [h, w, C] through a map without rotation."""
    # The kernel ends at the outer pixel centres: repeat the edge, which is needed to interpolate half a pixel beyond.
    pixels = tf.concat([pixels[:1], pixels, pixels[-1:]], axis=0)
    pixels = tf.concat([pixels[:, :1], pixels, pixels[:, -1:]], axis=1)
    last = tf.cast(tf.shape(pixels)[:2] - 1, tf.float32)
    start = tf.stack([affine[5], affine[2]]) + 1.0
    end = start + tf.stack([affine[4], affine[0]]) * (tf.constant(crop_size, tf.float32) - 1.0)
    return tf.raw_ops.CropAndResize(
        image=pixels[tf.newaxis],
        boxes=tf.concat([start / last, end / last], axis=0)[tf.newaxis],
        box_ind=[0],
        crop_size=list(crop_size),
        method=method,
    )[0]


def inside_source(affine: tf.Tensor, source_size: tf.Tensor, crop_size: tuple[int, int]) -> tf.Tensor:
    """Returns, as bool [h, w], which pixels show the source. It ends half a pixel beyond its outer pixel centres.

    Image and label share this mask, because the fill of the sampling operation rounds edges on a pixel differently.
    """
    x = tf.range(crop_size[1], dtype=tf.float32)[tf.newaxis, :]
    y = tf.range(crop_size[0], dtype=tf.float32)[:, tf.newaxis]
    height, width = tf.unstack(tf.cast(source_size, tf.float32))
    source_x = affine[0] * x + affine[1] * y + affine[2]
    source_y = affine[3] * x + affine[4] * y + affine[5]
    inside_x = tf.logical_and(source_x >= -0.5, source_x < width - 0.5)
    return tf.logical_and(inside_x, tf.logical_and(source_y >= -0.5, source_y < height - 0.5))
