"""Compares an export with the session."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np

from tools.errors import ExportError
from tools.export.engines import Engine, Run
from tools.export.forms import Tolerance
from tools.export.images import Picture
from tools.prediction.metrics import ConfusionMatrix
from tools.prediction.predictor import Predictor
from tools.runs.record import ModelRecord
from tools.runtime.printable import first_line

_LARGEST_EXCESS = 1e-3  # of the sum of probabilities; float32 of a few hundred classes stays far below


class Agreement:
    """Compares labels and probabilities of an export with those of the session, over all pictures.

    Attributes:
        largest_difference: of a probability, 0..1.
        largest_excess: largest distance of the sum of a pixel's probabilities from 1.
        pixels, equal: number of compared pixels, and of those with equal labels.
        classes: that the session predicts anywhere.
    """

    def __init__(self, num_classes: int) -> None:
        self.largest_difference = self.largest_excess = 0.0
        self.pixels = self.equal = 0
        self.classes: set[int] = set()
        self._moved = 0.0  # sum over the pixels
        self._matrices = [ConfusionMatrix(num_classes) for _ in range(2)]  # of the session, and of the export
        self._has_labels = False

    def add(
        self, expected: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, truth: np.ndarray | None
    ) -> None:
        """Adds one picture.

        Args:
            expected: probabilities of the session, float32 [H, W, classes].
            labels, probabilities: of the export, [H, W] and float32 [H, W, classes].
            truth: training ids [H, W]; None without labels.

        Raises:
            ExportError: the shapes differ.
        """
        if probabilities.shape != expected.shape or labels.shape != expected.shape[:2]:
            shapes = ", ".join(str(list(array.shape)) for array in (labels, probabilities))
            raise ExportError(f"the shapes of labels and probabilities are {shapes}, expected {list(expected.shape)}")
        of_session = expected.argmax(axis=2)
        differences = np.abs(probabilities - expected)
        self.largest_difference = max(self.largest_difference, _finite(differences.max()))
        self.largest_excess = max(self.largest_excess, _finite(np.abs(probabilities.sum(axis=2) - 1).max()))
        self._moved += _finite(differences.sum(dtype=np.float64) / 2)
        self.classes |= set(np.unique(of_session).tolist())
        self.pixels += labels.size
        self.equal += int(np.count_nonzero(labels == of_session))
        if truth is not None:
            self._has_labels = True
            for matrix, predicted in zip(self._matrices, (of_session, labels), strict=True):
                matrix.process(truth, predicted)

    @property
    def mean_difference(self) -> float:
        """The probability that moves to other classes, 0..1: half the sum of the differences, averaged over pixels."""
        return self._moved / self.pixels

    @property
    def equal_labels(self) -> float:
        """The share of pixels with equal labels, 0..1."""
        return self.equal / self.pixels

    @property
    def mean_ious(self) -> tuple[float, float] | None:
        """mIoU in per cent of the session and of the export; None if no picture has labels."""
        if not self._has_labels:
            return None
        of_session, of_export = (100 * matrix.evaluate().mean_iou for matrix in self._matrices)
        return of_session, of_export

    def faults(self, tolerance: Tolerance) -> list[str]:
        """Describes what exceeds the tolerance."""
        faults = []
        if self.largest_difference > tolerance.largest_difference:
            faults.append(
                f"probabilities differ by up to {self.largest_difference:.2g}, at most "
                f"{tolerance.largest_difference:g} is allowed"
            )
        if self.mean_difference > tolerance.mean_difference:
            faults.append(
                f"probabilities differ by {self.mean_difference:.2g} on average, at most "
                f"{tolerance.mean_difference:g} is allowed"
            )
        if self.largest_excess > _LARGEST_EXCESS:
            faults.append(f"probabilities sum to 1 only within {self.largest_excess:.2g}, expected {_LARGEST_EXCESS:g}")
        if self.equal_labels < tolerance.equal_labels:
            faults.append(
                f"{self.equal_labels:.4f} of the labels are equal, at least {tolerance.equal_labels:g} are expected"
            )
        if self.mean_ious is not None and self.mean_ious[0] - self.mean_ious[1] > tolerance.lost_points:
            faults.append(
                "mIoU falls from {:.2f} to {:.2f} %, ".format(*self.mean_ious)
                + f"at most {tolerance.lost_points:g} points are allowed"
            )
        return faults

    def entries(self) -> dict[str, Any]:
        """Returns the results as JSON values."""
        entries: dict[str, Any] = {
            "largest_difference": self.largest_difference,
            "mean_difference": self.mean_difference,
            "equal_labels": self.equal_labels,
            "pixels": self.pixels,
        }
        if self.mean_ious is not None:
            entries |= dict(zip(("mean_iou_of_session", "mean_iou"), self.mean_ious, strict=True))
        return entries


def session_predictor(prefix: str, record: ModelRecord, *, use_averages: bool) -> Predictor:
    """Opens the session that exports are compared with: whole images at one scale, not mirrored, in float32.

    Raises:
        CheckpointError: see `Predictor`.
    """
    whole = dataclasses.replace(record, test_image_size=0)
    return Predictor(prefix, whole, mirror=False, float_type="32", use_averages=use_averages)


def load(path: str, engines: Iterable[Engine], stack: ExitStack) -> dict[str, Run]:
    """Loads an export in engines; returns how to run it, by the engine's name.

    Raises:
        ExportError: an engine cannot load it.
    """
    return {engine.name: _loaded(engine, path, stack) for engine in engines}


def compare(
    runs: Mapping[str, Run],
    predictor: Predictor,
    pictures: Iterable[Picture],
    *,
    num_classes: int,
    any_size: bool,
) -> dict[str, Agreement]:
    """Compares exports with the session on pictures.

    Args:
        runs: by name, see `load`.
        predictor: of the session, see `session_predictor`.
        pictures: to predict.
        num_classes: of the network.
        any_size: whether to also predict two parts of the first picture at a time, with odd sizes.

    Returns:
        The agreement of each, by name.

    Raises:
        ExportError: an engine cannot run the export, or it returns other shapes.
    """
    agreements = {name: Agreement(num_classes) for name in runs}
    for number, picture in enumerate(pictures):
        parts = [picture.image[np.newaxis]]
        if any_size and number == 0:
            parts.append(_odd_parts(picture.image))
        for images in parts:
            expected = [predictor.probabilities(image) for image in images]
            truth = picture.label if images is parts[0] else None
            for name, run in runs.items():
                for wanted, labels, probabilities in zip(expected, *_run(run, images, name), strict=True):
                    agreements[name].add(wanted, labels, probabilities, truth)
    return agreements


def _odd_parts(image: np.ndarray) -> np.ndarray:
    """Returns two different parts of an image with an odd height and width, uint8 [2, h, w, 3]."""
    height, width = (max(1, 3 * length // 8 * 2 - 1) for length in image.shape[:2])
    return np.stack([image[:height, :width], image[::-1, ::-1][:height, :width]])


def _finite(value: Any) -> float:
    return np.inf if np.isnan(value) else float(value)


def _loaded(engine: Engine, path: str, stack: ExitStack) -> Run:
    try:
        return engine.load(path, stack)
    except Exception as error:
        raise ExportError(f"{engine.name} cannot load it: {first_line(error)}") from error


def _run(run: Run, images: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        return run(images)
    except Exception as error:
        size = "x".join(map(str, images.shape[:3]))
        raise ExportError(f"{name} cannot run it on images of {size}: {first_line(error)}") from error
