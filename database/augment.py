"""Augmentations as pure operations on one (image, label) pair.

Mirror, scale, rotation and crop are one affine map from crop to source coordinates, so every pixel is read
once and image and label are sampled on the same grid by construction. All changes of colours are one affine map too.
Only the part of the source that the crop shows is looked at. Nothing here draws random numbers of its own: the caller
hands in uniform numbers, which makes a sample a function of its seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

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


class ColorAugmentation(Protocol):
    """What to do to the colours of a training sample."""

    @property
    def jitter_colors(self) -> bool:
        """Draw brightness, saturation and contrast."""

    @property
    def gaussian_blur(self) -> bool:
        """Blur, half of the time."""


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

    @property
    def is_upright(self) -> bool:
        """Whether sources are scaled and not rotated. Those that are only cropped are sampled to the bit otherwise."""
        return self.max_rotation == 0.0 and self.scale_range != (1.0, 1.0)


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


def _corners(affine: tf.Tensor, crop_size: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Columns and rows of the source, float32 [4] each, that the corners of a crop show."""
    x = tf.constant([0.0, crop_size[1] - 1.0, 0.0, crop_size[1] - 1.0])
    y = tf.constant([0.0, 0.0, crop_size[0] - 1.0, crop_size[0] - 1.0])
    return affine[0] * x + affine[1] * y + affine[2], affine[3] * x + affine[4] * y + affine[5]


