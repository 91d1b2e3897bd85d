"""Scores of PNG files that other programs wrote."""

from __future__ import annotations

import logging
import os

import numpy as np
import pytest
from PIL import Image

from database.classes import CITYSCAPES_LABEL_MAP
from database.datasets import find_samples, get_dataset
from database.layouts import Sample
from tools.errors import FlagError, ScoringError
from tools.flags.predict import PredictConfig
from tools.prediction.existing_predictions import (
    PredictionFiles,
    checksum_of,
    results_folder_of_files,
    score_files,
)
from tools.prediction.further_scores import FurtherScores
from tools.prediction.metrics import ConfusionMatrix
from tools.prediction.provenance import Provenance, provenance_of_files, provenance_of_pictures

SIZE = (20, 30)
CLASSES = 19
CITYSCAPES = get_dataset("Cityscapes")
LABEL_IDS = sorted(CITYSCAPES_LABEL_MAP, key=lambda label_id: CITYSCAPES_LABEL_MAP[label_id])[:CLASSES]
NAMES = ("aachen_000000_000019", "aachen_000001_000019")


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def split(tmp_path):
    """Folder, samples, training ids of labels (255 ignored) and of predictions, of a split in Cityscapes' layout."""
    rng, labels, predictions = np.random.default_rng(0), [], []
    for name in NAMES:
        ids = rng.choice([*LABEL_IDS, 0, 4], SIZE).astype(np.uint8)
        save(tmp_path / f"leftImg8bit/val/aachen/{name}_leftImg8bit.png", np.zeros((*SIZE, 3), np.uint8))
        save(tmp_path / f"gtFine/val/aachen/{name}_gtFine_labelIds.png", ids)
        labels.append(np.vectorize(CITYSCAPES_LABEL_MAP.get)(ids))
        right = (rng.random(SIZE) < 0.7) & (labels[-1] != 255)
        predictions.append(np.where(right, labels[-1], rng.integers(0, CLASSES, SIZE)).astype(np.uint8))
    return tmp_path, find_samples(CITYSCAPES, str(tmp_path), ["val"]), labels, predictions


def write_predictions(folder, predictions, pattern, ids=None):
    for name, prediction in zip(NAMES, predictions, strict=True):
        array = prediction if ids is None else np.array(ids, np.uint8)[prediction]
        save(folder / pattern.format(name), array)


def scored(folders, samples, *, train_ids=False, visit=None):
    files = PredictionFiles([str(folder) for folder in folders])
    counts = ConfusionMatrix(CLASSES, missed_label=255)
    score_files(files.paths_of(samples, samples), samples, CITYSCAPES, counts, train_ids=train_ids, visit=visit)
    return counts.evaluate()


def expected_iou(labels, predictions):
    label, prediction = np.stack(labels), np.stack(predictions)
    valid = label != 255
    return [
        np.sum((label == i) & (prediction == i) & valid) / np.sum(((label == i) | (prediction == i)) & valid)
        for i in range(CLASSES)
    ]


@pytest.mark.parametrize(("pattern", "train_ids"), [
    ("{}_prediction.png", False), ("prediction/{}_prediction.png", False), ("{}.png", True),
    ("{}_leftImg8bit.png", True), ("{}_my_run_prediction.png", False),
])  # fmt: skip
def test_files_score_what_they_hold(split, pattern, train_ids):
    folder, samples, labels, predictions = split
    write_predictions(folder / "results", predictions, pattern, None if train_ids else LABEL_IDS)
    seen = []
    scores = scored([folder / "results"], samples, train_ids=train_ids, visit=seen.append)
    assert list(scores.iou) == pytest.approx(expected_iou(labels, predictions), abs=1e-12)
    assert scores.images == len(NAMES)
    for found, label, prediction in zip(seen, labels, predictions, strict=True):
        assert np.array_equal(found.label, label)
        assert np.array_equal(found.labels, prediction)
        assert np.array_equal(found.label_ids, np.array(LABEL_IDS)[prediction])


def test_shares_in_several_folders(split):
    folder, samples, labels, predictions = split
    for number, (name, prediction) in enumerate(zip(NAMES, predictions, strict=True)):
        save(folder / f"share{number}" / f"{name}.png", prediction)
    shares = [folder / "share0", folder / "share1"]
    assert list(scored(shares, samples, train_ids=True).iou) == pytest.approx(expected_iou(labels, predictions))
    with pytest.raises(ScoringError, match=f"no prediction of .*{NAMES[1]}.*--has_prediction A,B.*--index_start"):
        scored(shares[:1], samples, train_ids=True)
    save(folder / "share1" / f"{NAMES[0]}.png", predictions[0])
    with pytest.raises(ScoringError, match="share0.* and .*share1.* are both predictions of"):
        scored(shares, samples, train_ids=True)


def test_a_longer_name_of_one_sample_is_not_taken_from_another(tmp_path):
    samples = [Sample(name, str(tmp_path / f"{name}.png"), None, {}) for name in ("a", "a_b")]
    save(tmp_path / "results" / "a_b.png", np.zeros(SIZE, np.uint8))
    files = PredictionFiles([str(tmp_path / "results")])
    assert files.paths_of(samples[1:], samples) == [str(tmp_path / "results" / "a_b.png")]
    for asked in (samples, samples[:1]):
        with pytest.raises(ScoringError, match="there is no prediction of .*/a.png"):
            files.paths_of(asked, samples)
    save(tmp_path / "others" / "a_b_mine.png", np.zeros(SIZE, np.uint8))
    with pytest.raises(ScoringError, match=r"a_b_mine.png may be the prediction of .*/a.png and of .*/a_b.png: name"):
        PredictionFiles([str(tmp_path / "others")]).paths_of(samples, samples)


