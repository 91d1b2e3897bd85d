"""Colour changes, blur and centring of a training image, as pure operations."""

from __future__ import annotations

from typing import Protocol, TypeVar

import tensorflow.compat.v1 as tf

BRIGHTNESS_DELTA = 63.0
SATURATION_RANGE = (0.5, 1.5)
CONTRAST_RANGE = (0.2, 1.8)
BLUR_SIGMA_RANGE = (0.2, 1.5)
_BLUR_RADIUS = 4
# Weights of red, green and blue in luma, ITU-R BT.601.
_LUMA = (0.299, 0.587, 0.114)

Number = TypeVar("Number", float, tf.Tensor)


class ColorAugmentation(Protocol):
    """Settings of the colour augmentation of a training sample."""

    @property
    def jitter_colors(self) -> bool:
        """Whether to change brightness, saturation and contrast at random."""

    @property
    def gaussian_blur(self) -> bool:
        """Whether to blur, with probability 1/2."""


def between(draw: Number, low: float, high: float) -> Number:
    """Scales a draw from [0, 1) to [low, high)."""
    return low + draw * (high - low)


def jitter_colors(image: tf.Tensor, inside: tf.Tensor | None, draws: tf.Tensor) -> tf.Tensor:
    """Changes brightness, then saturation, then contrast, in one affine map of colours.

    With brightness b, saturation s and contrast c, x + b becomes S x + b, where S = s I + (1 - s) 1 luma^T keeps grey;
    its mean is S mean + b, and moving away from that by c gives c S x + (1 - c) S mean + b.

    Args:
        image: float32 [h, w, 3], RGB 0..255.
        inside: bool [h, w], pixels that count towards the mean, around which contrast is changed; None for all.
        draws: float32 [3], uniform in [0, 1).

    Returns:
        float32 [h, w, 3], clipped to 0..255.
    """
    brightness = between(draws[0], -BRIGHTNESS_DELTA, BRIGHTNESS_DELTA)
    saturation = between(draws[1], *SATURATION_RANGE)
    contrast = between(draws[2], *CONTRAST_RANGE)
    # Colours are rows here, so matrices are multiplied from the right.
    saturate = saturation * tf.eye(3) + (1.0 - saturation) * tf.constant(_LUMA)[:, tf.newaxis]
    mean = _mean_color(image, inside)[tf.newaxis]
    offset = (1.0 - contrast) * tf.matmul(mean, saturate)[0] + brightness
    mixed = tf.reshape(tf.matmul(tf.reshape(image, [-1, 3]), contrast * saturate), _shape(image))
    return tf.clip_by_value(_plus_color(mixed, offset), 0.0, 255.0)


def color_jitter(image: tf.Tensor, inside: tf.Tensor | None, strength: float, draws: tf.Tensor) -> tf.Tensor:
    """Changes brightness, then contrast, saturation and hue, each as torchvision's `ColorJitter` does.

    The factors of brightness, contrast and saturation are uniform in 1 - strength to 1 + strength; hue moves by up to
    strength / 4 of the colour circle, the ratio of SimCLR (Chen et al. 2020, appendix A). Each result is clipped.
    Torchvision draws the order of the four as well; here it is fixed.

    Args:
        image: float32 [h, w, 3], RGB 0..255.
        inside: bool [h, w], pixels that count towards the mean grey, around which contrast is changed; None for all.
        strength: above 0, up to 1.
        draws: float32 [4], uniform in [0, 1).

    Returns:
        float32 [h, w, 3], 0..255.
    """
    brightness, contrast, saturation = (between(draws[i], 1.0 - strength, 1.0 + strength) for i in range(3))
    turn = between(draws[3], -strength / 4.0, strength / 4.0)
    image = tf.minimum(brightness * image, 255.0)
    grey = tf.reduce_sum(_mean_color(image, inside) * _LUMA)
    image = tf.clip_by_value(contrast * image + (1.0 - contrast) * grey, 0.0, 255.0)
    saturate = saturation * tf.eye(3) + (1.0 - saturation) * tf.constant(_LUMA)[:, tf.newaxis]
    saturated = tf.reshape(tf.matmul(tf.reshape(image, [-1, 3]), saturate), _shape(image))
    return tf.image.adjust_hue(tf.clip_by_value(saturated, 0.0, 255.0), turn)


