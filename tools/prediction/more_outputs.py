"""Writes what predict.py and inference.py write on request: probabilities, confidences, polygons and areas."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from database.georeference import Georeference
from database.images import write_image
from tools.flags.prediction_outputs import PredictionOutputFlags
from tools.prediction.coco import COCO_FILE, CocoFile
from tools.prediction.image_tables import AREAS_FILE, ImageTable, area_columns, area_values
from tools.prediction.polygons import (
    coordinates_of,
    feature_collection,
    polygons_of,
    require_polygons,
    write_geojson,
)
from tools.prediction.predictions import Prediction, Wanted
from tools.prediction.probability_files import (
    DTYPES,
    confidence_picture,
    probability_names,
    write_class_names,
    write_probabilities,
)
from tools.prediction.result_writing import result_path

# Folders of these results.
KINDS = ("confidence", "probabilities", "polygons")


@dataclass(frozen=True)
class MoreOutputs:
    """What is written for each image beside label ids and colours.

    Attributes:
        probabilities: a format of `prediction_outputs.PROBABILITY_FORMATS`; None to write none.
        confidence: whether to write the largest probability of each pixel.
        polygons: a format of `prediction_outputs.POLYGON_FORMATS`; None to write none.
        min_area: pixels of the smallest polygon.
        areas: whether to write pixels and share of each class.
    """

    probabilities: str | None = None
    confidence: bool = False
    polygons: str | None = None
    min_area: int = 0
    areas: bool = False

    @classmethod
    def of_flags(cls, config: PredictionOutputFlags) -> MoreOutputs:
        """Returns what the flags ask for.

        Raises:
            MissingPackageError: the packages for polygons are not installed.
        """
        if config.polygons is not None:
            require_polygons(f"--polygons {config.polygons}")
        return cls(
            None if config.save_probabilities == "0" else config.save_probabilities,
            config.confidence,
            config.polygons,
            config.min_area,
            config.areas,
        )

    @property
    def flags(self) -> list[str]:
        """The flags that write something, such as `--areas`."""
        found = {
            "--save_probabilities": self.probabilities is not None,
            "--confidence": self.confidence,
            "--polygons": self.polygons is not None,
            "--areas": self.areas,
        }
        return [name for name, is_written in found.items() if is_written]

    @property
    def wanted(self) -> Wanted:
        """What a prediction has to have beside the labels."""
        return Wanted(None if self.probabilities is None else DTYPES[self.probabilities], self.confidence)


NOTHING_MORE = MoreOutputs()


class MoreFiles:
    """Writes these results of images into a folder.

    <folder>/confidence/<name>_confidence.png                   grey: 255 times the largest probability
    <folder>/probabilities/<name>_probabilities.npz             float16 [H, W, classes]
    <folder>/probabilities/<name>_class<index>.png, classes.txt grey: 255 times the probability of a class
    <folder>/polygons/<name>_polygons.geojson                   outlines of the regions
    <folder>/coco.json, areas.csv                               regions and areas of all images
    """

    def __init__(
        self, folder: str, class_names: Sequence[str], outputs: MoreOutputs, images_in: str | None = None
    ) -> None:
        """Selects what to write; nothing is created before the first file."""
        self._folder = folder
        self._images_in = images_in
        self._class_names = class_names
        self._outputs = outputs
        self._areas = ImageTable(os.path.join(folder, AREAS_FILE), area_columns(class_names))
        self._coco = CocoFile(os.path.join(folder, COCO_FILE), class_names, outputs.min_area)
        self._has_class_names = False

    def paths(self, name: str, subfolders: Sequence[str]) -> dict[str, list[str]]:
        """Returns the paths of the files of one image, by the folder of their kind.

        Args:
            name: of the image's results.
            subfolders: see `result_writing.result_path`.

        Raises:
            OutsideError: a name leads out of the folder.
        """
        names: dict[str, list[str]] = {}
        if self._outputs.probabilities is not None:
            names["probabilities"] = probability_names(name, self._outputs.probabilities, len(self._class_names))
        if self._outputs.confidence:
            names["confidence"] = [f"{name}_confidence.png"]
        if self._outputs.polygons == "geojson":
            names["polygons"] = [f"{name}_polygons.geojson"]
        return {
            kind: [result_path(self._folder, kind, file, subfolders) for file in files] for kind, files in names.items()
        }

    @property
    def writes_any(self) -> bool:
        """Whether there is anything to write."""
        return bool(self._outputs.flags)

    def write(
        self,
        paths: Mapping[str, Sequence[str]],
        name: str,
        prediction: Prediction,
        source: str | None,
        georeference: Georeference | None,
    ) -> None:
        """Writes the files of one image, and adds it to the files of all images, which `finish` writes.

        Args:
            paths: from `paths`.
            name: of the image's results, below its subfolders, for the table.
            prediction: of the image, with what `MoreOutputs.wanted` says.
            source: path of the image; None if it has no file.
            georeference: of the image, for the coordinates of GeoJSON.

        Raises:
            ImageError, ResultsFolderError: a file cannot be written.
        """
        labels = prediction.labels
        if "probabilities" in paths:
            self._write_probabilities(paths["probabilities"], _present(prediction.probabilities))
        if "confidence" in paths:
            write_image(paths["confidence"][0], confidence_picture(_present(prediction.confidence)))
        if "polygons" in paths:
            write_geojson(paths["polygons"][0], self._collection(labels, georeference))
        if self._outputs.polygons == "coco":
            self._coco.add(name if source is None else self._file_name(source), labels, name)
        if self._outputs.areas:
            self._areas.add(name, area_values(labels, len(self._class_names)))

    def finish(self) -> None:
        """Writes the files of all images.

        Raises:
            ResultsFolderError: one cannot be written.
        """
        self._areas.write()
        self._coco.write()

    def _file_name(self, source: str) -> str:
        """Returns the path of an image in the folder of the images; an absolute path if it is elsewhere."""
        path = os.path.abspath(source)
        if self._images_in is None:
            return path
        relative = os.path.relpath(path, self._images_in)
        return path if relative.startswith(os.pardir + os.sep) else relative.replace(os.sep, "/")

    def _write_probabilities(self, paths: Sequence[str], probabilities: np.ndarray) -> None:
        if self._outputs.probabilities == "png" and not self._has_class_names:
            write_class_names(os.path.join(self._folder, "probabilities"), self._class_names)
            self._has_class_names = True
        write_probabilities(paths, probabilities, self._class_names)

    def _collection(self, labels: np.ndarray, georeference: Georeference | None) -> dict[str, Any]:
        smallest = self._outputs.min_area
        coordinates = coordinates_of(georeference)
        return feature_collection(polygons_of(labels, smallest), self._class_names, coordinates, smallest)


def _present(array: np.ndarray | None) -> np.ndarray:
    if array is None:
        raise ValueError("the prediction lacks what is to be written: predict with MoreOutputs.wanted")
    return array