def test_the_dataset_of_results_is_known_in_their_folder_of_pictures_too(tmp_path):
    (tmp_path / "results" / "prediction").mkdir(parents=True)
    assert provenance_of_pictures(str(tmp_path / "results" / "prediction")) is None
    Provenance({"dataset": "Toy"}).write(str(tmp_path / "results"))
    for name in ("results", "results/prediction", "results/prediction/"):
        assert provenance_of_pictures(str(tmp_path / name)) == {"dataset": "Toy"}


def test_ids_that_are_no_class_are_missed_and_logged(split, caplog):
    folder, samples, labels, predictions = split
    ids = np.array([*LABEL_IDS, 0], np.uint8)
    for prediction in predictions:
        prediction[:5] = CLASSES
    write_predictions(folder / "results", predictions, "{}.png", ids)
    with caplog.at_level(logging.WARNING):
        scores = scored([folder / "results"], samples)
    assert list(scores.iou) == pytest.approx(expected_iou(labels, predictions), abs=1e-12)
    missed = sum(int((label[:5] != 255).sum()) for label in labels)
    assert f"{missed} pixels" in caplog.text
    assert "--prediction_ids train" in caplog.text


def test_faults(split):
    folder, samples, _, predictions = split
    with pytest.raises(ScoringError, match="--has_prediction .*no/such: the folder cannot be read"):
        PredictionFiles([str(folder / "no/such")])
    (folder / "empty").mkdir()
    with pytest.raises(ScoringError, match="there are no PNG files"):
        PredictionFiles([str(folder / "empty")])
    write_predictions(folder / "unknown", [prediction * 0 + 200 for prediction in predictions], "{}.png")
    words = f"{NAMES[0]}.png: id 200 .* is neither a class nor ignored: .*--prediction_ids label$"
    with pytest.raises(ScoringError, match=words):
        scored([folder / "unknown"], samples, train_ids=True)
    write_predictions(folder / "small", [prediction[:9] for prediction in predictions], "{}.png")
    with pytest.raises(ScoringError, match="9x30, and the label .* is 20x30"):
        scored([folder / "small"], samples, train_ids=True)


def test_scores_of_other_files_or_ids_are_other_results(split):
    folder, samples, _, predictions = split
    write_predictions(folder / "a", predictions, "{}.png")
    write_predictions(folder / "b", predictions, "{}.png")
    paths = {name: [str(folder / name / f"{stem}.png") for stem in NAMES] for name in "ab"}
    assert checksum_of(paths["a"]) == checksum_of(paths["b"])

    def provenance(name, share=None, **flags):
        config = PredictConfig(has_prediction=(str(folder / name),), **flags)
        return provenance_of_files(config, CITYSCAPES, samples, str(folder), paths[name], share)

    train = provenance("a", prediction_ids="train")
    assert train.checksum == provenance("b", prediction_ids="train").checksum
    others = [provenance("a"), provenance("a", prediction_ids="train", index_step=1)]
    save(folder / "b" / f"{NAMES[0]}.png", predictions[0] * 0)
    others.append(provenance("b", prediction_ids="train"))
    assert len({train.checksum, *(other.checksum for other in others)}) == 4
    header = provenance("a", share="images 0 to 0 of 2", index_step=1).header
    assert header["partial"] == "images 0 to 0 of 2"
    assert header["index_step"] == 1
    assert header["predictions"] == str(folder / "a")
    assert header["prediction_ids"] == "label"


def test_default_folders_differ():
    def folder(**flags):
        return results_folder_of_files(PredictConfig(**{"has_prediction": ("x/run/gray",), **flags}), "ADE", "data")

    assert folder() == os.path.join("./val_set", "ADE", "scored", "run-gray")
    others = [
        folder(prediction_ids="train"), folder(index_start=1), folder(index_step=1), folder(test_max_iter=1),
        folder(mode="train"), folder(has_prediction=("x/run/gray", "b")),
    ]  # fmt: skip
    assert len({folder(), *others}) == 7


def test_further_scores_of_files(split):
    folder, samples, labels, predictions = split
    further = FurtherScores(CITYSCAPES.class_names, boundary_iou=True, cityscapes=True)
    for sample, label, prediction in zip(samples, labels, predictions, strict=True):
        instances = np.full(SIZE, 7, np.uint16)
        instances[:4, :4] = 26001
        save(folder / f"gtFine/val/aachen/{sample.name}_gtFine_instanceIds.png", instances)
        further.process(sample, label, prediction)
    assert [section.key for section in further.sections()] == ["boundaries", "classes_with_instances", "categories"]
    assert further.sections()[1].rows["car"][1] is not None
    save(folder / f"gtFine/val/aachen/{NAMES[0]}_gtFine_instanceIds.png", instances[:9])
    with pytest.raises(ScoringError, match="9x30, and the label is 20x30"):
        further.process(samples[0], labels[0], predictions[0])


def test_files_of_instances_are_missed(split, caplog):
    _, samples, labels, predictions = split
    further = FurtherScores(CITYSCAPES.class_names, cityscapes=True)
    further.process(samples[0], labels[0], predictions[0])
    with caplog.at_level(logging.WARNING):
        classes, _ = further.sections()
    assert "no iIoU" in caplog.text
    assert "_instanceIds.png" in caplog.text
    assert classes.rows["car"][1] is None
    assert FurtherScores(("a", "b")).sections() == []
    with pytest.raises(FlagError, match="--cityscapes_scores 1 needs the 19 classes of Cityscapes"):
        FurtherScores(("a", "b"), cityscapes=True)
