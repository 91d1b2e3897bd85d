"""Finds the images of the check and of the calibration."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

import numpy as np
from PIL import Image

from database.datasets import Sample, find_samples
from database.errors import DataError
from database.images import read_image
from database.input_range import InputRange
from database.loading import load_sample
from database.synthetic import render_scene
from tools.errors import FlagError
from tools.flags.predict import PredictConfig
from tools.prediction.selection import prediction_dataset
from tools.runs.record import ModelRecord

logger = logging.getLogger(__name__)

_GENERATED_SIZE = (360, 480)
_NEEDS_LABELS = "--quantize dynamic and int8 are judged by the mIoU of validation images with labels"


class Picture(NamedTuple):
    """An image of the check.

    Attributes:
        name: path, or what it is.
        image: uint8 [H, W, 3], RGB.
        label: training ids [H, W]; None without labels.
    """

    name: str
    image: np.ndarray
    label: np.ndarray | None


def image_picture(path: str, record: ModelRecord) -> Picture:
    """Reads an image without a label.

    Raises:
        ImageError: it cannot be read.
    """
    return Picture(path, read_image(path, input_range=InputRange(record.input_range)), None)


def validation_pictures(
    record: ModelRecord, data_dir: str | None, count: int, *, needs_labels: bool = False
) -> Iterator[Picture]:
    """Yields validation images of a run, spread evenly over the split; a generated street scene if there are none.

    Args:
        record: of the run.
        data_dir: folder of its dataset; None for the recorded one, which may be missing.
        count: most images.
        needs_labels: whether to yield images with labels only, and no generated scene.

    Raises:
        DataError: there are none below `data_dir`, or one of them cannot be read.
        FlagError: `needs_labels`, and there are none.
    """
    try:
        samples = _samples(record, data_dir, "val")
    except DataError as error:
        if data_dir is not None:
            raise
        if needs_labels:
            raise FlagError(f"{_NEEDS_LABELS}: give --data_dir ({error})") from error
        logger.warning(
            "the run's validation images are missing, so a generated street scene is used, which says less: give "
            "--data_dir or --image (%s)",
            error,
        )
        return iter([_generated()])
    if needs_labels:
        samples = [sample for sample in samples if sample.label is not None]
        if not samples:
            raise FlagError(f"{_NEEDS_LABELS}, and those of the run have none: give --data_dir")
    return map(_picture, evenly(samples, count))


class StoredImages(Sequence[np.ndarray]):
    """Images that are read when they are used, uint8 [H, W, 3], so that memory does not grow with their number."""

    def __init__(self, samples: Sequence[Sample], size: tuple[int, int] | None = None) -> None:
        """Takes the samples, and the height and width that the images are resized to; None keeps those of the files."""
        self._samples, self._size = samples, size

    def __len__(self) -> int:
        return len(self._samples)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> StoredImages: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | StoredImages:
        """Reads an image.

        Raises:
            ImageError: it cannot be read.
        """
        if isinstance(index, slice):
            return StoredImages(self._samples[index], self._size)
        sample = self._samples[index]
        image = read_image(sample.image, input_range=sample.input_range)
        return image if self._size is None else resized_image(image, self._size)


def calibration_images(
    record: ModelRecord, data_dir: str | None, count: int, size: tuple[int, int] | None = None
) -> StoredImages:
    """Finds training images of a run, spread evenly over the split; for the arguments see `validation_pictures`.

    Args:
        record, data_dir, count: see `validation_pictures`.
        size: see `StoredImages`.

    Raises:
        FlagError: they are missing.
    """
    try:
        samples = _samples(record, data_dir, "train")
    except DataError as error:
        raise FlagError(f"8-bit activations need training images of the run: give --data_dir ({error})") from error
    return StoredImages(evenly(samples, count), size)


def evenly(samples: Sequence[Sample], count: int) -> list[Sample]:
    """Returns up to `count` samples, spread evenly over all."""
    chosen = np.linspace(0, len(samples) - 1, min(count, len(samples)))
    return [samples[round(index)] for index in chosen]


def _samples(record: ModelRecord, data_dir: str | None, split: str) -> list[Sample]:
    dataset, folder = prediction_dataset(PredictConfig(data_dir=data_dir, mode=split), record)
    return find_samples(dataset, folder, [split])


def _picture(sample: Sample) -> Picture:
    if sample.label is None:
        return Picture(sample.image, read_image(sample.image, input_range=sample.input_range), None)
    return Picture(sample.image, *load_sample(sample))


def _generated() -> Picture:
    image, _ = render_scene(np.random.default_rng(0), *_GENERATED_SIZE)
    return Picture("a generated street scene", image, None)


def resized(picture: Picture, size: tuple[int, int]) -> Picture:
    """Resizes image (bilinear) and label (nearest) to a height and width."""
    image = resized_image(picture.image, size)
    if picture.label is None:
        return Picture(picture.name, image, None)
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, picture.label.shape, strict=True))
    return Picture(picture.name, image, picture.label[rows][:, columns])


def resized_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes an image, uint8 [H, W, 3], bilinearly to a height and width."""
    height, width = size
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
