"""Draws the instances of an image into a label."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from database.classes import IGNORE_LABEL
from tools.import_annotations.annotated import AnnotatedImage, Instance
from tools.import_annotations.shapes import Window


def covered(instance: Instance, height: int, width: int) -> Window:
    """Returns the pixels of an image [height, width] that any of an instance's shapes covers.

    Raises:
        AnnotationError: see `shapes.Shape.covered`.
    """
    windows = [shape.covered(height, width) for shape in instance.shapes]
    if len(windows) == 1:
        return windows[0]
    top, left = min(window.top for window in windows), min(window.left for window in windows)
    bottom = max(window.top + window.mask.shape[0] for window in windows)
    right = max(window.left + window.mask.shape[1] for window in windows)
    union = Window(top, left, np.zeros((bottom - top, right - left), bool))
    for window in windows:
        window._replace(top=window.top - top, left=window.left - left).of(union.mask)[...] |= window.mask
    return union


def draw_label(image: AnnotatedImage, id_of: Callable[[str], int], background: int) -> np.ndarray:
    """Draws the instances by level, and within a level the largest first, so that small ones stay visible.

    Of instances with the same level and number of pixels, the last in the file is on top.

    Args:
        image: its instances.
        id_of: returns the id of a label.
        background: the id of pixels of no instance.

    Returns:
        uint8 [height, width]; 255 is ignored.

    Raises:
        AnnotationError: see `shapes.Shape.covered`.
    """
    height, width = image.size
    label = np.full(image.size, background, np.uint8)
    # Masks are computed twice instead of kept: those of a thousand instances may need more memory than there is.
    areas = [covered(instance, height, width).area for instance in image.instances]
    order = sorted(range(len(areas)), key=lambda index: (image.instances[index].level, -areas[index]))
    for instance in (image.instances[index] for index in order):
        window = covered(instance, height, width)
        window.of(label)[window.mask] = IGNORE_LABEL if instance.is_ignored else id_of(instance.label)
    return label
