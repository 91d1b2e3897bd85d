"""Chooses the image of a training sample, with repeats of images that show rare classes, or by a class drawn first.

Nothing here draws random numbers: the caller passes uniform numbers, so that a choice is a function of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

TEMPERATURE = 0.01
# Uniform numbers that `Sampling.choose` takes.
CHOICE_DRAWS = 3


class Choice(NamedTuple):
    """The image of a sample.

    Attributes:
        image: position in the list of samples.
        train_id: the class that the crop has to show; None for any crop.
    """

    image: int
    train_id: int | None


def class_frequencies(counts: np.ndarray) -> np.ndarray:
    """Computes the share of each class in the pixels that belong to a class: int64 [N, C] -> float64 [C]."""
    pixels = counts.sum(axis=0)
    return pixels / max(pixels.sum(), 1)


def class_probabilities(counts: np.ndarray, temperature: float = TEMPERATURE) -> np.ndarray:
    """Computes how often each class is drawn: rare class sampling of DAFormer (Hoyer et al. 2022, section 3.3).

    P(c) is proportional to exp((1 - f_c) / temperature), where f_c is the share of class c in the pixels. As in the
    authors' code, ignored pixels do not count. P(c) hardly differs among classes that are much rarer than the
    temperature, so that a class with a handful of pixels is not shown in every crop.

    Args:
        counts: int64 [N, C], pixels of each class in each image.
        temperature: above 0; all classes are drawn equally often if it is large.

    Returns:
        float64 [C] with sum 1; 0 for a class that no image shows.
    """
    frequencies = class_frequencies(counts)
    shown = frequencies > 0
    exponents = np.where(shown, -frequencies / temperature, -np.inf)
    weights = np.exp(exponents - exponents[shown].max(initial=-np.inf)) if shown.any() else np.zeros(len(shown))
    return weights / max(weights.sum(), 1e-300)


def repeat_factors(counts: np.ndarray, threshold: float) -> np.ndarray:
    """Computes how often a round shows each image: repeat factor sampling of LVIS (Gupta et al. 2019, section 4.1).

    With f(c), the fraction of images that show class c, r(c) = max(1, sqrt(threshold / f(c))), and the factor of an
    image is the largest r(c) of its classes.

    Args:
        counts: int64 [N, C], pixels of each class in each image.
        threshold: the fraction of images below which a class is rare, 0 to 1.

    Returns:
        float64 [N], 1 or more.
    """
    shows = counts > 0
    of_class = np.maximum(1.0, np.sqrt(threshold / np.maximum(shows.mean(axis=0), 1e-300)))
    return np.where(shows, of_class, 1.0).max(axis=1, initial=1.0)


class ClassDraws:
    """Draws a class, then one of the images that show it, all of which are equally likely."""

    def __init__(self, counts: np.ndarray, temperature: float = TEMPERATURE) -> None:
        """Takes the pixel counts int64 [N, C], some of them above 0, and the temperature of `class_probabilities`."""
        self.probabilities = class_probabilities(counts, temperature)
        self.images = [np.flatnonzero(of_class) for of_class in counts.T]
        self._ends = np.cumsum(self.probabilities)
        self._last = int(np.flatnonzero(self.probabilities)[-1])

    def choose(self, class_draw: float, image_draw: float) -> Choice:
        """Returns the choice by two numbers in [0, 1)."""
        train_id = min(int(np.searchsorted(self._ends, class_draw, side="right")), self._last)
        images = self.images[train_id]
        return Choice(int(images[int(image_draw * len(images))]), train_id)


class Sampling:
    """How the images of training samples are chosen.

    Attributes:
        num_images: number of images, N.
        round_length: samples of a round, which shows every image as often as its repeats say. Without repeats, this is
            an epoch, N samples.
        class_crops: fraction of the samples for which a class is drawn first.
        class_mix: fraction of the samples onto which classes of another image are pasted, see `mixing.class_mix`.
    """

    def __init__(
        self,
        num_images: int,
        *,
        repeats: np.ndarray | None = None,
        class_crops: float = 0.0,
        classes: ClassDraws | None = None,
        class_mix: float = 0.0,
    ) -> None:
        """Stores the settings.

        Args:
            num_images: number of images.
            repeats: float64 [N], how often a round shows each image on average; None for once.
            class_crops: see the attribute; needs `classes` if it is above 0.
            classes: draws classes.
            class_mix: see the attribute.
        """
        self.num_images = num_images
        self.repeats = repeats
        self.class_crops = class_crops
        self.classes = classes
        self.class_mix = class_mix
        self.round_length = num_images if repeats is None else round(float(repeats.sum()))
        if repeats is not None:
            self._ends = np.cumsum(repeats) * (self.round_length / repeats.sum())

    def choose(self, slot: float, draws: np.ndarray) -> Choice:
        """Chooses the image of a sample.

        With repeats, the slots k + u of a round, with one u for all k, are a systematic sample of the images: an image
        with r repeats is shown floor(r) or ceil(r) times, r times on average.

        Args:
            slot: k + u: a whole number from 0 to `round_length` - 1, plus a number in [0, 1).
            draws: float [CHOICE_DRAWS] in [0, 1): whether a class is drawn, which, and the image that shows it.
        """
        if self.classes is not None and draws[0] < self.class_crops:
            return self.classes.choose(float(draws[1]), float(draws[2]))
        if self.repeats is None:
            return Choice(int(slot), None)
        return Choice(min(int(np.searchsorted(self._ends, slot, side="right")), self.num_images - 1), None)

    def image_shares(self) -> np.ndarray:
        """Computes the expected share of each image in the samples: float64 [N] with sum 1."""
        repeats = np.ones(self.num_images) if self.repeats is None else self.repeats
        shares = (1.0 - self.class_crops) * repeats / repeats.sum()
        if self.classes is not None:
            for probability, images in zip(self.classes.probabilities, self.classes.images, strict=True):
                shares[images] += self.class_crops * probability / max(len(images), 1)
        return shares
