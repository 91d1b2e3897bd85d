"""Scores beside those of the confusion matrix, which need more than the counts of classes."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import numpy as np

from database import palettes
from database.classes import CITYSCAPES_CLASSES, CITYSCAPES_LABEL_MAP
from database.images import read_label
from database.layouts import Sample
from tools.errors import FlagError, ScoringError
from tools.prediction.boundary_iou import BoundaryIou
from tools.prediction.cityscapes_scores import CityscapesScores
from tools.prediction.score_sections import ScoreSection

logger = logging.getLogger(__name__)

_LABELS = ("_labelIds.png", "_labelTrainIds.png")
_INSTANCES = "_instanceIds.png"


class FurtherScores:
    """Boundary IoU (--boundary_iou), and the categories and iIoU of Cityscapes (--cityscapes_scores)."""

    def __init__(self, class_names: Sequence[str], *, boundary_iou: bool = False, cityscapes: bool = False) -> None:
        """Selects the scores.

        Raises:
            FlagError: the scores of Cityscapes are wanted, and the classes are others.
        """
        if cityscapes and tuple(class_names) != CITYSCAPES_CLASSES:
            raise FlagError(
                f"--cityscapes_scores 1 needs the {len(CITYSCAPES_CLASSES)} classes of Cityscapes, and the dataset has "
                f"{len(class_names)} classes of its own: drop --cityscapes_scores"
            )
        self._class_names = tuple(class_names)
        self._boundaries = BoundaryIou(len(class_names)) if boundary_iou else None
        self._cityscapes = CityscapesScores() if cityscapes else None

    def process(
        self, sample: Sample, label: np.ndarray, prediction: np.ndarray, predicted_ids: np.ndarray | None = None
    ) -> None:
        """Counts the pixels of one image.

        Args:
            sample: with the path of the label.
            label: training ids [H, W], 255 ignored.
            prediction: training ids [H, W]; 255 for none.
            predicted_ids: ids [H, W] of the dataset's label files, if they are known.

        Raises:
            ImageError: the file of instances cannot be read.
            ScoringError: it has another size than the label.
        """
        if self._boundaries is not None:
            self._boundaries.process(label, prediction)
        if self._cityscapes is not None:
            if predicted_ids is None:
                predicted_ids = palettes.to_label_ids(prediction, CITYSCAPES_LABEL_MAP)
            self._cityscapes.process(label, predicted_ids, _instances_of(sample, label.shape))

    def sections(self) -> list[ScoreSection]:
        """Returns the scores; a warning is logged if there is no iIoU."""
        found = []
        if self._boundaries is not None:
            found.append(self._boundaries.section(self._class_names))
        if self._cityscapes is not None:
            if not self._cityscapes.has_instances:
                logger.warning("there is no iIoU: labels have no file *%s beside them, or not all have", _INSTANCES)
            found += self._cityscapes.sections()
        return found


def _instances_of(sample: Sample, size: tuple[int, ...]) -> np.ndarray | None:
    """Reads the instance ids beside a label of Cityscapes; None if there is no such file."""
    label = sample.label or ""
    stem = next((label.removesuffix(ending) for ending in _LABELS if label.endswith(ending)), None)
    if stem is None or not os.path.exists(stem + _INSTANCES):
        return None
    instances = read_label(stem + _INSTANCES)
    if instances.shape != size:
        raise ScoringError(
            f"{stem}{_INSTANCES}: the instances are {instances.shape[0]}x{instances.shape[1]}, and the label is "
            f"{size[0]}x{size[1]} (height x width): expected the same size"
        )
    return instances
