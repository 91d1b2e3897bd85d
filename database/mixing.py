"""Cuts a square out of a training crop, and pastes classes of one crop onto another, as pure operations."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from database.classes import IGNORE_LABEL


def cutout(image: tf.Tensor, label: tf.Tensor, draws: tf.Tensor, fraction: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Sets a square of a crop to the mean colour (Cutout, DeVries & Taylor 2017), and ignores its label.

    As in the paper, the centre is any pixel, so that a part of the square may lie outside the crop. The paper
    classifies images. Here the square is ignored, because nothing in the image says what the classes of its pixels are.

    Args:
        image: float32 [h, w, channels], less the mean.
        label: uint8 [h, w].
        draws: float32 [2], uniform in [0, 1): row and column of the centre.
        fraction: length of the square's sides, as a fraction of the shorter side of the crop.

    Returns:
        `(image, label)`: the image is 0 in the square, the label 255.
    """
    height, width = (tf.shape(label)[axis] for axis in (0, 1))
    shorter = tf.cast(tf.minimum(height, width), tf.float32)
    side = tf.cast(tf.round(fraction * shorter), tf.int32)

    def covered(length: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
        first = tf.cast(tf.floor(draw * tf.cast(length, tf.float32)), tf.int32) - side // 2
        places = tf.range(length)
        return tf.logical_and(places >= first, places < first + side)

    square = tf.logical_and(covered(height, draws[0])[:, tf.newaxis], covered(width, draws[1])[tf.newaxis])
    cut_label = tf.where_v2(square, tf.constant(IGNORE_LABEL, label.dtype), label)
    return _replaced(image, square, tf.zeros_like(image)), cut_label


def half_of_classes(label: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """Selects half of the classes in a label, rounded up: those with the lowest scores.

    Args:
        label: integer [h, w], training ids, 255 ignored.
        scores: float32 [255], by training id.

    Returns:
        bool [256], by training id; False for 255, which is no class.
    """
    pixels = tf.math.bincount(tf.cast(tf.reshape(label, [-1]), tf.int32), minlength=256, maxlength=256)
    present = pixels[:IGNORE_LABEL] > 0
    half = (tf.reduce_sum(tf.cast(present, tf.int32)) + 1) // 2
    rank = tf.argsort(tf.argsort(tf.where_v2(present, scores, 2.0)))
    return tf.pad(tf.logical_and(present, rank < half), [[0, 1]])


def class_mix(
    image: tf.Tensor, label: tf.Tensor, other_image: tf.Tensor, other_label: tf.Tensor, scores: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Pastes half of the classes of another crop onto a crop, at the same place (ClassMix, Olsson et al. 2021).

    In the paper, the masks are predictions on images without labels; here they are the labels.

    Args:
        image: float32 [h, w, channels].
        label: int32 [h, w], training ids, 255 ignored.
        other_image, other_label: the crop that is pasted from, of the same size; its ignored pixels are not pasted.
        scores: float32 [255], uniform in [0, 1), see `half_of_classes`.

    Returns:
        `(image, label)`, as the first two.
    """
    pasted = tf.gather(half_of_classes(other_label, scores), tf.cast(other_label, tf.int32))
    return _replaced(image, pasted, other_image), tf.where_v2(pasted, other_label, label)


def _replaced(image: tf.Tensor, mask: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Replaces the pixels of a mask, bool [h, w], by those of another image: broadcasting takes three times as long."""
    return tf.where_v2(tf.tile(mask[..., tf.newaxis], [1, 1, image.shape[-1]]), other, image)
