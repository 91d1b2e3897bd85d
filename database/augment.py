"""Augmentations as pure operations on one (image, label) pair.

Mirror, scale, rotation and crop are one affine map from crop to source coordinates, so every pixel is read once, and
image and label are sampled on the same grid. All colour changes are one affine map too. Only the part of the source
that the crop shows is read. Nothing here draws random numbers: the caller passes uniform numbers, so that a sample is a
function of its seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import tensorflow.compat.v1 as tf

from database.classes import IGNORE_LABEL
from database.colors import between, color_jitter, finished
from database.mixing import cutout
from database.warping import inside_source, shows_only_source, warp

NUM_DRAWS = 10
# After them: the factors of `color_jitter`, the centre for `cutout`.
_JITTER_DRAWS, _CUTOUT_DRAWS = slice(10, 14), slice(14, 16)
_ALL_DRAWS = 16


@dataclass(frozen=True)
class Augmentation:
    """Settings of the augmentation of a training sample.

    Attributes:
        crop_size: (height, width) of the output.
        scale_range: scale factor of both sides, drawn uniformly; (1, 1) for none.
        max_rotation: degrees to either side, drawn uniformly; 0 for none.
        mirror: mirror left to right, with probability 1/2.
        jitter_colors: change brightness, saturation and contrast at random.
        gaussian_blur: blur, with probability 1/2.
        color_jitter: strength of `colors.color_jitter`; 0 for none.
        cutout: side of the square that is cut out, as a fraction of the shorter side of the crop; 0 for none.
    """

    crop_size: tuple[int, int]
    scale_range: tuple[float, float] = (1.0, 1.0)
    max_rotation: float = 0.0
    mirror: bool = False
    jitter_colors: bool = False
    gaussian_blur: bool = False
    color_jitter: float = 0.0
    cutout: float = 0.0

    @property
    def num_draws(self) -> int:
        """Returns how many uniform numbers a sample needs."""
        return _ALL_DRAWS if self.color_jitter or self.cutout else NUM_DRAWS

    @property
    def is_upright(self) -> bool:
        """Returns whether sources are scaled but not rotated.

        Sources that are only cropped are excluded, because the general kernel samples them exactly.
        """
        return self.max_rotation == 0.0 and self.scale_range != (1.0, 1.0)


def draw_affine(draws: tf.Tensor, source_size: tf.Tensor, augmentation: Augmentation) -> tf.Tensor:
    """Computes the map from crop pixels to source pixels from a sample's draws.

    The source is scaled, rotated about its centre inside its own (scaled) frame, cropped at a random place, and
    mirrored. A frame smaller than the crop is centred in it.

    Args:
        draws: float32 [5], uniform in [0, 1): scale, rotation, row, column, mirror.
        source_size: int32 [2], height and width of the source.
        augmentation: ranges.

    Returns:
        float32 [6], (a0, a1, a2, b0, b1, b2): crop pixel (x, y) shows source pixel
        (a0 x + a1 y + a2, b0 x + b1 y + b2), with pixel centres at whole numbers.
    """
    crop = tf.constant(augmentation.crop_size, tf.float32)
    scale = between(draws[0], *augmentation.scale_range)
    radians = math.radians(augmentation.max_rotation)
    angle = between(draws[1], -radians, radians)
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


def rows_shown(draws: np.ndarray, height: int, augmentation: Augmentation) -> int:
    """Computes how many rows of a source, counted from the first, a sample's crop is made from.

    Args:
        draws: see `draw_affine`.
        height: rows of the source.
        augmentation: ranges.

    Returns:
        1 to `height`, at least up to the last row of `part_shown`, with a margin for a crop position that is rounded
        differently. With rotation, all rows.
    """
    scale = between(float(draws[0]), *augmentation.scale_range)
    frame = max(round(height * scale), 1)
    room = frame - augmentation.crop_size[0]
    if augmentation.max_rotation or room <= 0:
        return height
    offset = math.floor(float(draws[2]) * (room + 1))
    end = (offset + augmentation.crop_size[0]) * height / frame
    return min(math.ceil(end + 2 * height / frame) + 3, height)


def draws_showing(
    pixel: tuple[int, int],
    source_size: tuple[int, ...],
    places: np.ndarray,
    draws: np.ndarray,
    augmentation: Augmentation,
) -> np.ndarray:
    """Changes the row and column of a sample's draws so that its crop shows a pixel of the source.

    Every crop position that shows the pixel is equally likely. If rotation moves the pixel out of the frame, the crop
    shows the place of the frame that is nearest to it.

    Args:
        pixel: row and column in the source.
        source_size: height and width of the source.
        places: float [2] in [0, 1): which of these rows and columns.
        draws: float32 [augmentation.num_draws], see `draw_affine`.
        augmentation: ranges.

    Returns:
        float32 [num_draws].
    """
    size, crop = np.array(source_size, np.float64), np.array(augmentation.crop_size)
    radians = math.radians(augmentation.max_rotation)
    angle = between(float(draws[1]), -radians, radians)
    frame = np.maximum(np.round(size * between(float(draws[0]), *augmentation.scale_range)), 1.0)
    # The inverse of the map of `draw_affine`, from the source to its frame.
    y, x = (np.array(pixel) - (size - 1.0) / 2.0) * frame / size
    turned = np.array([math.cos(angle) * y - math.sin(angle) * x, math.cos(angle) * x + math.sin(angle) * y])
    place = np.clip(np.round(turned + (frame - 1.0) / 2.0), 0.0, frame - 1.0)
    room = frame - crop
    first, last = np.maximum(place - crop + 1.0, 0.0), np.minimum(place, room)
    offset = first + np.floor(places * (last - first + 1.0))
    moved = draws.copy()
    moved[2:4] = np.where(room > 0.0, (offset + 0.5) / (np.maximum(room, 0.0) + 1.0), draws[2:4])
    return moved


def augment(
    image: tf.Tensor,
    label: tf.Tensor,
    draws: tf.Tensor,
    augmentation: Augmentation,
    image_mean: tuple[float, ...],
    source_height: tf.Tensor | None = None,
    image_scale: tuple[float, ...] | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Augments one sample to a training crop.

    Args:
        image: uint8 [H, W, 3], RGB, or float32 [H, W, channels]; rows after the first `rows_shown` may be missing.
        label: uint8 [H, W], training ids, 255 ignored; rows may be missing as in the image.
        draws: float32 [augmentation.num_draws], uniform in [0, 1); all random choices follow from them.
        augmentation: the settings.
        image_mean: RGB, 0..255, or of each channel.
        source_height: int scalar, rows of the whole source; None if no rows are missing.
        image_scale: factor of each channel after the mean is subtracted; None for no scaling.

    Returns:
        `(image, label)`: float32 [h, w, channels], less the mean and 0 outside the source; int32 [h, w], 255 there.
    """
    size, crop_size = tf.shape(image)[:2], augmentation.crop_size
    if source_height is not None:
        size = tf.stack([tf.cast(source_height, tf.int32), size[1]])
    affine = draw_affine(draws[:5], size, augmentation)
    recolored = partial(_recolored, draws=draws, augmentation=augmentation, image_mean=image_mean, scale=image_scale)

    def inside_only() -> tuple[tf.Tensor, tf.Tensor]:
        crop, crop_label = warp(image, label, affine, size, crop_size, upright=augmentation.is_upright)
        return recolored(crop, None), crop_label

    def with_outside() -> tuple[tf.Tensor, tf.Tensor]:
        crop, crop_label = warp(image, label, affine, size, crop_size)
        inside = inside_source(affine, size, crop_size)
        centred = recolored(crop, inside)
        return centred, tf.where_v2(inside, crop_label, tf.constant(IGNORE_LABEL, tf.uint8))

    # Most crops lie inside the source and need no mask.
    complete = shows_only_source(affine, size, crop_size)
    centred, ids = tf.cond(complete, inside_only, with_outside)
    if augmentation.cutout:
        centred, ids = cutout(centred, ids, draws[_CUTOUT_DRAWS], augmentation.cutout)
    return tf.ensure_shape(centred, [*crop_size, image.shape[-1]]), tf.cast(tf.ensure_shape(ids, crop_size), tf.int32)


def _recolored(
    crop: tf.Tensor,
    inside: tf.Tensor | None,
    draws: tf.Tensor,
    augmentation: Augmentation,
    image_mean: tuple[float, ...],
    scale: tuple[float, ...] | None,
) -> tf.Tensor:
    """Changes the colours of a crop and subtracts the mean; see `colors.finished`."""
    if augmentation.color_jitter:
        crop = color_jitter(crop, inside, augmentation.color_jitter, draws[_JITTER_DRAWS])
    return finished(crop, inside, draws, augmentation, image_mean, scale)
