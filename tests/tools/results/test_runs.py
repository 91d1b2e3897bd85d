"""Finds the runs of a log folder, and which scores belong to which run."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from tests.tools.command_lines import parse
from tests.tools.results.written_runs import run_at, scores_of, write, write_snapshot
from tools.flags.predict import PredictConfig
from tools.prediction.provenance import provenance_of
from tools.prediction.score_files import run_header, snapshot_header
from tools.prediction.score_header import SETTINGS
from tools.results.runs import Score, find_runs, read_runs
from tools.runs.data_checksums import DataChecksums
from tools.runs.record import ModelRecord
from tools.training.validation import scoring_settings


def _bare(score: Score) -> Score:
    assert os.path.exists(score.path)
    return dataclasses.replace(score, path="")


def test_runs_with_their_scores(folders, caplog):
    first, second = find_runs(*folders)
    assert (first.name, second.name) == ("Toy/a", "Toy/b")
    assert first.flags["lrn_rate"] == 0.01
    assert [_bare(score) for score in first.scores] == [
        Score("scores-600", 600, None, 0.75),
        Score("scores-900", 900, 0.25, 0.75),
        Score("step900-ms1", 900, 0.5, 0.75),
    ]
    assert second.scores == []
    assert [run.name for run in find_runs(*folders, earlier=True)] == ["Toy/a", "Toy/b", "Toy/b.earlier-1"]
    assert "damaged/config.json is ignored" in caplog.text
    assert "scores-700.json is ignored" in caplog.text


def test_runs_are_read_by_their_folders(folders, tmp_path):
    """As the list has them, wherever they are and in the given order."""
    log, predictions = folders
    paths = [os.path.join(log, "Toy", name) for name in ("b", "damaged", "a")]
    found = read_runs(paths, predictions)
    assert list(found) == [paths[0], paths[2]]
    assert list(found.values()) == [*reversed(find_runs(*folders))]
    assert read_runs([], predictions) == {}


def test_scores_are_found_by_the_run_they_are_of(tmp_path):
    """Scores belong to the run in their header, whatever their folder, name and dataset are."""
    log, predictions = tmp_path / "log", tmp_path / "val_set"
    runs = {uuid: run_at(log, name, 0, uuid) for name, uuid in (("a", "u1"), ("b", "u2"))}
    checksums = {uuid: write_snapshot(run, 5, uuid) for uuid, run in runs.items()}
    headers = {uuid: {"run_uuid": uuid, "checkpoint_sha256": checksum} for uuid, checksum in checksums.items()}
    write(predictions / "Toy" / "a" / "step5-ms0" / "scores.json", scores_of(5, 0.2, **headers["u2"]))
    write(predictions / "Toy" / "b" / "step5-ms0" / "scores.json", scores_of(5, 0.1, **headers["u1"]))
    write(predictions / "x" / "y" / "z" / "mine" / "scores.json", scores_of(5, 0.3, dataset="custom", **headers["u1"]))
    write(predictions / "t" / "scores.json", scores_of(5, 0.4, split="train", **headers["u2"]))
    found = {
        run.name: {score.of: score.mean_iou for score in run.scores} for run in find_runs(str(log), str(predictions))
    }
    assert found == {
        "Toy/a": {"step5-ms0": 0.1, "custom mine": 0.3},
        "Toy/b": {"step5-ms0": 0.2, "train t": 0.4},
    }


def test_scores_of_a_snapshot_written_anew_are_ignored(tmp_path, caplog):
    run = run_at(tmp_path / "log", "a", 0, "u")
    old = write_snapshot(run, 5, "first")
    write_snapshot(run, 5, "second")
    header = {"run_uuid": "u", "checkpoint_sha256": old}
    write(run / "scores-5.json", scores_of(5, 0.9, **header))
    write(tmp_path / "val_set" / "x" / "scores.json", scores_of(5, 0.9, **header))
    write(run / "scores-3.json", scores_of(3, 0.3, run_uuid="u", checkpoint_sha256="of a snapshot that is pruned"))
    [found] = find_runs(str(tmp_path / "log"), str(tmp_path / "val_set"))
    assert [score.of for score in found.scores] == ["scores-3"]
    assert caplog.text.count("snapshot of step 5 was overwritten since") == 2


def test_scores_that_another_run_left_in_the_folder_are_ignored(tmp_path):
    run = run_at(tmp_path / "log", "a", 0, "u")
    write(run / "scores-5.json", scores_of(5, 0.9, run_uuid="another"))
    [found] = find_runs(str(tmp_path / "log"), "none")
    assert found.scores == []


def test_copies_of_a_run_keep_their_scores_apart(tmp_path):
    """Both have the UUID of the run; the header of predictions has the name of the run as well."""
    log, predictions = tmp_path / "log", tmp_path / "val_set"
    for name in ("a", "b"):
        run = run_at(log, name, 0, "u")
        checksum = write_snapshot(run, 5, "same")
        header = {"run_uuid": "u", "checkpoint_sha256": checksum, "run": name}
        write(predictions / name / "step5" / "scores.json", scores_of(5, 0.5, **header))
    found = find_runs(str(log), str(predictions))
    assert [[Path(score.path).parts[-3] for score in run.scores] for run in found] == [["a"], ["b"]]


def test_scores_of_earlier_versions_outside_of_a_run_are_counted(tmp_path, caplog):
    """Their path does not identify the run: another run may have had the same name."""
    run_at(tmp_path / "log", "a", 0, None)
    for name in ("step5-ms0", "step6-ms0"):
        write(tmp_path / "val_set" / "Toy" / "a" / name / "scores.json", scores_of(5, 0.9))
    [found] = find_runs(str(tmp_path / "log"), str(tmp_path / "val_set"))
    assert found.scores == []
    assert "2 files of scores do not name their snapshot" in caplog.text


def test_a_real_run_is_listed(tiny_run):
    log_dir = tiny_run.config.log_dir
    [run] = find_runs(log_dir, "none")
    assert run.flags["network"] == tiny_run.config.network
    assert run.name.startswith("Toy/")


def test_settings_are_all_that_training_and_prediction_score_with(tiny_run):
    """A setting that is not listed would let different scores be averaged."""
    of_training = scoring_settings(tiny_run.config, DataChecksums.of((), "")).keys()
    prefix, record = tiny_run.folder.snapshot(4), ModelRecord.read(tiny_run.folder.snapshots)
    lines = (  # each setting with another value than its default, which may be left out of the header
        "--use_ema 0 --scales 1,1.5 --flipped_eval logits --overlap ceil --window_padding both --index_start 1",
        "--base_size 512 --index_step 2",
        "--short_sides 96 --longest_side 500",
    )
    of_prediction = {
        name for line in lines for name in provenance_of(parse(line, PredictConfig), prefix, record).header
    }
    facts = {*run_header(prefix, record.origin), *snapshot_header(prefix)}
    facts |= {"dataset", "data_dir", "list", "data_sha256", "results_sha256"}
    assert {*of_training, *of_prediction} - facts == set(SETTINGS)