def part_shown(affine: tf.Tensor, source_size: tf.Tensor, crop_size: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    """The part of the source that a crop is interpolated from.

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
    # One pixel more on either side than interpolation needs, for what rounding does.
    first = tf.clip_by_value(tf.cast(tf.floor(lowest), tf.int32) - 1, 0, source_size - 1)
    end = tf.clip_by_value(tf.cast(tf.floor(highest), tf.int32) + 3, first + 1, source_size)
    return first, end - first


def shows_source_alone(affine: tf.Tensor, source_size: tf.Tensor, crop_size: tuple[int, int]) -> tf.Tensor:
    """Whether no pixel of a crop lies outside the source: a bool scalar, False where that is too close to tell."""
    columns, rows = _corners(affine, crop_size)
    height, width = tf.unstack(tf.cast(source_size, tf.float32))
    columns_inside = tf.logical_and(columns >= -0.25, columns <= width - 0.75)
    return tf.reduce_all(tf.logical_and(columns_inside, tf.logical_and(rows >= -0.25, rows <= height - 0.75)))


def warp(
    image: tf.Tensor, label: tf.Tensor, affine: tf.Tensor, crop_size: tuple[int, int], *, upright: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """Samples image (bilinear) and label (nearest) through one affine map, the edge repeated outside the source.

    Args:
        image: uint8 [H, W, 3].
        label: uint8 [H, W].
        affine: float32 [6], see `draw_affine`.
        crop_size: (height, width) of the output.
        upright: the map does not rotate, and nothing outside the source is shown; takes a third of the time.

    Returns:
        `(image, label)`: float32 [h, w, 3] and uint8 [h, w].
    """
    first, size = part_shown(affine, tf.shape(image)[:2], crop_size)
    image = tf.slice(image, tf.pad(first, [[0, 1]]), tf.concat([size, [3]], 0))
    label = tf.slice(label, first, size)[..., tf.newaxis]
    row, column = tf.unstack(tf.cast(first, tf.float32))
    inside_part = affine - tf.stack([0.0, 0.0, column, 0.0, 0.0, row])
    sample = _sample_upright if upright else _sample
    sampled_image = sample(image, inside_part, crop_size, "bilinear")
    sampled_label = sample(label, inside_part, crop_size, "nearest")[..., 0]
    sampled_image.set_shape([*crop_size, 3])
    sampled_label.set_shape(crop_size)
    return tf.cast(sampled_image, tf.float32), tf.cast(sampled_label, tf.uint8)


def _sample(pixels: tf.Tensor, affine: tf.Tensor, crop_size: tuple[int, int], method: str) -> tf.Tensor:
    """uint8 [H, W, C] -> [h, w, C] through any affine map: float32, or uint8 from the nearest pixels."""
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=(pixels if method == "nearest" else tf.cast(pixels, tf.float32))[tf.newaxis],
        transforms=tf.pad(affine, [[0, 2]])[tf.newaxis],
        output_shape=list(crop_size),
        interpolation=method.upper(),
        fill_mode="NEAREST",
        fill_value=0.0,
    )[0]


def _sample_upright(pixels: tf.Tensor, affine: tf.Tensor, crop_size: tuple[int, int], method: str) -> tf.Tensor:
    """uint8 [H, W, C] -> float32 [h, w, C] through a map without rotation."""
    # The kernel ends at the outer pixel centres: repeat the edge, which half a pixel more is interpolated from.
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
    """bool [h, w]: whether the pixel shows the source, which ends half a pixel beyond its outer centres.

    One mask for image and label, as the filling of the sampling operation rounds edges that fall on a pixel another
    way.
    """
    x = tf.range(crop_size[1], dtype=tf.float32)[tf.newaxis, :]
    y = tf.range(crop_size[0], dtype=tf.float32)[:, tf.newaxis]
    height, width = tf.unstack(tf.cast(source_size, tf.float32))
    source_x = affine[0] * x + affine[1] * y + affine[2]
    source_y = affine[3] * x + affine[4] * y + affine[5]
    inside_x = tf.logical_and(source_x >= -0.5, source_x < width - 0.5)
    return tf.logical_and(inside_x, tf.logical_and(source_y >= -0.5, source_y < height - 0.5))


def jitter_colors(image: tf.Tensor, inside: tf.Tensor | None, draws: tf.Tensor) -> tf.Tensor:
    """Brightness, then saturation, then contrast, in one affine map of colours.

    With brightness b, saturation s and contrast c, x + b becomes S x + b, where S = s I + (1 - s) 1 luma^T keeps grey;
    its mean is S mean + b, and moving away from that by c gives c S x + (1 - c) S mean + b.

    Args:
        image: float32 [h, w, 3], RGB 0..255.
        inside: bool [h, w], pixels that count for the mean around which contrast is changed; None for all.
        draws: float32 [3], uniform in [0, 1).

    Returns:
        float32 [h, w, 3], clipped to 0..255.
    """
    brightness = _between(draws[0], -BRIGHTNESS_DELTA, BRIGHTNESS_DELTA)
    saturation = _between(draws[1], *SATURATION_RANGE)
    contrast = _between(draws[2], *CONTRAST_RANGE)
    # Colours are rows here, so that matrices stand on the right.
    saturate = saturation * tf.eye(3) + (1.0 - saturation) * tf.constant(_LUMA)[:, tf.newaxis]
    mean = _mean_color(image, inside)[tf.newaxis]
    offset = (1.0 - contrast) * tf.matmul(mean, saturate)[0] + brightness
    mixed = tf.reshape(tf.matmul(tf.reshape(image, [-1, 3]), contrast * saturate), _shape(image))
    return tf.clip_by_value(_plus_color(mixed, offset), 0.0, 255.0)


def _plus_color(image: tf.Tensor, color: tf.Tensor) -> tf.Tensor:
    """[h, w, 3] + [3], by whole rows: to broadcast three values takes five times as long."""
    height, width, _ = _shape(image)
    rows = tf.reshape(image, [height, 3 * width]) + tf.tile(color, [width])
    return tf.ensure_shape(tf.reshape(rows, _shape(image)), image.shape)


def _shape(x: tf.Tensor) -> list[int | tf.Tensor]:
    """The sizes of `x`, each an int where it is known."""
    return [tf.shape(x)[i] if size is None else size for i, size in enumerate(x.shape.as_list())]


def _mean_color(image: tf.Tensor, inside: tf.Tensor | None) -> tf.Tensor:
    """float32 [3]; 0 where no pixel counts."""
    if inside is None:
        return tf.reduce_mean(tf.reduce_mean(image, 0), 0)
    weights = tf.cast(inside, tf.float32)[..., tf.newaxis]
    return tf.reduce_sum(image * weights, [0, 1]) / tf.maximum(tf.reduce_sum(weights), 1.0)


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
    size, crop_size = tf.shape(image)[:2], augmentation.crop_size
    affine = draw_affine(draws[:5], size, augmentation)

    def inside_alone() -> tuple[tf.Tensor, tf.Tensor]:
        crop, crop_label = warp(image, label, affine, crop_size, upright=augmentation.is_upright)
        return finished(crop, None, draws, augmentation, image_mean), crop_label

    def with_outside() -> tuple[tf.Tensor, tf.Tensor]:
        crop, crop_label = warp(image, label, affine, crop_size)
        inside = inside_source(affine, size, crop_size)
        centred = finished(crop, inside, draws, augmentation, image_mean)
        return centred, tf.where_v2(inside, crop_label, tf.constant(IGNORE_LABEL, tf.uint8))

    # Most crops show the source alone, and need no mask.
    complete = shows_source_alone(affine, size, crop_size)
    centred, ids = tf.cond(complete, inside_alone, with_outside)
    return tf.ensure_shape(centred, [*crop_size, 3]), tf.cast(tf.ensure_shape(ids, crop_size), tf.int32)


def finished(
    crop: tf.Tensor,
    inside: tf.Tensor | None,
    draws: tf.Tensor,
    augmentation: ColorAugmentation,
    image_mean: tuple[float, ...],
) -> tf.Tensor:
    """An image with its colours changed and blurred, as far as asked for, less the mean, and 0 outside the source.

    Args:
        crop: float32 [h, w, 3], RGB 0..255.
        inside: bool [h, w], pixels of the source; None for all.
        draws: float32 [NUM_DRAWS], uniform in [0, 1).
        augmentation: what to do.
        image_mean: RGB, 0..255.

    Returns:
        float32 [h, w, 3].
    """
    if augmentation.jitter_colors:
        crop = jitter_colors(crop, inside, draws[5:8])
    if augmentation.gaussian_blur:
        sigma = _between(draws[9], *BLUR_SIGMA_RANGE)
        blurred = tf.cond(draws[8] < 0.5, lambda: gaussian_blur(crop, sigma), lambda: crop)
        crop = tf.ensure_shape(blurred, crop.shape)
    centred = _plus_color(crop, -tf.constant(image_mean, tf.float32))
    return centred if inside is None else tf.where_v2(inside[..., tf.newaxis], centred, 0.0)
