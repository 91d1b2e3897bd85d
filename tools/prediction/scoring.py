"""Predicts the images of a split and scores them against their labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from database.images import read_image
from database.layouts import Sample
from database.loading import load_sample
from tools.prediction.metrics import ConfusionMatrix, MeanLoss, Scores
from tools.prediction.predictions import LABELS_ONLY, Prediction, PredictsImages, Wanted
from tools.prediction.predictor import image_named
from tools.runtime.background import WriteBehind, read_ahead
from tools.runtime.progress import counted


class Predicted(NamedTuple):
    """A sample and its prediction.

    Attributes:
        sample: of the split.
        image: see `images.read_image`.
        label: training ids [H, W]; None without a label file.
        prediction: of the image.
    """

    sample: Sample
    image: np.ndarray
    label: np.ndarray | None
    prediction: Prediction


def evaluate(
    predictor: PredictsImages,
    samples: Sequence[Sample],
    classes: int | ConfusionMatrix,
    *,
    visit: Callable[[Predicted], object] | None = None,
    title: str = "predict",
    towers: int = 1,
    wanted: Wanted = LABELS_ONLY,
    loss: MeanLoss | None = None,
) -> Scores | None:
    """Predicts samples and scores those that have labels; reads images ahead, in background threads.

    Args:
        predictor: predicts images.
        samples: of one split.
        classes: number of classes of the dataset, or a matrix to count the pixels in.
        visit: called in a background thread with each sample and its prediction, in the order of the samples.
        title: of the progress bar.
        towers: number of images to predict at the same time, each in a thread; it does not change the results.
        wanted: what the predictions have beside the labels; the probability of the label is added where there is one.
        loss: to add the losses to; None for one of these samples.

    Returns:
        The scores over all labelled samples, None if there are none.

    Raises:
        ImageError, DatasetError: a file cannot be read or does not fit; see `database.loading`.
        NotFiniteError: the network outputs NaN or infinity; the message names the image.
    """
    counts = ConfusionMatrix(classes) if isinstance(classes, int) else classes
    loss = loss or MeanLoss()

    def process(predicted: Predicted) -> None:
        if predicted.label is not None:
            counts.process(predicted.label, predicted.prediction.labels)
            if predicted.prediction.of_label is not None:
                loss.process(predicted.label, predicted.prediction.of_label)
        if visit is not None:
            visit(predicted)

    with WriteBehind() as behind:
        for predicted in counted(_predictions(predictor, samples, towers, wanted), title, len(samples), "img"):
            behind.call(process, predicted)
    if not any(sample.label is not None for sample in samples):
        return None
    return dataclasses.replace(counts.evaluate(), loss=loss.value)


def _predictions(
    predictor: PredictsImages, samples: Sequence[Sample], towers: int, wanted: Wanted
) -> Iterator[Predicted]:
    """Yields each sample with its prediction, in order."""

    def predict(pair: tuple[Sample, tuple[np.ndarray, np.ndarray | None]]) -> Predicted:
        sample, (image, label) = pair
        with image_named(sample.image):
            return Predicted(sample, image, label, predictor.predict(image, wanted._replace(label=label)))

    loaded = zip(samples, read_ahead(_load, samples, max(2, towers)), strict=True)
    return map(predict, loaded) if towers == 1 else read_ahead(predict, loaded, towers)


def _load(sample: Sample) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads the image of a sample and, if it has one, the label."""
    if sample.label is not None:
        return load_sample(sample)
    return read_image(sample.image, input_range=sample.input_range, channels=sample.channels), None
