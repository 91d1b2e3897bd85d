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


class Agreement:
    """Compares labels and probabilities of an export with those of the session, over all pictures.

    Attributes:
        largest_difference: of a probability, 0..1.
        pixels, equal: number of compared pixels, and of those with equal labels.
    """

    def __init__(self, num_classes: int) -> None:
        self.largest_difference = 0.0
        self.pixels = self.equal = 0
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
        difference = float(np.abs(probabilities - expected).max())
        self.largest_difference = max(self.largest_difference, np.inf if np.isnan(difference) else difference)
        self.pixels += labels.size
        self.equal += int(np.count_nonzero(labels == of_session))
        if truth is not None:
            self._has_labels = True
            for matrix, predicted in zip(self._matrices, (of_session, labels), strict=True):
                matrix.process(truth, predicted)

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
        any_size: whether to also predict two copies of a part of the first picture at a time, with odd sizes.

    Returns:
        The agreement of each, by name.

    Raises:
        ExportError: an engine cannot run the export, or it returns other shapes.
    """
    agreements = {name: Agreement(num_classes) for name in runs}
    for number, picture in enumerate(pictures):
        parts = [picture.image[np.newaxis]]
        if any_size and number == 0:
            parts.append(_odd_part(picture.image))
        for images in parts:
            expected = predictor.probabilities(images[0])
            truth = picture.label if images is parts[0] else None
            for name, run in runs.items():
                for labels, probabilities in zip(*_run(run, images, name), strict=True):
                    agreements[name].add(expected, labels, probabilities, truth)
    return agreements


def _odd_part(image: np.ndarray) -> np.ndarray:
    """Returns two copies of a part of an image with an odd height and width, uint8 [2, h, w, 3]."""
    height, width = (max(1, 3 * length // 8 * 2 - 1) for length in image.shape[:2])
    return np.stack([image[:height, :width]] * 2)


def _loaded(engine: Engine, path: str, stack: ExitStack) -> Run:
    try:
        return engine.load(path, stack)
    except Exception as error:
        raise ExportError(f"{engine.name} cannot load it: {_first_line(error)}") from error


def _run(run: Run, images: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        return run(images)
    except Exception as error:
        size = "x".join(map(str, images.shape[:3]))
        raise ExportError(f"{name} cannot run it on images of {size}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
