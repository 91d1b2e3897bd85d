"""Augmentations as pure operations on one (image, label) pair.

Mirror, scale, rotation and crop are one affine map from crop to source coordinates, so every pixel is read
once and image and label are sampled on the same grid by construction. Nothing here draws random numbers of
its own: the caller hands in uniform numbers, which makes a sample a function of its seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import tensorflow.compat.v1 as tf

from database.classes import IGNORE_LABEL

BRIGHTNESS_DELTA = 63.0
SATURATION_RANGE = (0.5, 1.5)
CONTRAST_RANGE = (0.2, 1.8)
BLUR_SIGMA_RANGE = (0.2, 1.5)
_BLUR_RADIUS = 4
# Weights of red, green and blue in luma, ITU-R BT.601.
_LUMA = (0.299, 0.587, 0.114)

NUM_DRAWS = 10


@dataclass(frozen=True)
class Augmentation:
    """What to do to a training sample.

    Attributes:
        crop_size: (height, width) of what comes out.
        scale_range: factor on both sides, drawn uniformly; (1, 1) for none.
        max_rotation: degrees to either side, drawn uniformly; 0 for none.
        mirror: mirror left to right, half of the time.
        jitter_colors: draw brightness, saturation and contrast.
        gaussian_blur: blur, half of the time.
    """

    crop_size: tuple[int, int]
    scale_range: tuple[float, float] = (1.0, 1.0)
    max_rotation: float = 0.0
    mirror: bool = False
    jitter_colors: bool = False
    gaussian_blur: bool = False


def _between(draw: tf.Tensor, low: float, high: float) -> tf.Tensor:
    return low + draw * (high - low)


def draw_affine(draws: tf.Tensor, source_size: tf.Tensor, augmentation: Augmentation) -> tf.Tensor:
    """The map from crop pixels to source pixels that a sample's draws choose.

    The source is scaled, rotated about its centre inside its own (scaled) frame, cropped at a random place,
    and mirrored. A frame smaller than the crop stands in its middle.

    Args:
        draws: float32 [5], uniform in [0, 1): scale, rotation, row, column, mirror.
        source_size: int32 [2], height and width of the source.
        augmentation: ranges.

    Returns:
        float32 [6], (a0, a1, a2, b0, b1, b2): crop pixel (x, y) shows source pixel
        (a0 x + a1 y + a2, b0 x + b1 y + b2), with pixel centres at whole numbers.
    """
    crop = tf.constant(augmentation.crop_size, tf.float32)
    scale = _between(draws[0], *augmentation.scale_range)
    radians = math.radians(augmentation.max_rotation)
    angle = _between(draws[1], -radians, radians)
    size = tf.cast(source_size, tf.float32)
    frame = tf.maximum(tf.round(size * scale), 1.0)

    room = frame - crop
    offset = tf.where(room > 0.0, tf.floor(draws[2:4] * (room + 1.0)), tf.floor(room / 2.0))
    mirrored = tf.logical_and(augmentation.mirror, draws[4] < 0.5)
    direction = tf.where(mirrored, -1.0, 1.0)
    first_column = tf.where(mirrored, crop[1] - 1.0, 0.0)

    # Relative to the frame's centre, frame pixel (u, v) is (u - cu, v - cv); rotate it back, then unscale.
    centre = (frame - 1.0) / 2.0
    cos, sin = tf.cos(angle), tf.sin(angle)
    step_y, step_x = tf.unstack(size / frame)
    u0 = first_column + offset[1] - centre[1]
    v0 = offset[0] - centre[0]
    source_centre_y, source_centre_x = tf.unstack((size - 1.0) / 2.0)
    return tf.stack(
        [
            step_x * cos * direction,
            -step_x * sin,
            step_x * (cos * u0 - sin * v0) + source_centre_x,
            step_y * sin * direction,
            step_y * cos,
            step_y * (sin * u0 + cos * v0) + source_centre_y,
        ]
    )


def warp(
    image: tf.Tensor, label: tf.Tensor, affine: tf.Tensor, crop_size: tuple[int, int]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Samples image (bilinear) and label (nearest) through one affine map.

    Args:
        image: float32 [H, W, 3].
        label: uint8 [H, W].
        affine: float32 [6], see `draw_affine`.
        crop_size: (height, width) of the output.

    Returns:
        `(image, label, inside)`: float32 [h, w, 3] with the edge repeated outside the source, uint8 [h, w]
        with 255 outside, bool [h, w].
    """
    transform = tf.concat([affine, [0.0, 0.0]], axis=0)[tf.newaxis]

    def sample(pixels: tf.Tensor, interpolation: str) -> tf.Tensor:
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=pixels[tf.newaxis],
            transforms=transform,
            output_shape=list(crop_size),
            interpolation=interpolation,
            fill_mode="NEAREST",
            fill_value=0.0,
        )[0]

    # One mask for both, as the op's own filling rounds edges that fall on a pixel another way.
    inside = _inside_source(affine, tf.shape(image)[:2], crop_size)
    sampled_image = sample(image, "BILINEAR")
    sampled_label = sample(label[..., tf.newaxis], "NEAREST")[..., 0]
    sampled_label = tf.where_v2(inside, sampled_label, tf.constant(IGNORE_LABEL, tf.uint8))
    sampled_image.set_shape([*crop_size, 3])
    sampled_label.set_shape(crop_size)
    return sampled_image, sampled_label, inside


