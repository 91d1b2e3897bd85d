"""The prediction for one image, and what is kept of it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np


class Wanted(NamedTuple):
    """What is kept of a prediction beside the labels.

    Attributes:
      probabilities: dtype in which the probabilities of all classes are kept: float32 or float16, or uint8 for
        round(255 p); None to keep none of them.
      confidence: whether to keep the largest probability of each pixel.
      label: training ids [H, W] of the image, to keep the probability of each pixel's label; None to keep none. Ids
        that are no class, such as the ignored one, get the probability 0.
    """

    probabilities: type[np.generic] | None = None
    confidence: bool = False
    label: np.ndarray | None = None


class Prediction(NamedTuple):
    """The prediction for one image; None for what was not wanted.

    Attributes:
      labels: the most probable class of each pixel, [H, W], 0..num_classes-1: uint8, or uint16 for more than 256
        classes.
      probabilities: [H, W, num_classes], see `Wanted`.
      confidence: float32 [H, W], the largest probability of each pixel.
      of_label: float32 [H, W], the probability of each pixel's label.
    """

    labels: np.ndarray
    probabilities: np.ndarray | None = None
    confidence: np.ndarray | None = None
    of_label: np.ndarray | None = None


LABELS_ONLY = Wanted()


class PredictsImages(Protocol):
    """Predicts images, as `tools.prediction.predictor.Predictor` does."""

    def predict(self, image: np.ndarray, wanted: Wanted = LABELS_ONLY) -> Prediction:
        """Predicts an image, uint8 [H, W, 3], RGB; the labels are training ids."""
