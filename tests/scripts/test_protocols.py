"""Protocols, shares of a split, and files that exist already, as a user starts predict.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from database.datasets import find_samples, get_dataset
from database.loading import load_label
from tests.scripts.starting import the_error


def scores_in(folder) -> dict:
    return json.loads((Path(folder) / "scores.json").read_text())


@pytest.fixture
def predict(main, place, tmp_path, monkeypatch):
    """A function that predicts or scores with flags, in an empty folder, and returns the exit code."""
    monkeypatch.chdir(tmp_path)
    return lambda *flags: main("predict", *flags)


@pytest.mark.slow
def test_shares_score_together_what_the_split_scores(predict, place, tmp_path, caplog):
    common = ["--weights_ckpt", place.snapshot, "--coloring", "0"]
    assert predict(*common, "--cityscapes_scores", "1", "--boundary_iou", "1", "--output_dir", "whole") == 0
    for start in (0, 1):
        assert predict(*common, "--index_start", str(start), "--index_step", "1") == 0
    assert "partial: only images 1 to 1 of 2" in caplog.text
    base = tmp_path / "val_set/Toy/some-run"
    shares = [base / "step7-ms0-index_step1", base / "step7-ms0-index_start1-index_step1"]
    assert [scores_in(share)["run"]["partial"] for share in shares] == ["images 0 to 0 of 2", "images 1 to 1 of 2"]
    assert [scores_in(share)["images"] for share in shares] == [1, 1]

    joined = ",".join(map(str, shares))
    flags = ["--has_prediction", joined, "--cityscapes_scores", "1", "--boundary_iou", "1", "--per_image", "1"]
    assert predict(*flags, "--output_dir", "scored") == 0
    whole, scored, parts = scores_in("whole"), scores_in("scored"), [scores_in(share) for share in shares]
    # Files of ids have no probabilities.
    loss = sum(part["loss"] * part["pixels"] for part in parts) / sum(part["pixels"] for part in parts)
    assert whole.pop("loss") == pytest.approx(loss, rel=1e-12)
    assert {**whole, "run": None} == {**scored, "run": None}
    assert scored["run"]["predictions"] == joined
    assert {"boundaries", "classes_with_instances", "categories"} < set(scored)
    assert "partial" not in scored["run"]
    assert len((tmp_path / "scored/per_image.csv").read_text().splitlines()) == 3


def test_training_ids_of_another_program(predict, place, tmp_path, capsys):
    """The labels themselves, as semseg would write them: every score is 1."""
    (tmp_path / "gray").mkdir()
    for sample in find_samples(get_dataset("Toy"), place.data_dir, ["val"]):
        label = load_label(sample)
        Image.fromarray(np.where(label == 255, 0, label).astype(np.uint8)).save(tmp_path / f"gray/{sample.name}.png")
    flags = ["--has_prediction", "gray", "--database", "Toy", "--data_dir", place.data_dir]
    assert predict(*flags, "--prediction_ids", "train") == 0
    scores = scores_in(next((tmp_path / "val_set/Toy/scored").glob("*-prediction_idstrain")))
    assert scores["mean_iou"] == scores["overall_score"] == scores["mean_dice"] == 1
    assert predict("--has_prediction", "gray") == 2
    assert "--database" in the_error(capsys.readouterr().err)


def test_the_confusion_matrix_has_the_pixels_of_no_class(predict, place, tmp_path):
    """As scores.json counts them: each row is the pixels of a true class."""
    pytest.importorskip("matplotlib")
    (tmp_path / "gray").mkdir()
    expected = np.zeros((19, 20), int)
    for sample in find_samples(get_dataset("Toy"), place.data_dir, ["val"]):
        label = load_label(sample)
        predicted = np.where(label == 255, 0, label).astype(np.uint8)
        predicted[:10] = 255
        Image.fromarray(predicted).save(tmp_path / f"gray/{sample.name}.png")
        for true, found in zip(label.ravel(), predicted.ravel(), strict=True):
            if true != 255:
                expected[true, min(found, 19)] += 1
    flags = ["--has_prediction", "gray", "--database", "Toy", "--data_dir", place.data_dir, "--output_dir", "out"]
    assert predict(*flags, "--prediction_ids", "train", "--confusion_matrix", "1") == 0
    header, *rows = [line.split(",") for line in (tmp_path / "out/confusion_matrix.csv").read_text().splitlines()]
    assert header[-1] == "no class"
    np.testing.assert_array_equal([list(map(int, row[1:])) for row in rows], expected)
    assert scores_in("out")["pixels"] == expected.sum()


@pytest.mark.slow
def test_protocols_never_share_a_folder(predict, place, tmp_path):
    """Each protocol has a name and a checksum of its own, and the scores record it."""
    protocols = {
        "": {},
        "-scales0.5,1.0": {"scales": "0.5,1.0"},
        "-base_size64": {"base_size": "64"},
        "-overlapceil": {"overlap": "ceil"},
        "-window_paddingboth": {"window_padding": "both"},
        "-flipped_evalwindows": {"flipped_eval": "windows"},
        "-flipped_evallogits": {"flipped_eval": "logits"},
        "-short_sides32,40": {"short_sides": "32,40"},
    }
    checksums = set()
    for ending, flags in protocols.items():
        line = [part for name, value in flags.items() for part in (f"--{name}", value)]
        assert predict("--weights_ckpt", place.snapshot, "--coloring", "0", "--test_max_iter", "1", *line) == 0
        wanted = sorted(f"step7-ms0{ending}-test_max_iter1".split("-"))
        folders = (tmp_path / "val_set/Toy/some-run").iterdir()
        [folder] = [path for path in folders if sorted(path.name.split("-")) == wanted]
        header = scores_in(folder)["run"]
        assert {name: str(header[name]) for name in flags} == flags
        checksums.add(header["results_sha256"])
    assert len(checksums) == len(protocols)


def test_another_protocol_is_refused_in_the_same_folder(predict, place, capsys):
    flags = ["--weights_ckpt", place.snapshot, "--coloring", "0", "--test_max_iter", "1", "--output_dir", "out"]
    assert predict(*flags) == 0
    capsys.readouterr()
    assert predict(*flags, "--overlap", "ceil") == 2
    assert "they differ in overlap" in the_error(capsys.readouterr().err)
