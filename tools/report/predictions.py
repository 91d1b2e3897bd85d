"""Predictions of a run for its validation images: those of earlier calls if they match, otherwise new ones.

They are in the folder where predict.py writes them, and scored as the validation of the training did, with its mirror,
window, precision and averages.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from database.classes import IGNORE_LABEL
from database.datasets import find_samples
from database.errors import ImageError
from database.images import read_label, set_max_pixels
from database.layouts import Sample
from database.loading import load_label, to_train_ids
from model.choices import FLOAT_TYPES
from tools.flags.predict import PredictConfig
from tools.flags.sizes import in_words
from tools.prediction.files import PredictionWriter, picture_path, results_folder
from tools.prediction.metrics import ConfusionMatrix
from tools.prediction.provenance import Provenance, folder_for, provenance_of
from tools.prediction.scoring import evaluate
from tools.prediction.selection import build_predictor, prediction_dataset, record_of_checkpoint, with_chosen_precision
from tools.prediction.tables import write_tables
from tools.report.prediction_options import PredictionOptions
from tools.report.reported_run import ReportedRun
from tools.runs.chosen_checkpoint import choose_checkpoint, with_unremoved
from tools.runs.record import ModelRecord
from tools.runtime.memory import free_closed_sessions
from tools.runtime.progress import counted

logger = logging.getLogger(__name__)

_SCORES = "scores.json"


@dataclass(frozen=True)
class ImageResult:
    """The prediction of one image.

    Attributes:
        sample: the image and its label.
        prediction: path of the predicted label ids.
        mean_iou, pixel_accuracy: of this image, fractions 0..1; NaN without a label or valid pixels.
    """

    sample: Sample
    prediction: str
    mean_iou: float = math.nan
    pixel_accuracy: float = math.nan


@dataclass(frozen=True)
class Evaluation:
    """The predictions of one snapshot for a validation split.

    Attributes:
        prefix: of the snapshot.
        record: network and classes.
        images: in the order of the split.
        matrix: int64 [C, C], pixels by true and predicted class; None if no image has a label.
        data: identifies the images; equal for the same images and labels.
        settings: of the prediction, in words.
    """

    prefix: str
    record: ModelRecord
    images: Sequence[ImageResult]
    matrix: np.ndarray | None
    data: str
    settings: str

    def train_ids(self, image: ImageResult) -> np.ndarray:
        """Reads a prediction as training ids, uint8 [H, W].

        Raises:
            ImageError: it cannot be read, or has pixels of no class.
            DatasetError: it has an id of no class.
        """
        return _train_ids(image.prediction, self.record)


@dataclass(frozen=True)
class _Plan:
    """Results of one way of predicting: flags, provenance and folder."""

    config: PredictConfig
    provenance: Provenance
    folder: str

    def missing(self, samples: Sequence[Sample]) -> list[Sample]:
        """Returns the samples without results here; all if the folder has other results or none."""
        is_same = self.provenance.is_of(self.folder)
        return [
            sample
            for sample in samples
            if not (is_same and os.path.isfile(picture_path(self.folder, "prediction", sample.name)))
        ]


def evaluate_run(run: ReportedRun, options: PredictionOptions) -> Evaluation:
    """Predicts the validation images of a run with its best snapshot, otherwise its last, and scores them.

    Raises:
        DataError, ModelError, UserError: a subclass per kind of fault, such as a missing folder of images.
    """
    ModelRecord.read(run.path)  # checks the flags that are used below
    config = _config_of(run, options)
    set_max_pixels(config.max_pixels)
    return with_unremoved(lambda: choose_checkpoint(config), lambda prefix: _evaluate(run, config, prefix, options))


def _config_of(run: ReportedRun, options: PredictionOptions) -> PredictConfig:
    """Returns the flags of predict.py that predict as the validation of the training did."""
    recorded = {name: run.flags[name] for name in ("mirror", "use_ema", "max_pixels") if name in run.flags}
    return PredictConfig(
        weights_ckpt=run.path,
        data_dir=options.data_dir,
        device=options.device,
        float_type=run.flags.get("float_type", "32"),
        coloring=False,
        **recorded,
    )


def _evaluate(run: ReportedRun, config: PredictConfig, prefix: str, options: PredictionOptions) -> Evaluation:
    trained = record_of_checkpoint(prefix, config)
    dataset, data_dir = prediction_dataset(config, trained)
    record = trained.for_dataset(dataset)
    samples = find_samples(dataset, data_dir, ["val"])
    plan = _plan(config, prefix, trained, record, (samples, data_dir), options)
    missing = plan.missing(samples)
    reused = len(samples) - len(missing)
    if reused:
        logger.info(
            "%s: the predictions of %d of %d images in %s are used", run.name, reused, len(samples), plan.folder
        )
    if missing:
        _predict(plan.config, prefix, record, missing, plan)
    images, matrix = _scored(run.name, record, samples, plan.folder)
    if matrix is not None and not os.path.exists(os.path.join(plan.folder, _SCORES)):
        write_tables(matrix.evaluate(), record.class_names, plan.folder, header=plan.provenance.header)
    classes = [record.class_names, record.palette, sorted(record.label_map.items())]
    data = json.dumps([plan.provenance.entries.get("data_sha256"), *classes])
    counts = None if matrix is None else matrix.matrix
    return Evaluation(prefix, record, images, counts, data, _settings(plan.config, record))


def _plan(
    config: PredictConfig,
    prefix: str,
    trained: ModelRecord,
    record: ModelRecord,
    data: tuple[Sequence[Sample], str],
    options: PredictionOptions,
) -> _Plan:
    """Returns the way of predicting: as in training, or as predict.py does by default if its results are complete."""
    samples, data_dir = data
    plans = []
    for float_type in dict.fromkeys((config.float_type, _usual_float_type(options.device))):
        same = dataclasses.replace(config, float_type=float_type)
        provenance = provenance_of(same, prefix, record, samples, data_dir)
        default = results_folder(options.predictions_dir, same, prefix, trained, record.database, data_dir)
        plans.append(_Plan(same, provenance, folder_for(provenance, default)))
    return next((plan for plan in plans if not plan.missing(samples)), plans[0])


def _usual_float_type(device: str) -> str:
    return with_chosen_precision(PredictConfig(device=device)).float_type


def _predict(config: PredictConfig, prefix: str, record: ModelRecord, samples: Sequence[Sample], plan: _Plan) -> None:
    """Predicts samples and writes their label ids."""
    writer = PredictionWriter(plan.folder, record, save_prediction=True, coloring=False, provenance=plan.provenance)
    with build_predictor(prefix, record, config) as predictor, writer:
        evaluate(
            predictor,
            samples,
            record.architecture.num_classes,
            visit=lambda found: writer.write(
                found.sample.name,
                found.image,
                found.prediction,
                source=found.sample.image,
            ),
        )
    free_closed_sessions()


def _scored(
    name: str, record: ModelRecord, samples: Sequence[Sample], folder: str
) -> tuple[list[ImageResult], ConfusionMatrix | None]:
    """Reads predictions and labels; returns the scores of each image, and the matrix of all with a label."""
    total = ConfusionMatrix(record.architecture.num_classes)
    results = list(_results(name, record, samples, folder, total))
    return results, total if any(sample.label is not None for sample in samples) else None


def _results(
    name: str, record: ModelRecord, samples: Sequence[Sample], folder: str, total: ConfusionMatrix
) -> Iterator[ImageResult]:
    for sample in counted(samples, f"score {name}", len(samples), "img"):
        path = picture_path(folder, "prediction", sample.name)
        if sample.label is None:
            yield ImageResult(sample, path)
            continue
        truth, predicted = load_label(sample), _train_ids(path, record)
        if truth.shape != predicted.shape:
            raise ImageError(f"{path}: this prediction is not of the size of {sample.label}: remove it")
        total.process(truth, predicted)
        own = ConfusionMatrix(record.architecture.num_classes)
        own.process(truth, predicted)
        scores = own.evaluate()
        yield ImageResult(sample, path, scores.mean_iou, scores.pixel_accuracy)


def _train_ids(path: str, record: ModelRecord) -> np.ndarray:
    ids = to_train_ids(read_label(path), record.label_map, path)
    if (ids == IGNORE_LABEL).any():
        raise ImageError(
            f"{path}: the prediction has pixels of a class that has no id in label files, so it is unknown"
        )
    return ids


def _settings(config: PredictConfig, record: ModelRecord) -> str:
    size: Any = record.test_image_size
    parts = [f"windows of {in_words(size)} pixels" if size else "whole images", "scale 1"]
    parts += ["mirror"] if config.mirror else []
    parts += ["without the averages of the weights"] if not config.use_ema else []
    return ", ".join([*parts, FLOAT_TYPES[config.float_type]])
