"""Predicts the images of a split and scores them against their labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from database.images import read_image
from database.layouts import Sample
from database.loading import load_sample
from tools.prediction.latency import LabelsOfImages
from tools.prediction.metrics import ConfusionMatrix, Scores
from tools.prediction.predictor import image_named
from tools.runtime.background import WriteBehind, read_ahead
from tools.runtime.progress import counted

_Prediction = tuple[np.ndarray, np.ndarray | None, np.ndarray]


def evaluate(
    predictor: LabelsOfImages,
    samples: Sequence[Sample],
    num_classes: int,
    *,
    visit: Callable[[Sample, np.ndarray, np.ndarray], object] | None = None,
    title: str = "predict",
    towers: int = 1,
) -> Scores | None:
    """Predicts samples and scores those that have labels; reads images ahead, in background threads.

    Args:
        predictor: predicts labels of images.
        samples: of one split.
        num_classes: of the dataset.
        visit: called in a background thread with each sample, its image (see `images.read_image`) and its prediction
            (training ids [H, W]), in the order of the samples.
        title: of the progress bar.
        towers: number of images to predict at the same time, each in a thread; it does not change the results.

    Returns:
        The scores over all labelled samples, None if there are none.

    Raises:
        ImageError, DatasetError: a file cannot be read or does not fit; see `database.loading`.
        NotFiniteError: the network outputs NaN or infinity; the message names the image.
    """
    matrix = ConfusionMatrix(num_classes)

    def process(sample: Sample, image: np.ndarray, label: np.ndarray | None, predicted: np.ndarray) -> None:
        if label is not None:
            matrix.process(label, predicted)
        if visit is not None:
            visit(sample, image, predicted)

    predictions = _predictions(predictor, samples, towers)
    with WriteBehind() as behind:
        for sample, results in counted(zip(samples, predictions, strict=True), title, len(samples), "img"):
            behind.call(process, sample, *results)
    return matrix.evaluate() if any(sample.label is not None for sample in samples) else None


def _predictions(predictor: LabelsOfImages, samples: Sequence[Sample], towers: int) -> Iterator[_Prediction]:
    """Yields image, label (None without one) and predicted labels of each sample, in order."""

    def predict(pair: tuple[Sample, tuple[np.ndarray, np.ndarray | None]]) -> _Prediction:
        sample, (image, label) = pair
        with image_named(sample.image):
            return image, label, predictor.labels(image)

    loaded = zip(samples, read_ahead(_load, samples, max(2, towers)), strict=True)
    return map(predict, loaded) if towers == 1 else read_ahead(predict, loaded, towers)


def _load(sample: Sample) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads the image of a sample and, if it has one, the label."""
    if sample.label is not None:
        return load_sample(sample)
    return read_image(sample.image, input_range=sample.input_range, channels=sample.channels), None
