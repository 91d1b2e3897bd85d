"""Weights of the classes in the loss: from a file, or by class frequency."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Sequence

import numpy as np

from database.counts import number_of
from database.errors import TextFileError
from database.layouts import Sample
from database.text_files import read_text, text_lines
from tools.errors import ClassWeightsError
from tools.training.class_counts import count_classes

logger = logging.getLogger(__name__)

MEDIAN_FREQUENCY = "median_freq"

_SHOWN_CLASSES = 5


def class_weights(
    choice: str, samples: Sequence[Sample], num_classes: int, expected: Collection[int] = ()
) -> tuple[float, ...]:
    """Returns the weight of each class, by training id.

    With `median_freq`, expected classes that occur in no label are logged as a warning.

    Args:
        choice: `median_freq`, or a text file with one number per class, separated by white space or commas; lines that
            begin with # are skipped.
        samples: with labels, whose pixels are counted.
        num_classes: of the dataset.
        expected: training ids of the classes that should occur in the labels.

    Raises:
        ClassWeightsError: the file has no valid weights, or no pixel belongs to a class.
        DatasetError, ImageError: see `database.loading.load_label`.
    """
    if choice == MEDIAN_FREQUENCY:
        return median_frequency_weights(samples, num_classes, expected)
    return read_class_weights(choice, num_classes)


def read_class_weights(path: str, num_classes: int) -> tuple[float, ...]:
    """Reads the weights in a text file.

    Raises:
        ClassWeightsError: it cannot be read, or does not have `num_classes` numbers >= 0, at least one of them > 0.
    """
    try:
        lines = list(text_lines(read_text(path)))
    except OSError as error:
        raise ClassWeightsError(
            f"--class_weights {path} cannot be read ({error.strerror}): give a text file"
        ) from error
    except TextFileError as error:
        raise ClassWeightsError(f"--class_weights {path} is not a text file of numbers ({error.reason})") from error
    weights = tuple(weight for number, line in lines for weight in _numbers(path, number, line))
    if len(weights) != num_classes:
        found = number_of(len(weights), "number")
        raise ClassWeightsError(f"--class_weights {path} has {found}, expected {num_classes}, one for each class")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
        raise ClassWeightsError(
            f"--class_weights {path} has numbers that are no weights, expected finite numbers >= 0, at least one > 0"
        )
    return weights


def _numbers(path: str, number: int, line: str) -> list[float]:
    try:
        return [float(word) for word in line.replace(",", " ").split()]
    except ValueError as error:
        advice = "; put the comment on a separate line" if "#" in line else ""
        raise ClassWeightsError(
            f"--class_weights {path} is not a text file of numbers (line {number}: {str(error)[:200]}{advice})"
        ) from error


def median_frequency_weights(
    samples: Sequence[Sample], num_classes: int, expected: Collection[int] = ()
) -> tuple[float, ...]:
    """Divides the median frequency of the classes by that of each class (Eigen & Fergus 2015, section 6.3.2).

    The frequency of a class is its share of the valid pixels of the images in which it occurs. The weight of a class
    that occurs in no image is 1.

    Args:
        samples: with labels, all of which are read.
        num_classes: of the dataset.
        expected: training ids of classes; a warning is logged for those that occur in no image.

    Raises:
        ClassWeightsError: no pixel belongs to a class.
        DatasetError, ImageError: see `database.loading.load_label`.
    """
    counts = count_classes(samples, num_classes, "class weights")
    pixels = counts.sum(axis=0)
    seen_among = ((counts > 0) * counts.sum(axis=1, keepdims=True)).sum(axis=0)
    weights = weights_of_counts(pixels, seen_among)
    unseen = [train_id for train_id in sorted(expected) if pixels[train_id] == 0]
    if unseen:
        more = f" and {len(unseen) - _SHOWN_CLASSES} more" if len(unseen) > _SHOWN_CLASSES else ""
        shown = ", ".join(map(str, unseen[:_SHOWN_CLASSES])) + more
        logger.warning(
            "--class_weights %s: no training label shows class %s, so its weight is 1: check the labels with "
            "python -m tools.check_dataset",
            MEDIAN_FREQUENCY,
            shown,
        )
    return weights


def weights_of_counts(pixels: np.ndarray, seen_among: np.ndarray) -> tuple[float, ...]:
    """Computes the weights of `median_frequency_weights` from pixel counts.

    Args:
        pixels: int64 [classes], pixels of each class.
        seen_among: int64 [classes], valid pixels of the images in which the class occurs.

    Raises:
        ClassWeightsError: no pixel belongs to a class.
    """
    present = pixels > 0
    if not present.any():
        raise ClassWeightsError("--class_weights median_freq: no pixel of the training labels belongs to a class")
    frequencies = pixels[present] / seen_among[present]
    weights = np.ones(len(pixels))
    weights[present] = np.median(frequencies) / frequencies
    return tuple(weights.tolist())


def log_class_weights(weights: Sequence[float], class_names: Sequence[str]) -> None:
    """Logs the weight and name of each class."""
    logger.info("weights of classes:")
    for weight, name in zip(weights, class_names, strict=True):
        logger.info("  %8.4f  %s", weight, name)
