"""Scores of files on disk against cityscapesScripts' own evaluation and against ADE20K's definitions in float64."""

from __future__ import annotations

import copy
import math
import os

import numpy as np
import pytest
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official_evaluation  # noqa: N813
from cityscapesscripts.helpers.labels import labels as cityscapes_labels
from PIL import Image

from database.datasets import find_samples, get_dataset
from tests.tools.toy_runs import tiny_config, toy_record
from tools.prediction.files import PredictionWriter
from tools.prediction.predictions import LABELS_ONLY, Prediction
from tools.prediction.scoring import evaluate

SIZES = ((64, 96), (50, 33), (80, 71))
NEVER_TRUE, NEVER_AT_ALL = "train", "rider"


class RecordedPredictions:
    """Replaces a network: the first pixel of an image is the index of its prediction."""

    def __init__(self, predictions):
        self._predictions = predictions

    def predict(self, image, wanted=LABELS_ONLY):
        return Prediction(self._predictions[image[0, 0, 0]])


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def noisy_copy(rng, truth, classes):
    """Returns a copy with 7 of 10 pixels of `classes` unchanged, and random `classes` elsewhere."""
    kept = np.isin(truth, classes) & (rng.random(truth.shape) < 0.7)
    return np.where(kept, truth, rng.choice(classes, truth.shape)).astype(np.uint8)


@pytest.fixture(scope="module")
def cityscapes(tmp_path_factory):
    """The scores of a split, the folder of its prediction files, and the paths of its labels."""
    root, rng = tmp_path_factory.mktemp("cityscapes"), np.random.default_rng(0)
    classes = [label.trainId for label in cityscapes_labels if not label.ignoreInEval and label.name != NEVER_AT_ALL]
    absent = (NEVER_TRUE, NEVER_AT_ALL)
    label_ids = [label.id for label in cityscapes_labels if label.id >= 0 and label.name not in absent]
    dataset, predictions = get_dataset("Cityscapes"), []
    for number, size in enumerate(SIZES):
        name = f"aachen_{number:06d}_000019"
        truth = rng.choice(label_ids, size).astype(np.uint8)
        train_ids = np.vectorize({label.id: label.trainId for label in cityscapes_labels}.get)(truth)
        predictions.append(noisy_copy(rng, train_ids, classes))
        save(root / f"leftImg8bit/val/aachen/{name}_leftImg8bit.png", np.full((*size, 3), number, np.uint8))
        save(root / f"gtFine/val/aachen/{name}_gtFine_labelIds.png", truth)
    writer = PredictionWriter(
        str(root / "results"), toy_record(tiny_config("toy", "log")), save_prediction=True, coloring=False
    )
    samples = find_samples(dataset, str(root), ["val"])
    scores = evaluate(
        RecordedPredictions(predictions),
        samples,
        dataset.num_classes,
        visit=lambda found: writer.write(found.sample.name, found.image, found.prediction.labels),
    )
    return scores, str(root / "results"), [sample.label for sample in samples]


def test_every_class_scores_what_cityscapesscripts_says(cityscapes, record_property):
    scores, folder, label_paths = cityscapes
    arguments = copy.copy(official_evaluation.args)
    arguments.evalInstLevelScore, arguments.JSONOutput, arguments.quiet = False, False, True
    arguments.predictionPath = folder
    prediction_paths = [official_evaluation.getPrediction(arguments, path) for path in label_paths]
    assert len(set(prediction_paths)) == len(SIZES)
    official = official_evaluation.evaluateImgLists(prediction_paths, label_paths, arguments)
    own = dict(zip(get_dataset("Cityscapes").class_names, scores.iou, strict=True))
    expected = {
        label.name: official["classScores"][label.name] for label in cityscapes_labels if not label.ignoreInEval
    }
    assert set(own) == set(expected)
    assert own.pop(NEVER_AT_ALL) is None
    assert math.isnan(expected.pop(NEVER_AT_ALL))
    assert own[NEVER_TRUE] == expected[NEVER_TRUE] == 0
    assert min(iou for name, iou in own.items() if name != NEVER_TRUE) > 0.3
    differences = [abs(own[name] - iou) for name, iou in expected.items()]
    differences.append(abs(scores.mean_iou - official["averageScoreClasses"]))
    record_property("IoU of every class and their mean", float(max(differences)))
    assert max(differences) < 1e-6


@pytest.fixture(scope="module")
def ade(tmp_path_factory):
    """The scores of a split in which every class is true somewhere, and per image annotation and prediction.

    Both as in the benchmark's files: 1 to 150, and 0 where there is no annotation.
    """
    root, rng = tmp_path_factory.mktemp("ade"), np.random.default_rng(1)
    annotations = [rng.integers(0, 151, size).astype(np.uint8) for size in SIZES]
    predictions = [noisy_copy(rng, annotation, range(1, 151)) for annotation in annotations]
    for number, annotation in enumerate(annotations):
        name = f"ADE_val_{number + 1:08d}"
        save(root / f"images/validation/{name}.jpg", np.full((*annotation.shape, 3), number, np.uint8))
        save(root / f"annotations/validation/{name}.png", annotation)
    samples = find_samples(get_dataset("ADE"), str(root), ["val"])
    assert [os.path.basename(sample.image) for sample in samples] == sorted(os.listdir(root / "images/validation"))
    scores = evaluate(RecordedPredictions([prediction - 1 for prediction in predictions]), samples, 150)
    return scores, list(zip(annotations, predictions, strict=True))


def test_ade_scores_are_their_definitions(ade, record_property):
    """MIT Scene Parsing Benchmark, "Evaluation": pixel accuracy, and IoU averaged over the 150 classes."""
    scores, pairs = ade
    intersection, union = np.zeros(150), np.zeros(150)
    correct = annotated = np.float64(0)
    for annotation, prediction in pairs:
        known = annotation > 0
        correct += np.count_nonzero(known & (annotation == prediction))
        annotated += np.count_nonzero(known)
        for index in range(150):
            true, predicted = annotation == index + 1, known & (prediction == index + 1)
            intersection[index] += np.count_nonzero(true & predicted)
            union[index] += np.count_nonzero(true | predicted)
    assert union.min() > 0
    np.testing.assert_allclose(scores.iou, intersection / union, rtol=0, atol=1e-12)
    differences = abs(scores.mean_iou - np.mean(intersection / union)), abs(scores.pixel_accuracy - correct / annotated)
    record_property("mean IoU", float(differences[0]))
    record_property("pixel accuracy", float(differences[1]))
    assert max(differences) < 1e-12
