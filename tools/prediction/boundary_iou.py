"""Boundary IoU: scores only the pixels near the outlines of the classes, where large regions hide errors otherwise.

Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation" (CVPR 2021), equation 2.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

from database.classes import IGNORE_LABEL
from tools.prediction.metrics import ratios_of
from tools.prediction.score_sections import ScoreSection

# Width of the boundary as a fraction of the image's diagonal, section 4.1 of the paper.
DIAGONAL_FRACTION = 0.02


def boundary_width(height: int, width: int, fraction: float = DIAGONAL_FRACTION) -> int:
    """Returns the width of the boundaries of an image in pixels, 1 or more."""
    return max(1, round(fraction * math.hypot(height, width)))


def boundary_pixels(labels: np.ndarray, width: int) -> np.ndarray:
    """Finds the pixels near the outline of their own region.

    Args:
        labels: integers [H, W].
        width: pixels. A pixel is near the outline if a pixel of another label, or one outside the image, is at most
            this far away along both axes; these are the pixels that `width` erosions with a 3x3 square remove.

    Returns:
        bool [H, W].
    """
    # A pixel outside has the label -1, which no class has.
    padded = np.pad(labels.astype(np.int32), 1, constant_values=-1)
    size = 2 * width + 1
    differs = maximum_filter(padded, size, mode="nearest") != minimum_filter(padded, size, mode="nearest")
    return differs[1:-1, 1:-1]


class BoundaryIou:
    """Counts the pixels near outlines by class over a set of images."""

    def __init__(self, num_classes: int, fraction: float = DIAGONAL_FRACTION) -> None:
        """Creates empty counts for classes 0..num_classes-1; for the fraction see `boundary_width`."""
        self._num_classes, self._fraction = num_classes, fraction
        self._hits, self._true, self._predicted = np.zeros((3, num_classes), np.int64)

    def process(self, label: np.ndarray, prediction: np.ndarray) -> None:
        """Counts the pixels of one image.

        Pixels that are ignored in the label are ignored in the prediction too, so that outlines along them are the
        same in both.

        Args:
            label: training ids [H, W], 255 ignored.
            prediction: training ids [H, W]; 255 for none.
        """
        predicted = np.where(label == IGNORE_LABEL, IGNORE_LABEL, prediction)
        width = boundary_width(label.shape[0], label.shape[1], self._fraction)
        near_true = boundary_pixels(label, width) & (label != IGNORE_LABEL)
        near_predicted = boundary_pixels(predicted, width) & (predicted != IGNORE_LABEL)
        self._true += self._count(label[near_true])
        self._predicted += self._count(predicted[near_predicted])
        self._hits += self._count(label[near_true & near_predicted & (label == predicted)])

    def _count(self, ids: np.ndarray) -> np.ndarray:
        return np.bincount(ids, minlength=self._num_classes)

    def iou(self) -> tuple[float | None, ...]:
        """Returns the boundary IoU of each class, 0..1; None if the class occurs neither in labels nor predictions."""
        return ratios_of(self._hits, self._true + self._predicted - self._hits)

    def section(self, class_names: tuple[str, ...]) -> ScoreSection:
        """Returns the scores by the names of the classes."""
        rows = {name: (iou,) for name, iou in zip(class_names, self.iou(), strict=True)}
        return ScoreSection("boundaries", "class", {"boundary_iou": "boundary IoU %"}, rows)
