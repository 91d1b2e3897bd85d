"""What predictions and labels add to a report, and the notices where they are missing."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest

from database.datasets import find_samples, get_dataset
from database.loading import load_label
from tests.tools.report.written_run import write_run
from tools.report import predictions
from tools.report.evaluations import evaluations, label_shares
from tools.report.pictures import UNSCORED
from tools.report.prediction_options import PredictionOptions
from tools.report.reported_run import read_reported_runs

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def options(data_dir=None):
    return PredictionOptions("val_set", data_dir, "cpu")


def runs_at(*folders):
    return read_reported_runs([str(folder) for folder in folders], "val_set")


def expected_shares(data_dir) -> list[float]:
    labels = [load_label(sample).ravel() for sample in find_samples(get_dataset("Toy"), data_dir, ["val"])]
    valid = np.concatenate(labels)
    valid = valid[valid != 255]
    return [np.mean(valid == index) for index in range(get_dataset("Toy").num_classes)]


def test_predictions_become_matrix_shares_and_pictures(run_copy, toy_dir):
    [run] = runs_at(run_copy)
    found = evaluations([run], options(), images=1)
    assert found.notices == []
    about = found.runs[run.path]
    assert about.shares == pytest.approx(expected_shares(toy_dir))
    union = about.matrix.sum(0) + about.matrix.sum(1) - about.matrix.diagonal()
    assert about.mean_iou == pytest.approx((about.matrix.diagonal()[union > 0] / union[union > 0]).mean())
    [group] = found.groups
    assert [card.kind for card in group.cards] == ["best", "worst"]
    assert group.names == get_dataset("Toy").class_names
    assert (group.cards[0].views.height, group.cards[0].views.width) == (48, 96)


def test_runs_on_the_same_images_share_their_pictures(run_copy):
    other = run_copy.parent / "other"
    shutil.copytree(run_copy, other, copy_function=os.link)
    for path in (other / "snapshot").glob("model.ckpt-4*"):
        path.unlink()
    found = evaluations(runs_at(run_copy, other), options(), images=1)
    [group] = found.groups
    assert all(len(card.views.predictions) == len(card.captions) == 2 for card in group.cards)
    assert group.cards[0].captions[1].startswith(f"{os.path.join('Toy', 'other')}: mean IoU")


def test_images_without_labels(run_copy, toy_dir, tmp_path):
    data_dir = tmp_path / "unlabelled"
    shutil.copytree(os.path.join(toy_dir, "leftImg8bit"), data_dir / "leftImg8bit")
    [run] = runs_at(run_copy)
    found = evaluations([run], options(str(data_dir)), images=1)
    if found.groups:  # datasets differ in whether a validation split needs labels
        assert found.groups[0].cards[0].kind == UNSCORED
    assert any("labels" in notice or str(data_dir) in notice for notice in found.notices)


def test_moved_images(run_copy, tmp_path):
    [run] = runs_at(run_copy)
    found = evaluations([run], options(str(tmp_path / "moved")), images=1)
    assert (found.runs, found.groups) == ({}, [])
    [notice] = found.notices
    assert str(tmp_path / "moved") in notice
    assert "--data_dir" in notice


def test_run_without_weights_has_shares(run_copy, toy_dir):
    shutil.rmtree(run_copy / "snapshot")
    [run] = runs_at(run_copy)
    found = evaluations([run], options(), images=1)
    assert found.runs[run.path].shares == pytest.approx(expected_shares(toy_dir))
    assert found.runs[run.path].matrix is None
    assert "no checkpoint" in found.notices[0]


def test_nothing_is_predicted_without_images(run_copy, toy_dir, monkeypatch):
    monkeypatch.setattr("tools.report.evaluations.import_tensorflow", None)
    [run] = runs_at(run_copy)
    found = evaluations([run], None, images=0)
    assert found.runs[run.path].shares == pytest.approx(expected_shares(toy_dir))
    assert "--images is 0" in found.notices[0]
    assert not os.path.exists("val_set")


def test_damaged_flags_become_a_notice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_run(tmp_path, "a", data_dir="nowhere")
    [run] = runs_at(folder)
    assert any("nowhere" in notice for notice in evaluations([run], None, 0).notices)
    record = json.loads((folder / "config.json").read_text())
    for name, value in (("max_pixels", "x"), ("database", 7), ("database", "none"), ("data_dir", 3), ("holdout", "x")):
        (folder / "config.json").write_text(json.dumps({**record, "flags": {**record["flags"], name: value}}))
        [run] = runs_at(folder)
        assert evaluations([run], options(), 1).runs == {}


def test_labels_of_another_folder(run_copy, toy_dir, tmp_path):
    copied = tmp_path / "copied"
    shutil.copytree(toy_dir, copied)
    assert label_shares(runs_at(run_copy)[0], str(copied)) == pytest.approx(expected_shares(toy_dir))


def test_runs_of_other_colors_do_not_share_their_pictures(run_copy, monkeypatch):
    """The second would be drawn in the colours of the first."""
    other = run_copy.parent / "other"
    shutil.copytree(run_copy, other)
    found_dataset = predictions.prediction_dataset

    def with_other_colors(config, trained):
        dataset, folder = found_dataset(config, trained)
        colors = ((1, 2, 3), *dataset.palette[1:])
        is_other = os.path.basename(config.weights_ckpt) == "other"
        return (dataclasses.replace(dataset, palette=colors) if is_other else dataset), folder

    monkeypatch.setattr(predictions, "prediction_dataset", with_other_colors)
    found = evaluations(runs_at(run_copy, other), options(), images=1)
    assert [group.palette[0] == (1, 2, 3) for group in found.groups] == [False, True]
