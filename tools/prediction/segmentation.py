"""The segmentation of one image: labels, probabilities, areas, polygons, pictures and files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from database import palettes
from database.georeference import read_georeference
from tools.prediction.files import overlay_of
from tools.prediction.image_tables import class_pixels
from tools.prediction.polygons import coordinates_of, feature_collection, polygons_of
from tools.prediction.predictions import Prediction, Wanted
from tools.runs.record import ModelRecord

# Saves a segmentation into a folder, under a name or None; returns the paths.
Save = Callable[["Segmentation", str, str | None], list[str]]


class ClassArea(NamedTuple):
    """The area of a class in an image.

    Attributes:
        pixels: number of pixels.
        share: of the image, 0..1.
    """

    pixels: int
    share: float


class Segmentation:
    """The result for one image.

    Attributes:
        image: uint8 [H, W, 3], RGB, read-only; or float32 [H, W, channels], see `images.read_image`.
        labels: training ids [H, W], the index of the most probable class of each pixel: uint8, or uint16 for more than
            256 classes.
        classes: the name of each class.
        palette: the colour of each class.
        path: of the image; None if it was an array or a PIL image.
        georeference: of a GeoTIFF; None without one.
    """

    def __init__(
        self,
        image: np.ndarray,
        prediction: Prediction,
        record: ModelRecord,
        path: str | None,
        predict: Callable[[np.ndarray, Wanted], Prediction],
        save: Save,
    ) -> None:
        """Takes image and prediction, the record of the network, and functions of the model.

        The georeference is read here, as the file may be another one later.

        Raises:
            ImageError: the file cannot be opened.
        """
        self.image = image
        self.labels = prediction.labels
        self.classes = tuple(record.class_names)
        self.palette = record.palette
        self.path = path
        self.georeference = None if path is None else read_georeference(path)
        self._prediction = prediction
        self._record = record
        self._predict = predict
        self._save = save

    @property
    def probabilities(self) -> np.ndarray:
        """The probability of each class, float32 [H, W, classes], summing to 1 over the classes.

        If the image was segmented without `probabilities=True`, the first access runs the network again. They are kept
        with the result: 4 bytes per pixel and class, for example 159 MB for 1024x2048 pixels and 19 classes.

        Raises:
            ClosedModelError: they are not computed yet, and the model is closed.
        """
        found = self._prediction.probabilities
        if found is None or found.dtype != np.float32:
            found = self._predict(self.image, Wanted(np.float32)).probabilities
            self._prediction = self._prediction._replace(probabilities=found)
        assert found is not None
        return found

    def areas(self) -> dict[str, ClassArea]:
        """Returns pixels and share of each class, by its name."""
        counts = class_pixels(self.labels, len(self.classes))
        return {
            name: ClassArea(count, count / self.labels.size) for name, count in zip(self.classes, counts, strict=True)
        }

    def polygons(self, min_area: int = 0) -> dict[str, Any]:
        """Returns the outlines of all regions as a GeoJSON FeatureCollection; see `polygons.feature_collection`.

        The coordinates are pixels, or those of the georeference if the image is the file of a GeoTIFF.

        Args:
            min_area: regions of fewer pixels are left out.

        Raises:
            MissingPackageError: rasterio is not installed.
        """
        coordinates = coordinates_of(self.georeference)
        return feature_collection(polygons_of(self.labels, min_area), self.classes, coordinates, min_area)

    def coloring(self) -> Image.Image:
        """Returns the colours of the classes as a picture."""
        return Image.fromarray(palettes.colorize(self.labels, self.palette))

    def overlay(self, alpha: float = 0.5) -> Image.Image:
        """Returns the colours of the classes blended over the image.

        Args:
            alpha: weight of the colours, 0..1.

        Raises:
            ValueError: alpha is outside its range.
        """
        return Image.fromarray(overlay_of(self.image, self.labels, self._record, alpha=alpha))

    def save(self, folder: str, name: str | None = None) -> list[str]:
        """Writes the files that inference.py writes, and what the flags of `load` add.

        Saving again replaces the files of the same image. Another image of the same name gets `-2`, `-3` and so on.

        Args:
            folder: created if missing.
            name: of the results, which may begin with names of subfolders and slashes; by default that of the image's
                file without suffix, or `image`.

        Returns:
            The paths.

        Raises:
            ResultsFolderError: the folder contains results of another model or other settings, or a file cannot be
                written.
            ImageError: a picture cannot be written.
            OutsideError: the name leads out of the folder.
        """
        return self._save(self, folder, name)

    def prediction_for(self, wanted: Wanted) -> Prediction:
        """Returns labels and what is wanted, converted from the probabilities if the prediction does not have it.

        Raises:
            ClosedModelError: see `probabilities`.
        """
        kind, found = wanted.probabilities, self._prediction
        has_kind = kind is None or (found.probabilities is not None and found.probabilities.dtype == kind)
        if has_kind and (found.confidence is not None or not wanted.confidence):
            return found
        averages = self.probabilities
        confidence = averages.max(axis=2) if wanted.confidence else None
        if kind is None:
            return Prediction(self.labels, None, confidence)
        return Prediction(
            self.labels, np.rint(255 * averages).astype(np.uint8) if kind is np.uint8 else averages.astype(kind),
            confidence,
        )  # fmt: skip

    @property
    def identity(self) -> str:
        """A text that differs for images of different pixels."""
        digest = hashlib.sha256(repr(self.image.shape).encode())
        digest.update(np.ascontiguousarray(self.image).data)
        return f"pixels with the SHA-256 {digest.hexdigest()}"
