"""Predictions for the report, against predict.py's own scores and NumPy; and that they are made once."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from database.datasets import find_samples, get_dataset
from database.json_files import read_json
from database.loading import load_label
from tools.errors import CheckpointError
from tools.prediction.predictor import Predictor
from tools.report import predictions
from tools.report.prediction_options import PredictionOptions
from tools.report.predictions import evaluate_run
from tools.report.reported_run import read_reported_runs
from tools.runs.record import ModelRecord

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def options(data_dir: str | None = None) -> PredictionOptions:
    return PredictionOptions("val_set", data_dir, "cpu")


def reported(folder):
    [run] = read_reported_runs([str(folder)], "val_set")
    return run


def expected_matrix(folder, data_dir) -> np.ndarray:
    """Of the predictor on each image, counted with a loop over classes."""
    record = ModelRecord.read(str(folder))
    classes = record.architecture.num_classes
    matrix = np.zeros((classes, classes), np.int64)
    with Predictor(str(folder / "snapshot" / "model.ckpt-4"), record) as predictor:
        for sample in find_samples(get_dataset("Toy"), data_dir, ["val"]):
            truth, predicted = load_label(sample), predictor.labels(np.asarray(Image.open(sample.image)))
            for row in range(classes):
                for column in range(classes):
                    matrix[row, column] += np.count_nonzero((truth == row) & (predicted == column))
    return matrix


def test_predictions_are_made_once(run_copy, toy_dir, monkeypatch, caplog):
    caplog.set_level("INFO")
    found = evaluate_run(reported(run_copy), options())
    np.testing.assert_array_equal(found.matrix, expected_matrix(run_copy, toy_dir))
    assert found.prefix == str(run_copy / "snapshot" / "model.ckpt-4")
    assert found.settings == "windows of 32x32 pixels, scale 1, mirror, float32"
    [folder] = {os.path.dirname(os.path.dirname(image.prediction)) for image in found.images}
    scores = read_json(os.path.join(folder, "scores.json"))
    hits, union = found.matrix.diagonal(), found.matrix.sum(0) + found.matrix.sum(1) - found.matrix.diagonal()
    assert scores["mean_iou"] == pytest.approx(np.mean(hits[union > 0] / union[union > 0]))

    os.unlink(found.images[1].prediction)
    monkeypatch.setattr(predictions, "evaluate", counting := Counting(predictions.evaluate))
    again = evaluate_run(reported(run_copy), options())
    assert counting.names == [[found.images[1].sample.name]]
    np.testing.assert_array_equal(again.matrix, found.matrix)
    assert [image.mean_iou for image in again.images] == [image.mean_iou for image in found.images]
    assert "the predictions of 1 of 2 images in val_set" in caplog.text

    monkeypatch.setattr(predictions, "evaluate", None)
    np.testing.assert_array_equal(evaluate_run(reported(run_copy), options()).matrix, found.matrix)


class Counting:
    """Calls a function that predicts, and keeps the names of its samples."""

    def __init__(self, function):
        self.function, self.names = function, []

    def __call__(self, predictor, samples, *arguments, **more):
        self.names.append([sample.name for sample in samples])
        return self.function(predictor, samples, *arguments, **more)


def test_results_of_other_weights_are_not_used(run_copy):
    first = evaluate_run(reported(run_copy), options())
    for path in (run_copy / "snapshot").glob("model.ckpt-4*"):
        path.unlink()
    second = evaluate_run(reported(run_copy), options())
    assert second.prefix.endswith("model.ckpt-2")
    assert {image.prediction for image in first.images}.isdisjoint(image.prediction for image in second.images)


def test_scores_of_an_image(run_copy):
    found = evaluate_run(reported(run_copy), options())
    image = found.images[0]
    truth, predicted = load_label(image.sample), found.train_ids(image)
    valid = truth != 255
    assert image.pixel_accuracy == pytest.approx((truth == predicted)[valid].mean())
    ious = []
    for index in {*np.unique(truth[valid]), *np.unique(predicted[valid])}:
        both = ((truth == index) & (predicted == index))[valid].sum()
        ious.append(both / ((truth == index) | (predicted == index))[valid].sum())
    assert image.mean_iou == pytest.approx(np.mean(ious))


def test_run_without_weights(run_copy):
    for path in (run_copy / "snapshot").glob("model.ckpt*"):
        path.unlink()
    with pytest.raises(CheckpointError):
        evaluate_run(reported(run_copy), options())
