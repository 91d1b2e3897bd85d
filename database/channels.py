"""Describes images whose channels are not red, green and blue of 8 bits, and normalizes and shows them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# The deviation of ImageNet's colours, 0..255, averaged over red, green and blue, which pre-trained weights expect.
USUAL_DEVIATION = 57.6

# Percentiles of a channel that are black and white in pictures.
_BLACK, _WHITE = 2, 98


@dataclass(frozen=True)
class Channels:
    """The channels of the images that a network gets as they are stored, scaled by the input range.

    Attributes:
        count: number of channels.
        mean: of each channel, subtracted from it; None if unknown.
        deviation: standard deviation of each channel, which becomes `USUAL_DEVIATION`; None for no scaling.
    """

    count: int
    mean: tuple[float, ...] | None = None
    deviation: tuple[float, ...] | None = None

    @property
    def offset(self) -> tuple[float, ...]:
        """Returns what is subtracted from each channel."""
        return (0.0,) * self.count if self.mean is None else self.mean

    @property
    def scale(self) -> tuple[float, ...] | None:
        """Returns the factor of each channel after the subtraction; None for no scaling."""
        return None if self.deviation is None else tuple(USUAL_DEVIATION / value for value in self.deviation)

    def normalized(self, image: np.ndarray) -> np.ndarray:
        """Subtracts the mean and scales the deviation: float32 [H, W, count] to float32 [H, W, count]."""
        centred = image - np.asarray(self.offset, np.float32)
        return centred if self.scale is None else centred * np.asarray(self.scale, np.float32)

    def restored(self, image: np.ndarray) -> np.ndarray:
        """Inverts `normalized`."""
        factor = np.float32(1) if self.scale is None else np.asarray(self.scale, np.float32)
        return image / factor + np.asarray(self.offset, np.float32)


def picture(image: np.ndarray) -> np.ndarray:
    """Makes a picture of an image: the first three channels as red, green and blue, or the first as grey.

    The channels of an image that is not of 8 bits are stretched, so that the darkest and the brightest 2 % of each are
    black and white.

    Args:
        image: uint8 [H, W, 3], which is returned, or float32 [H, W, channels] of finite numbers.

    Returns:
        uint8 [H, W, 3].
    """
    if image.dtype == np.uint8:
        return image
    shown = image[..., :3] if image.shape[2] >= 3 else image[..., [0, 0, 0]]
    low, high = np.percentile(shown, (_BLACK, _WHITE), axis=(0, 1))
    span = np.where(high > low, high - low, 1.0)
    return np.clip(np.rint((shown - low) * (255.0 / span)), 0, 255).astype(np.uint8)
