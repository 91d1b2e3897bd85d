"""Segmentation scores from one confusion matrix over a whole set of images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scores:
    """Scores as fractions 0..1; Long et al., "Fully Convolutional Networks" (CVPR 2015), section 5.

    n[i, j] is the number of pixels of class i predicted as j, t[i] of class i, p[i] predicted as i.

    Attributes:
      iou: n[i, i] / (t[i] + p[i] - n[i, i]) per class. None if the class is absent from labels and predictions; 0
        if it is absent from the labels but predicted.
      accuracy: recall n[i, i] / t[i] per class. None if the class is absent from the labels.
      mean_iou: the mean of `iou` without the Nones.
      mean_accuracy: the mean of `accuracy` without the Nones.
      pixel_accuracy: sum of n[i, i] / pixels.
      frequency_weighted_iou: sum of t[i] * iou[i] / pixels.
      pixels: number of pixels that are not ignored. If it is 0, the four scores above are nan.
      images: number of images processed.
      loss: mean of -log of the probability of a pixel's label, in nats; None if it was not computed. The probabilities
        are those that the labels are chosen by: averages over windows, scales and mirrored copies.
    """

    iou: tuple[float | None, ...]
    accuracy: tuple[float | None, ...]
    mean_iou: float
    mean_accuracy: float
    pixel_accuracy: float
    frequency_weighted_iou: float
    pixels: int
    images: int
    loss: float | None = None

    @property
    def dice(self) -> tuple[float | None, ...]:
        """Dice coefficients 2 n[i, i] / (t[i] + p[i]) per class, Dice (1945); None where `iou` is None."""
        return tuple(None if iou is None else 2 * iou / (1 + iou) for iou in self.iou)

    @property
    def mean_dice(self) -> float:
        """The mean of `dice` without the Nones; nan without pixels."""
        return mean_of_present(self.dice)

    @property
    def overall_score(self) -> float:
        """The mean of mean IoU and pixel accuracy, by which the MIT Scene Parsing Benchmark ranks; nan without pixels.

        Zhou et al., "Semantic Understanding of Scenes through the ADE20K Dataset" (IJCV 2019).
        """
        return (self.mean_iou + self.pixel_accuracy) / 2


def only_predicted_class(scores: Scores) -> int | None:
    """Returns the class that every scored pixel was predicted as, if the labels have others too; otherwise None."""
    labelled = {index: accuracy for index, accuracy in enumerate(scores.accuracy) if accuracy is not None}
    hit = [index for index, accuracy in labelled.items() if accuracy > 0]
    if len(labelled) < 2 or len(hit) != 1 or labelled[hit[0]] < 1:
        return None
    # The pixels of the other classes were predicted as this one only if its IoU is its share of all pixels.
    [index] = hit
    iou = scores.iou[index]
    return index if iou is not None and math.isclose(iou, scores.pixel_accuracy) else None


def classes_never_hit(scores: Scores) -> list[int]:
    """Returns the classes that occur in the labels, but of which no pixel was predicted correctly."""
    return [index for index, accuracy in enumerate(scores.accuracy) if accuracy == 0]


class MeanLoss:
    """Averages -log of the probability of the label over the pixels of a set of images that are not ignored."""

    def __init__(self, ignore_label: int = 255) -> None:
        self._ignore_label = ignore_label
        self._sums: list[float] = []
        self._pixels = 0

    def process(self, label: np.ndarray, of_label: np.ndarray) -> None:
        """Adds the pixels of one image.

        Args:
          label: class ids [H, W], or `ignore_label`.
          of_label: float32 [H, W], the probability of each pixel's label; 0 counts as the smallest positive number.
        """
        probabilities = of_label[label != self._ignore_label]
        smallest = np.finfo(np.float32).tiny
        self._sums.append(-float(np.log(np.maximum(probabilities, smallest)).sum(dtype=np.float64)))
        self._pixels += probabilities.size

    @property
    def value(self) -> float | None:
        """The mean; None without pixels. It does not depend on the order of the images."""
        return math.fsum(self._sums) / self._pixels if self._pixels else None

    def parts(self) -> np.ndarray:
        """Returns the number of pixels, then the sum of each image: float64 [1 + images]."""
        return np.array([self._pixels, *self._sums], np.float64)

    def set_parts(self, parts: Sequence[np.ndarray]) -> None:
        """Replaces what was processed by that of several others, see `parts`."""
        self._pixels = int(sum(part[0] for part in parts))
        self._sums = [float(value) for part in parts for value in part[1:]]


class ConfusionMatrix:
    """Counts pixels by true and predicted class over a set of images."""

    def __init__(self, num_classes: int, ignore_label: int = 255, missed_label: int | None = None) -> None:
        """Creates an empty matrix.

        Args:
          num_classes: number of classes, 1 or more; their ids are 0..num_classes-1.
          ignore_label: pixels with this label are ignored, even if it is also a class id.
          missed_label: pixels with this prediction are predicted as no class. They count as pixels of their true class
            only, as in cityscapesScripts and semseg. None if predictions always have a class.

        Raises:
          ValueError: num_classes is below 1.
        """
        if num_classes < 1:
            raise ValueError(
                f"num_classes is {num_classes}: a confusion matrix needs 1 class or more; "
                "pass the dataset's number of classes"
            )
        self.num_classes = num_classes
        self.ignore_label = ignore_label
        self._missed_label = missed_label
        self._matrix = np.zeros((num_classes, num_classes), np.int64)
        self._missed = np.zeros(num_classes, np.int64)
        self._images = 0

    @property
    def matrix(self) -> np.ndarray:
        """A copy of the counts, int64 [num_classes, num_classes]; rows are true classes, columns predicted ones."""
        return self._matrix.copy()

    @property
    def missed(self) -> np.ndarray:
        """A copy of the counts of pixels that are predicted as no class, int64 [num_classes], by true class."""
        return self._missed.copy()

    @property
    def images(self) -> int:
        """The number of images that were counted."""
        return self._images

    def counts(self) -> np.ndarray:
        """Returns all that was counted as one vector, int64, for sums over several processes."""
        return np.concatenate([self._matrix.ravel(), self._missed, [self._images]])

    def set_counts(self, counts: np.ndarray) -> None:
        """Replaces what was counted by a vector as of `counts`."""
        matrix, missed, images = np.split(counts, np.cumsum([self.num_classes**2, self.num_classes]))
        self._matrix, self._missed, self._images = matrix.reshape(self._matrix.shape), missed, int(images[0])

    def process(self, label: np.ndarray, prediction: np.ndarray) -> None:
        """Counts the pixels of one image, or of N images.

        Args:
          label: integers [H, W], or [N, H, W] for N images; class ids or ignore_label.
          prediction: integers of the same shape; class ids. Any value is allowed where the label is ignored.

        Raises:
          ValueError: the shapes differ, an array is not of integers, or an id is outside its range. The counts do
            not change.
        """
        label, prediction = np.asarray(label), np.asarray(prediction)
        if label.shape != prediction.shape:
            raise ValueError(
                f"prediction has shape {list(prediction.shape)}, label {list(label.shape)}: "
                "expected the same; resize the logits to the label before taking the argmax"
            )
        _check_integers("label", label)
        _check_integers("prediction", prediction)
        valid = label != self.ignore_label
        truth, predicted = label[valid], prediction[valid]
        self._check_range("label", truth, f" or {self.ignore_label} (ignored)")
        missed = truth[:0]
        if self._missed_label is not None:
            is_missed = predicted == self._missed_label
            missed, truth, predicted = truth[is_missed], truth[~is_missed], predicted[~is_missed]
        self._check_range("prediction", predicted, "")
        # int64 before the product: labels are often uint8, in which it would overflow.
        pairs = truth.astype(np.int64) * self.num_classes + predicted.astype(np.int64)
        self._matrix += np.bincount(pairs, minlength=self.num_classes**2).reshape(self._matrix.shape)
        self._missed += np.bincount(missed, minlength=self.num_classes)
        self._images += label.shape[0] if label.ndim == 3 else 1

    def evaluate(self) -> Scores:
        """Computes the scores of all pixels counted so far."""
        hits = np.diag(self._matrix)
        true_pixels = self._matrix.sum(axis=1) + self._missed
        iou = iou_of(self._matrix, self._missed)
        pixels = int(true_pixels.sum())
        weighted_iou = sum(
            int(count) * ratio for count, ratio in zip(true_pixels, iou, strict=True) if ratio is not None
        )
        accuracy = ratios_of(hits, true_pixels)
        return Scores(
            iou=iou,
            accuracy=accuracy,
            mean_iou=mean_of_present(iou),
            mean_accuracy=mean_of_present(accuracy),
            pixel_accuracy=int(hits.sum()) / pixels if pixels else math.nan,
            frequency_weighted_iou=weighted_iou / pixels if pixels else math.nan,
            pixels=pixels,
            images=self._images,
        )

    def _check_range(self, name: str, ids: np.ndarray, also_allowed: str) -> None:
        if not ids.size:
            return
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= self.num_classes:
            found = low if low < 0 else high
            raise ValueError(
                f"{name} holds id {found}: expected 0..{self.num_classes - 1}{also_allowed}; "
                "check the label map and the number of classes"
            )


def _check_integers(name: str, array: np.ndarray) -> None:
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"{name} has dtype {array.dtype}: expected integers; convert it first, probabilities and logits with argmax"
        )


def iou_of(matrix: np.ndarray, missed: np.ndarray | int = 0) -> tuple[float | None, ...]:
    """Computes the IoU of each class; see `Scores.iou`.

    Args:
      matrix: pixels [C, C]; rows are true classes, columns predicted ones.
      missed: pixels [C] of each true class that are predicted as no class.
    """
    hits = np.diag(matrix)
    return ratios_of(hits, matrix.sum(axis=1) + missed + matrix.sum(axis=0) - hits)


def ratios_of(parts: np.ndarray, wholes: np.ndarray) -> tuple[float | None, ...]:
    """Divides counts [N] by counts [N]; None where the divisor is 0."""
    return tuple(int(part) / int(whole) if whole else None for part, whole in zip(parts, wholes, strict=True))


def mean_of_present(ratios: Iterable[float | None]) -> float:
    """Returns the mean of the ratios that are not None; nan if there are none."""
    present = [ratio for ratio in ratios if ratio is not None]
    return math.fsum(present) / len(present) if present else math.nan
