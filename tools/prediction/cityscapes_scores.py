"""The scores of Cityscapes beside the IoU of the classes: IoU of categories, and IoU weighted by instances (iIoU).

Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding" (CVPR 2016), section 4.1; the same as
evalPixelLevelSemanticLabeling.py of cityscapesScripts. The iIoU weights the pixels of an instance by the class's
average size of an instance over the size of this one, so that small objects count as much as large ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from database.classes import (
    CITYSCAPES_CATEGORIES,
    CITYSCAPES_CLASSES,
    CITYSCAPES_LABEL_MAP,
    CITYSCAPES_THINGS,
    IGNORE_LABEL,
)
from tools.prediction.score_sections import ScoreSection

# Average sizes of instances in pixels, from cityscapesScripts.
_INSTANCE_SIZES = {
    "bicycle": 4672.3249222261, "motorcycle": 6298.7200839748, "rider": 3930.4788056518, "bus": 35732.1511111111,
    "train": 67583.7075812274, "car": 12794.0202738185, "person": 3462.4756337644, "truck": 27855.1264367816,
}  # fmt: skip

# Instance files store label id * 1000 + number for instances, and label ids for everything else.
_NUMBERS_PER_CLASS = 1000
_MOST_LABEL_IDS = 256

_LABEL_IDS = {
    CITYSCAPES_CLASSES[train_id]: label_id
    for label_id, train_id in CITYSCAPES_LABEL_MAP.items()
    if train_id != IGNORE_LABEL
}
# Categories whose labels all have instances; cityscapesScripts counts the ignored ones, caravan and trailer, too.
_THINGS_OF_CATEGORY = {
    "human": ("person", "rider"),
    "vehicle": tuple(name for name in CITYSCAPES_THINGS.values() if name not in ("person", "rider")),
}
_IDS_OF_THINGS = {name: label_id for label_id, name in CITYSCAPES_THINGS.items()}


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


class CityscapesScores:
    """Counts the pixels of the 19 classes by their predicted label ids, and those of instances by their weight."""

    def __init__(self) -> None:
        """Creates empty counts."""
        self._matrix = np.zeros((len(CITYSCAPES_CLASSES), _MOST_LABEL_IDS), np.int64)
        # By class or category: weighted pixels of instances, and those of them that are predicted correctly.
        self._all, self._hit = (dict.fromkeys((*CITYSCAPES_CLASSES, *CITYSCAPES_CATEGORIES), 0.0) for _ in range(2))
        self._without_instances = 0

    def process(self, label: np.ndarray, predicted_ids: np.ndarray, instances: np.ndarray | None) -> None:
        """Counts the pixels of one image.

        Args:
            label: training ids [H, W], 255 ignored.
            predicted_ids: label ids of Cityscapes, uint8 [H, W].
            instances: ids [H, W] of `*_instanceIds.png`; None if there is no such file.
        """
        valid = label != IGNORE_LABEL
        pairs = label[valid].astype(np.int64) * _MOST_LABEL_IDS + predicted_ids[valid]
        self._matrix += np.bincount(pairs, minlength=self._matrix.size).reshape(self._matrix.shape)
        if instances is None:
            self._without_instances += 1
            return
        for name, found in self._instances(instances, predicted_ids):
            self._add_instance(name, found)

    @staticmethod
    def _instances(instances: np.ndarray, predicted_ids: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Yields the class of each instance and how often each label id is predicted on it."""
        is_instance = instances > _NUMBERS_PER_CLASS
        numbers, positions = np.unique(instances[is_instance], return_inverse=True)
        pairs = positions.ravel() * _MOST_LABEL_IDS + predicted_ids[is_instance]
        counts = np.bincount(pairs, minlength=len(numbers) * _MOST_LABEL_IDS).reshape(-1, _MOST_LABEL_IDS)
        for number, found in zip(numbers.tolist(), counts, strict=True):
            name = CITYSCAPES_THINGS.get(number // _NUMBERS_PER_CLASS)
            if name in _INSTANCE_SIZES:
                yield name, found

    def _add_instance(self, name: str, found: np.ndarray) -> None:
        size = int(found.sum())
        weight = _INSTANCE_SIZES[name] / size
        category = next(category for category, names in CITYSCAPES_CATEGORIES.items() if name in names)
        hits = {name: found[_LABEL_IDS[name]], category: found[_ids(_THINGS_OF_CATEGORY[category])].sum()}
        for key, count in hits.items():
            self._all[key] += size * weight
            self._hit[key] += int(count) * weight

    @property
    def has_instances(self) -> bool:
        """Whether every image so far had a file of instances; otherwise there is no iIoU."""
        return self._without_instances == 0

    def sections(self) -> tuple[ScoreSection, ScoreSection]:
        """Returns IoU and iIoU of the classes with instances, and of all categories."""
        classes = {name: (self._iou([name], [name]), self._instance_iou(name)) for name in _INSTANCE_SIZES}
        in_order = {name: classes[name] for name in CITYSCAPES_CLASSES if name in classes}
        categories = {
            category: (self._iou(names, names), self._instance_iou(category))
            for category, names in CITYSCAPES_CATEGORIES.items()
        }
        columns = {"iou": "IoU %", "instance_iou": "iIoU %"}
        return (
            ScoreSection("classes_with_instances", "class with instances", columns, in_order),
            ScoreSection("categories", "category", columns, categories),
        )

    def _iou(self, true: Sequence[str], predicted: Sequence[str]) -> float | None:
        rows, columns = _indices(true), _ids(predicted)
        hits = int(self._matrix[rows][:, columns].sum())
        return _ratio(hits, int(self._matrix[rows].sum()) + self._false_pixels(true, predicted))

    def _instance_iou(self, name: str) -> float | None:
        """Returns the iIoU of a class or a category; None if it has no instances, or files of instances are missing."""
        things = _THINGS_OF_CATEGORY.get(name) or ((name,) if name in _INSTANCE_SIZES else None)
        if things is None or not self.has_instances:
            return None
        true = CITYSCAPES_CATEGORIES.get(name, (name,))
        return _ratio(self._hit[name], self._all[name] + self._false_pixels(true, things))

    def _false_pixels(self, true: Sequence[str], predicted: Sequence[str]) -> int:
        """Counts the pixels that are predicted as some labels but belong to other classes than the true ones."""
        others = np.delete(self._matrix, _indices(true), axis=0)
        return int(others[:, _ids(predicted)].sum())


def _indices(names: Sequence[str]) -> list[int]:
    return [CITYSCAPES_CLASSES.index(name) for name in names]


def _ids(names: Sequence[str]) -> list[int]:
    """Returns the label ids of classes, and of the ignored labels with instances."""
    return [_IDS_OF_THINGS.get(name) or _LABEL_IDS[name] for name in names]
