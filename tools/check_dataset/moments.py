"""Mean and deviation of the channels of images, summed up without loss of precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Moments:
    """The mean of each channel over some pixels, and the sums of squared distances from it.

    Attributes:
        pixels: number of pixels.
        means: float64 [channels].
        squares: float64 [channels].
    """

    pixels: int
    means: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, pixels: np.ndarray) -> Moments:
        """Computes the moments of an image [H, W, channels], or of pixels [N, channels] with N above 0."""
        means, squares = [], []
        for channel in np.moveaxis(pixels, -1, 0):
            values = channel.astype(np.float64)
            means.append(values.mean())
            squares.append(((values - means[-1]) ** 2).sum())
        return cls(pixels[..., 0].size, np.array(means), np.array(squares))

    def __add__(self, other: Moments) -> Moments:
        """Returns the moments of the pixels of both (Chan, Golub and LeVeque 1979, equation 2.1)."""
        pixels, step = self.pixels + other.pixels, other.means - self.means
        means = self.means + step * (other.pixels / pixels)
        squares = self.squares + other.squares + step**2 * (self.pixels * other.pixels / pixels)
        return Moments(pixels, means, squares)

    @property
    def deviations(self) -> np.ndarray:
        """Standard deviation of each channel, float64 [channels]."""
        return np.sqrt(self.squares / self.pixels)
