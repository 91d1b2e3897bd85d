"""Predicts the images of a split and scores them against their labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import starmap

import numpy as np

from database.images import read_image
from database.layouts import Sample
from database.loading import load_sample
from tools.prediction.latency import LabelsOfImages
from tools.prediction.metrics import ConfusionMatrix, Scores
from tools.prediction.predictor import image_named
from tools.runtime.background import WriteBehind, read_ahead
from tools.runtime.progress import counted


def evaluate(
    predictor: LabelsOfImages,
    samples: Sequence[Sample],
    num_classes: int,
    *,
    visit: Callable[[Sample, np.ndarray, np.ndarray], object] | None = None,
    title: str = "predict",
    towers: int = 1,
) -> Scores | None:
    """Predicts samples and scores those that have labels.

    Images are read ahead and `visit` is called in a background thread, while the predictor works.

    Args:
        predictor: predicts labels of images.
        samples: of one split.
        num_classes: of the dataset.
        visit: called with each sample, its image (uint8 [H, W, 3]) and its prediction (training ids [H, W]), in the
            order of the samples.
        title: of the progress bar.
        towers: number of images to predict at the same time, each in a thread; it does not change the results.

    Returns:
        The scores over all labelled samples, None if there are none.

    Raises:
        ImageError, DatasetError: a file cannot be read or does not fit; see `database.loading`.
        NotFiniteError: the network outputs NaN or infinity; the message names the image.
    """
    matrix = ConfusionMatrix(num_classes)

    def predict(
        sample: Sample, loaded: tuple[np.ndarray, np.ndarray | None]
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        image, label = loaded
        with image_named(sample.image):
            return image, label, predictor.labels(image)

    def process(sample: Sample, image: np.ndarray, label: np.ndarray | None, predicted: np.ndarray) -> None:
        if label is not None:
            matrix.process(label, predicted)
        if visit is not None:
            visit(sample, image, predicted)

    loaded = zip(samples, read_ahead(_load, samples, max(2, towers)), strict=True)
    predictions = starmap(predict, loaded) if towers == 1 else read_ahead(lambda pair: predict(*pair), loaded, towers)
    with WriteBehind() as behind:
        for sample, results in counted(zip(samples, predictions, strict=True), title, len(samples), "img"):
            behind.call(process, sample, *results)
    has_labels = any(sample.label is not None for sample in samples)
    return matrix.evaluate() if has_labels else None


def _load(sample: Sample) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads the image of a sample and, if it has one, the label."""
    if sample.label is not None:
        return load_sample(sample)
    return read_image(sample.image, input_range=sample.input_range), None
