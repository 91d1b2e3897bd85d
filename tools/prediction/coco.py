"""Writes the regions of label maps in the format of COCO: one file for all images.

The masks are run lengths, as of COCO's crowds, because COCO's lists of corners cannot describe holes. The package
pycocotools is in the extra `polygons`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from database.json_files import read_json
from tools.prediction.result_writing import result_text
from tools.runtime.extras import extra_needed

logger = logging.getLogger(__name__)

COCO_FILE = "coco.json"

# The entries of an image and of its regions.
_Annotated = tuple[dict[str, Any], list[dict[str, Any]]]


def run_lengths(mask_indices: np.ndarray, size: int) -> list[int]:
    """Returns the run lengths of a mask, as COCO's uncompressed masks: 0s, 1s, 0s and so on, along the columns.

    Args:
        mask_indices: the sorted positions of the mask's pixels, row + H * column, one or more.
        size: number of pixels of the image.
    """
    ends = np.flatnonzero(np.diff(mask_indices) != 1)
    starts = np.concatenate([mask_indices[:1], mask_indices[ends + 1]])
    stops = np.concatenate([mask_indices[ends], mask_indices[-1:]]) + 1
    edges = np.concatenate([[0], np.stack([starts, stops], axis=1).ravel(), [size]])
    lengths = np.diff(edges).tolist()
    return lengths if lengths[-1] else lengths[:-1]


def regions_of(labels: np.ndarray, min_area: int = 0) -> Iterator[tuple[int, np.ndarray]]:
    """Yields class and pixels of each region, whose pixels are of one class and connected by their sides.

    Args:
        labels: training ids [H, W].
        min_area: regions of fewer pixels are left out.

    Yields:
        The training id, and the sorted positions of the pixels, row + H * column.
    """
    by_column = np.ascontiguousarray(labels.T)
    for train_id in np.unique(labels):
        components, count = ndimage.label(by_column == train_id)
        positions = np.flatnonzero(components)
        numbers = components.ravel()[positions]
        positions = positions[np.argsort(numbers, kind="stable")]
        bounds = np.cumsum(np.bincount(numbers, minlength=count + 1)[1:])
        for region in np.split(positions, bounds[:-1]):
            if len(region) >= min_area:
                yield int(train_id), region


def annotations_of(labels: np.ndarray, min_area: int = 0) -> list[dict[str, Any]]:
    """Returns the annotations of a label map, without the ids of annotation and image.

    Args:
        labels, min_area: see `regions_of`.

    Raises:
        MissingPackageError: pycocotools is not installed.
    """
    with extra_needed("polygons", "--polygons coco"):
        from pycocotools import mask
    height, width = labels.shape
    found = []
    for train_id, region in regions_of(labels, min_area):
        runs = {"size": [height, width], "counts": run_lengths(region, labels.size)}
        packed = mask.frPyObjects(runs, height, width)
        found.append(
            {
                "category_id": train_id + 1,
                "segmentation": {"size": [height, width], "counts": packed["counts"].decode("ascii")},
                "area": len(region),
                "bbox": mask.toBbox(packed).tolist(),
                "iscrowd": 0,
            }
        )
    return found


class CocoFile:
    """One file of COCO for all images of a folder; images of earlier starts stay in it.

    The ids of categories are training ids + 1: COCO counts from 1.
    """

    def __init__(self, path: str, class_names: Sequence[str], min_area: int = 0) -> None:
        """Takes the path of the file, the names of the classes, and the pixels of the smallest region."""
        self._path = path
        self._class_names = class_names
        self._min_area = min_area
        # By the name of the image's results.
        self._images: dict[str, _Annotated] | None = None

    def add(self, file_name: str, labels: np.ndarray, name: str | None = None) -> None:
        """Adds an image and its regions, or replaces those of the same name.

        Args:
            file_name: the entry `file_name` of the image.
            labels: training ids [H, W].
            name: of the image's results, the entry `result`; `file_name` by default.

        Raises:
            MissingPackageError: pycocotools is not installed.
        """
        if self._images is None:
            self._images = self._earlier_images()
        name = file_name if name is None else name
        image = {"file_name": file_name, "result": name, "height": labels.shape[0], "width": labels.shape[1]}
        self._images[name] = image, annotations_of(labels, self._min_area)

    def write(self) -> None:
        """Writes the file, if images were added.

        Raises:
            ResultsFolderError: it cannot be written.
        """
        if self._images is None:
            return
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for image, regions in self._images.values():
            images.append({**image, "id": len(images) + 1})
            numbers = range(len(annotations) + 1, len(annotations) + len(regions) + 1)
            annotations += [
                {**region, "id": number, "image_id": len(images)}
                for number, region in zip(numbers, regions, strict=True)
            ]
        with result_text(self._path) as file:
            file.write(json.dumps({**self._description(), "images": images, "annotations": annotations}))

    def _description(self) -> dict[str, Any]:
        categories = [{"id": index + 1, "name": name} for index, name in enumerate(self._class_names)]
        return {
            "info": {"description": f"predicted regions of {max(1, self._min_area)} pixels or more"},
            "licenses": [],
            "categories": categories,
        }

    def _earlier_images(self) -> dict[str, _Annotated]:
        """Reads the images in the file; none if it is missing, damaged or of other classes."""
        try:
            content = read_json(self._path)
            if {name: content[name] for name in self._description()} != self._description():
                raise ValueError("it is of other classes or another smallest area")
            by_id: dict[int, _Annotated] = {image["id"]: (image, []) for image in content["images"]}
            for region in content["annotations"]:
                by_id[region["image_id"]][1].append(region)
            return {image["result"]: (image, regions) for image, regions in by_id.values()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, LookupError, TypeError) as error:
            logger.warning("%s cannot be continued (%s): it is replaced", self._path, error)
            return {}