def _plus_color(image: tf.Tensor, color: tf.Tensor) -> tf.Tensor:
    """Adds a colour [C] to [h, w, C] by whole rows: broadcasting three values takes five times as long."""
    height, width, channels = _shape(image)
    rows = tf.reshape(image, [height, channels * width]) + tf.tile(color, [width])
    return tf.ensure_shape(tf.reshape(rows, _shape(image)), image.shape)


def _scaled(image: tf.Tensor, scale: tuple[float, ...]) -> tf.Tensor:
    """Multiplies each channel of [h, w, C] by a factor, by whole rows."""
    height, width, channels = _shape(image)
    rows = tf.reshape(image, [height, channels * width]) * tf.tile(tf.constant(scale, tf.float32), [width])
    return tf.ensure_shape(tf.reshape(rows, _shape(image)), image.shape)


def _shape(x: tf.Tensor) -> list[int | tf.Tensor]:
    """Returns the sizes of `x`, each an int if it is known statically."""
    return [tf.shape(x)[i] if size is None else size for i, size in enumerate(x.shape.as_list())]


def _mean_color(image: tf.Tensor, inside: tf.Tensor | None) -> tf.Tensor:
    """Returns the mean colour, float32 [3], or 0 if no pixel counts."""
    if inside is None:
        return tf.reduce_mean(tf.reduce_mean(image, 0), 0)
    weights = tf.cast(inside, tf.float32)[..., tf.newaxis]
    return tf.reduce_sum(image * weights, [0, 1]) / tf.maximum(tf.reduce_sum(weights), 1.0)


def gaussian_blur(image: tf.Tensor, sigma: tf.Tensor) -> tf.Tensor:
    """Blurs by a separable Gaussian, repeating the edges: float32 [h, w, C], sigma in pixels -> float32 [h, w, C]."""
    positions = tf.range(-_BLUR_RADIUS, _BLUR_RADIUS + 1, dtype=tf.float32)
    kernel = tf.exp(-0.5 * tf.square(positions / sigma))
    kernel /= tf.reduce_sum(kernel)
    # One grey image per channel, [C, h, w, 1], so that one kernel serves all channels.
    planes = tf.transpose(image, [2, 0, 1])[..., tf.newaxis]
    for axis, shape in ((1, [-1, 1, 1, 1]), (2, [1, -1, 1, 1])):
        first = tf.gather(planes, tf.zeros([_BLUR_RADIUS], tf.int32), axis=axis)
        last = tf.gather(planes, tf.fill([_BLUR_RADIUS], tf.shape(planes)[axis] - 1), axis=axis)
        padded = tf.concat([first, planes, last], axis=axis)
        planes = tf.nn.conv2d(padded, tf.reshape(kernel, shape), 1, "VALID")
    return tf.transpose(planes[..., 0], [1, 2, 0])


def finished(
    crop: tf.Tensor,
    inside: tf.Tensor | None,
    draws: tf.Tensor,
    augmentation: ColorAugmentation,
    image_mean: tuple[float, ...],
    image_scale: tuple[float, ...] | None = None,
) -> tf.Tensor:
    """Applies the colour augmentations, subtracts the mean and sets pixels outside the source to 0.

    Args:
        crop: float32 [h, w, 3], RGB 0..255; or [h, w, channels], without `augmentation.jitter_colors`.
        inside: bool [h, w], pixels of the source; None for all.
        draws: float32 [NUM_DRAWS], uniform in [0, 1).
        augmentation: the settings.
        image_mean: RGB, 0..255, or of each channel.
        image_scale: factor of each channel after the mean is subtracted; None for no scaling.

    Returns:
        As `crop`.
    """
    if augmentation.jitter_colors:
        crop = jitter_colors(crop, inside, draws[5:8])
    if augmentation.gaussian_blur:
        sigma = between(draws[9], *BLUR_SIGMA_RANGE)
        blurred = tf.cond(draws[8] < 0.5, lambda: gaussian_blur(crop, sigma), lambda: crop)
        crop = tf.ensure_shape(blurred, crop.shape)
    centred = _plus_color(crop, -tf.constant(image_mean, tf.float32))
    if image_scale is not None:
        centred = _scaled(centred, image_scale)
    return centred if inside is None else tf.where_v2(inside[..., tf.newaxis], centred, 0.0)
