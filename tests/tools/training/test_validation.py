"""Scores of the snapshots of a run."""

from __future__ import annotations

import dataclasses
import json
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from database.datasets import find_samples, get_dataset
from database.loading import load_sample
from tests.tools.toy_runs import SIZE, toy_record
from tools.prediction.predictor import Predictor
from tools.prediction.score_files import snapshot_header
from tools.runs.data_checksums import DataChecksums
from tools.runs.folder import RunFolder
from tools.runs.record import ModelRecord
from tools.training import validation
from tools.training.samples import RunData
from tools.training.validation import scoring_settings, validate


@pytest.mark.parametrize(("val_every", "eval_only"), [(2, False), (None, False), (None, True)])
def test_scores_say_by_which_period_training_scored(tiny_run, toy_dir, val_every, eval_only):
    """Only these count for `--patience`."""
    config = dataclasses.replace(tiny_run.config, val_every=val_every, eval_only=eval_only)
    record = ModelRecord.read(tiny_run.folder.snapshots)
    data = RunData.of(get_dataset("Toy"), toy_dir, [])
    header = validation._header(config, data, record, tiny_run.folder.snapshot(2))
    assert header.get("val_every") == val_every


@pytest.mark.usefixtures("narrow_resnet")
def test_scores_of_a_snapshot(tiny_run, toy_dir, tmp_path):
    dataset = get_dataset("Toy")
    samples = find_samples(dataset, toy_dir, ["val"])
    config = dataclasses.replace(tiny_run.config, mirror=False)
    prefix, folder = tiny_run.folder.snapshot(2), RunFolder(str(tmp_path))
    scores = validate(config, RunData.of(dataset, toy_dir, [], samples), folder, prefix)

    pairs, losses = [], []
    with Predictor(prefix, toy_record(config), mirror=False) as predictor:
        for image, label in map(load_sample, samples):
            probabilities = predictor.probabilities(image)[label != 255]
            losses.append(-np.log(probabilities[np.arange(len(probabilities)), label[label != 255]]))
            predicted = predictor.labels(image)
            pairs.append((label[label != 255], predicted[label != 255]))
    truth, predicted = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
    ious = [np.sum((truth == c) & (predicted == c)) / np.sum((truth == c) | (predicted == c))
            for c in np.union1d(truth, predicted)]  # fmt: skip
    assert scores.mean_iou == pytest.approx(np.mean(ious))
    assert scores.pixel_accuracy == pytest.approx(np.mean(truth == predicted))
    assert scores.loss == pytest.approx(np.concatenate(losses).mean(), rel=1e-5)

    with open(tmp_path / "scores-2.json", encoding="utf-8") as file:
        written = json.load(file)
    assert written["mean_iou"] == pytest.approx(np.mean(ious))
    assert written["loss"] == scores.loss
    assert written["run"] == {
        "run": os.path.basename(tiny_run.folder.path),
        "run_uuid": ModelRecord.read(tiny_run.folder.snapshots).origin.run_uuid,
        **snapshot_header(prefix), "dataset": "Toy", "data_dir": os.path.abspath(config.data_dir), "list": None,
        "split": "val", **scoring_settings(config, DataChecksums.of(samples, config.data_dir)),
    }  # fmt: skip
    names = set(os.listdir(tmp_path))
    assert {"scores-2.txt", "scores-2.md"} <= names

    [events] = [name for name in names if "tfevents" in name]
    shown = {
        (event.step, value.tag): value.simple_value
        for event in tf.train.summary_iterator(str(tmp_path / events))
        for value in event.summary.value
    }
    assert shown[2, "validation/mean_iou"] == pytest.approx(np.mean(ious))
    assert shown[2, "validation/loss"] == pytest.approx(scores.loss)
    assert shown[2, "validation/pixel_accuracy"] == pytest.approx(np.mean(truth == predicted))
    per_class = {name: iou for (_, tag), iou in shown.items() for name in [tag.removeprefix("validation/iou/")]
                 if name != tag}  # fmt: skip
    assert set(per_class) == {dataset.class_names[c] for c in np.union1d(truth, predicted)}
    assert np.mean(list(per_class.values())) == pytest.approx(np.mean(ious))


@pytest.mark.usefixtures("narrow_resnet")
def test_scores_of_some_or_no_images(tiny_run, toy_dir, tmp_path):
    dataset, folder = get_dataset("Toy"), RunFolder(str(tmp_path))
    samples = find_samples(dataset, toy_dir, ["val"])
    config, prefix = dataclasses.replace(tiny_run.config, test_max_iter=1), tiny_run.folder.snapshot(4)
    assert validate(config, RunData.of(dataset, toy_dir, [], samples), folder, prefix).images == 1
    tables = {name for name in os.listdir(tmp_path) if "tfevents" not in name}
    assert tables == {f"scores-4-test_max_iter1.{suffix}" for suffix in ("txt", "json", "md")}
    assert validate(config, RunData.of(dataset, toy_dir, []), folder, prefix) is None


@pytest.mark.usefixtures("narrow_resnet")
@pytest.mark.parametrize("eval_only", [True, False])
def test_scores_of_other_settings_or_images_leave_those_there(tiny_run, toy_dir, tmp_path, eval_only):
    """Without and after training; the same settings replace."""
    dataset = get_dataset("Toy")
    samples = find_samples(dataset, toy_dir, ["val"])
    data, others = (RunData.of(dataset, toy_dir, [], chosen) for chosen in (samples[:1], samples[1:2]))
    prefix, folder = tiny_run.folder.snapshot(4), RunFolder(str(tmp_path))
    plain = dataclasses.replace(tiny_run.config, mirror=False, eval_only=eval_only)
    validate(plain, data, folder, prefix)
    first = (tmp_path / "scores-4.json").read_bytes()
    names = []
    for config, scored in (
        (plain, data),
        (dataclasses.replace(plain, test_image_size=SIZE * 2), data),
        (plain, others),
    ):
        validate(config, scored, folder, prefix)
        names.append({name for name in os.listdir(tmp_path) if name.endswith(".json")})
    assert names[:2] == [{"scores-4.json"}, {"scores-4.json", f"scores-4-window{SIZE * 2}.json"}]
    [added] = names[2] - names[1]
    assert added.startswith("scores-4-data")
    assert (tmp_path / "scores-4.json").read_bytes() == first