def _inside_source(affine: tf.Tensor, source_size: tf.Tensor, crop_size: tuple[int, int]) -> tf.Tensor:
    """bool [h, w]: whether the pixel shows the source, which ends half a pixel beyond its outer centres."""
    x = tf.range(crop_size[1], dtype=tf.float32)[tf.newaxis, :]
    y = tf.range(crop_size[0], dtype=tf.float32)[:, tf.newaxis]
    height, width = tf.unstack(tf.cast(source_size, tf.float32))
    source_x = affine[0] * x + affine[1] * y + affine[2]
    source_y = affine[3] * x + affine[4] * y + affine[5]
    inside_x = tf.logical_and(source_x >= -0.5, source_x < width - 0.5)
    return tf.logical_and(inside_x, tf.logical_and(source_y >= -0.5, source_y < height - 0.5))


def jitter_colors(image: tf.Tensor, inside: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Brightness, then saturation, then contrast.

    Args:
        image: float32 [h, w, 3], RGB 0..255.
        inside: bool [h, w], pixels that count for the mean around which contrast is changed.
        draws: float32 [3], uniform in [0, 1).

    Returns:
        float32 [h, w, 3], clipped to 0..255.
    """
    image += _between(draws[0], -BRIGHTNESS_DELTA, BRIGHTNESS_DELTA)
    grey = tf.reduce_sum(image * _LUMA, axis=-1, keepdims=True)
    image = grey + _between(draws[1], *SATURATION_RANGE) * (image - grey)
    weights = tf.cast(inside, tf.float32)[..., tf.newaxis]
    mean = tf.reduce_sum(image * weights, [0, 1]) / tf.maximum(tf.reduce_sum(weights), 1.0)
    image = mean + _between(draws[2], *CONTRAST_RANGE) * (image - mean)
    return tf.clip_by_value(image, 0.0, 255.0)


def gaussian_blur(image: tf.Tensor, sigma: tf.Tensor) -> tf.Tensor:
    """Separable Gaussian blur, the edge repeated: float32 [h, w, 3], sigma in pixels -> float32 [h, w, 3]."""
    positions = tf.range(-_BLUR_RADIUS, _BLUR_RADIUS + 1, dtype=tf.float32)
    kernel = tf.exp(-0.5 * tf.square(positions / sigma))
    kernel /= tf.reduce_sum(kernel)
    # One grey image per channel: [3, h, w, 1], so that the same kernel serves all.
    planes = tf.transpose(image, [2, 0, 1])[..., tf.newaxis]
    for axis, shape in ((1, [-1, 1, 1, 1]), (2, [1, -1, 1, 1])):
        first = tf.gather(planes, tf.zeros([_BLUR_RADIUS], tf.int32), axis=axis)
        last = tf.gather(planes, tf.fill([_BLUR_RADIUS], tf.shape(planes)[axis] - 1), axis=axis)
        padded = tf.concat([first, planes, last], axis=axis)
        planes = tf.nn.conv2d(padded, tf.reshape(kernel, shape), 1, "VALID")
    return tf.transpose(planes[..., 0], [1, 2, 0])


def augment(
    image: tf.Tensor,
    label: tf.Tensor,
    draws: tf.Tensor,
    augmentation: Augmentation,
    image_mean: tuple[float, ...],
) -> tuple[tf.Tensor, tf.Tensor]:
    """A training crop.

    Args:
        image: uint8 [H, W, 3], RGB.
        label: uint8 [H, W], training ids, 255 ignored.
        draws: float32 [NUM_DRAWS], uniform in [0, 1); everything random follows from them.
        augmentation: what to do.
        image_mean: RGB, 0..255.

    Returns:
        `(image, label)`: float32 [h, w, 3], RGB less the mean and 0 outside the source; int32 [h, w],
        255 there.
    """
    affine = draw_affine(draws[:5], tf.shape(image)[:2], augmentation)
    crop, crop_label, inside = warp(tf.cast(image, tf.float32), label, affine, augmentation.crop_size)
    if augmentation.jitter_colors:
        crop = jitter_colors(crop, inside, draws[5:8])
    if augmentation.gaussian_blur:
        sigma = _between(draws[9], *BLUR_SIGMA_RANGE)
        crop = tf.cond(draws[8] < 0.5, lambda: gaussian_blur(crop, sigma), lambda: crop)
        crop.set_shape([*augmentation.crop_size, 3])
    centred = tf.where_v2(inside[..., tf.newaxis], crop - tf.constant(image_mean, tf.float32), tf.zeros_like(crop))
    return centred, tf.cast(crop_label, tf.int32)
