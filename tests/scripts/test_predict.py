"""predict.py, as a user starts it."""

from __future__ import annotations

import dataclasses
import glob
import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image

from database.datasets import find_samples, get_dataset
from tests.scripts.starting import LABEL_IDS, start, the_error
from tests.tools.toy_runs import write_random_pspnet
from tools.prediction import server_zip
from tools.runs.record import ModelRecord


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--log_dir", "empty"], "empty: no snapshot was found below this folder: train first, or give --weights_ckpt"),
        (["--weights_ckpt", "no/model.ckpt-3"], "no/model.ckpt-3: there is no such checkpoint"),
        (["--network", "resnet_v1_34"], "--network is resnet_v1_34 and .*model.ckpt-7 was trained with resnet_v1_18"),
        (["--database", "ADE"], "--database ADE has 150 classes and the checkpoint, trained on Toy, has 19"),
        (["--val_list", "v.txt"], "--val_list .* --database custom or ADE, .*the checkpoint was trained on Toy"),
        (["--database", "KITTI", "--data_dir", "no/such"], "--data_dir no/such: no such folder; KITTI is expected"),
        (["--server_zip", "1"], "--server_zip 1 .* server of Cityscapes, .* results .* of Toy: drop --server_zip"),
        (["--max_pixels", "4607"], r"\.png: 48x96 .* are 4608 pixels, and --max_pixels is 4607: give a smaller image"),
        (["--mode", "test", "--data_dir", "."], "split 'test' is empty: no images match"),
        (["--mode", "test", "--save_prediction", "0", "--coloring", "0"], "nothing, and no image of --mode test has"),
        (["--output_dir", "taken", "--test_max_iter", "1"], r"taken/provenance\.json: cannot be written"),
        (
            ["--output_dir", "taken", "--test_max_iter", "1", "--save_prediction", "0", "--coloring", "0"],
            r"taken/scores\.txt: table cannot be written",
        ),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("usual_pixel_limit")
def test_faults_of_predict(main, place, monkeypatch, tmp_path, capsys, changes, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("")
    flags = [] if {"--log_dir", "--weights_ckpt"} & set(changes) else ["--log_dir", place.log_dir]
    assert main("predict", *flags, *changes) == 2
    assert re.search(words, the_error(capsys.readouterr().err))
    assert os.listdir(tmp_path) == ["taken"]


def test_predict_writes_pictures_and_scores(place, tmp_path):
    done = start("predict", "--log_dir", place.log_dir, "--coloring", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "val_set" / "Toy" / "some-run" / "step7-ms0"
    dataset = get_dataset("Toy")
    samples = find_samples(dataset, place.data_dir, ["val"])
    assert sorted(os.listdir(folder)) == [
        "coloring", "overlay", "prediction", "provenance.json", "scores.json", "scores.md", "scores.txt"
    ]  # fmt: skip
    matrix = np.zeros((256, 256), int)
    for sample in samples:
        pictures = {kind: np.array(Image.open(folder / kind / f"{sample.name}_{kind}.png"))
                    for kind in ("prediction", "coloring", "overlay")}  # fmt: skip
        ids = pictures["prediction"]
        assert set(np.unique(ids)) <= LABEL_IDS
        colors = np.array([dataset.palette[dataset.label_map[i]] for i in ids.ravel()]).reshape(*ids.shape, 3)
        np.testing.assert_array_equal(pictures["coloring"], colors)
        blended = np.array(Image.open(sample.image)) / 2 + colors / 2
        assert np.abs(pictures["overlay"] - blended).max() <= 0.5
        np.add.at(matrix, (np.array(Image.open(sample.label)), ids), 1)
    matrix = matrix[sorted(LABEL_IDS)][:, sorted(LABEL_IDS)]
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - np.diag(matrix)
    mean_iou = np.mean(np.diag(matrix)[union > 0] / union[union > 0])
    scores = json.loads((folder / "scores.json").read_text())
    assert scores["mean_iou"] == pytest.approx(mean_iou)
    assert scores["run"]["checkpoint"] == place.snapshot
    assert (scores["run"]["step"], scores["run"]["split"], scores["images"]) == (7, "val", 2)
    assert f"{100 * mean_iou:.2f}" in re.search("mIoU.*", done.stdout).group(0)
    assert (folder / "scores.txt").read_text().endswith(done.stdout.rstrip("\n") + "\n")


def test_predict_on_images_without_labels(main, place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert main("predict", "--weights_ckpt", place.snapshot, "--mode", "test", "--coloring", "0") == 0
    folder = tmp_path / "test_set" / "Toy" / "some-run" / "step7-ms0"
    assert sorted(os.listdir(folder)) == ["prediction", "provenance.json"]
    [path] = (folder / "prediction").iterdir()
    assert Image.open(path).size == (96, 48)
    assert capsys.readouterr().out == ""


def test_zip_for_the_server_of_enlarged_images(main, place, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(server_zip, "_SIZE", (48, 96))  # of the generated scenes, in the layout of Cityscapes
    flags = ["--database", "Cityscapes", "--data_dir", place.data_dir, "--mode", "test", "--coloring", "0"]
    assert main("predict", "--log_dir", place.log_dir, *flags, "--server_zip", "1", "--upsample_input", "2") == 0
    folder = tmp_path / "test_set" / "Cityscapes" / "Toy-some-run" / "step7-ms0-upsample_input2"
    [path] = (folder / "prediction").iterdir()
    with zipfile.ZipFile(folder / "server.zip") as archive:
        assert archive.namelist() == [path.name]
        assert archive.read(path.name) == path.read_bytes()
    assert Image.open(path).size == (96, 48)


def test_predict_on_own_data_with_a_network_of_another_dataset(main, place, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (tmp_path / "mine" / kind / "val").mkdir(parents=True)
    Image.fromarray(rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)).save("mine/images/val/a.png")
    Image.fromarray(rng.integers(100, 119, (20, 30)).astype(np.uint8)).save("mine/labels/val/a.png")
    colors = [(i, 100 + i, 200 + i) for i in range(19)]
    Path("colours.txt").write_text("".join(f"{r} {g} {b} thing {r}\n" for r, g, b in colors))
    Path("ids.txt").write_text("".join(f"{100 + i} {i}\n" for i in range(19)))
    flags = ["--database", "custom", "--data_dir", "mine", "--num_classes", "19", "--palette", "colours.txt"]
    assert main("predict", "--log_dir", place.log_dir, *flags, "--label_map", "ids.txt", "--ignore_label", "7") == 0
    folder = tmp_path / "val_set" / "custom-mine" / "Toy-some-run" / "step7-ms0"
    ids = np.array(Image.open(folder / "prediction" / "a_prediction.png"))
    assert set(np.unique(ids)) <= set(range(100, 119))
    coloring = np.array(Image.open(folder / "coloring" / "a_coloring.png"))
    np.testing.assert_array_equal(coloring, np.stack([ids - 100, ids, ids + 100], axis=-1))
    scores = json.loads((folder / "scores.json").read_text())
    assert scores["run"]["dataset"] == "custom"
    assert [row["name"] for row in scores["classes"]] == [f"thing {i}" for i in range(19)]


def test_a_run_is_followed_to_its_last_snapshot(main, place, monkeypatch, tmp_path, capsys, caplog):
    caplog.set_level("INFO")
    monkeypatch.chdir(tmp_path)
    run = shutil.copytree(Path(place.snapshot).parents[1], tmp_path / "run")
    record = ModelRecord.read(str(run / "snapshot"))
    dataclasses.replace(record, flags={**record.flags, "train_max_iter": 7}).write(str(run / "snapshot"))
    flags = ("--follow", str(run), "--test_max_iter", "1", "--coloring", "0", "--output_dir", "results")
    assert main("predict", *flags) == 0
    scores = json.loads((tmp_path / "results" / "step7" / "scores.json").read_text())
    [events] = glob.glob(str(run / "events.out.tfevents.*.validation-7"))
    values = {value.tag: (event.step, value.simple_value) for event in tf.train.summary_iterator(events)
              for value in event.summary.value}  # fmt: skip
    assert values["validation/mean_iou"] == (7, pytest.approx(scores["mean_iou"]))
    assert values["validation/loss"] == (7, pytest.approx(scores["loss"]))
    capsys.readouterr()
    assert main("predict", *flags) == 0
    assert capsys.readouterr().out == ""
    assert "model.ckpt-7 is already scored in results/step7" in caplog.text


@pytest.mark.slow
def test_a_run_that_cannot_be_written_to_is_followed(main, place, monkeypatch, tmp_path, capsys, caplog):
    """Both snapshots are scored; TensorBoard lacks the scores, and a warning says so."""
    monkeypatch.chdir(tmp_path)
    run = shutil.copytree(Path(place.snapshot).parents[1], tmp_path / "run")
    for path in list((run / "snapshot").glob("model.ckpt-7.*")):
        shutil.copy(path, str(path).replace("ckpt-7", "ckpt-8"))
    record = ModelRecord.read(str(run / "snapshot"))
    dataclasses.replace(record, flags={**record.flags, "train_max_iter": 8}).write(str(run / "snapshot"))

    def refuse(*arguments: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tools.training.summaries.write_validation", refuse)
    flags = ("--follow", str(run), "--test_max_iter", "1", "--coloring", "0", "--output_dir", "results")
    assert main("predict", *flags) == 0
    assert sorted(path.parent.name for path in (tmp_path / "results").rglob("scores.json")) == ["step7", "step8"]
    warnings = [message for message in caplog.messages if "TensorBoard will not show" in message]
    assert len(warnings) == 2
    assert "Read-only file system" in warnings[0]


@pytest.mark.slow
def test_another_run_of_the_same_name_is_predicted_anew(main, place, monkeypatch, tmp_path, capsys, caplog):
    """Its snapshot has the same path and step, and other weights."""
    monkeypatch.chdir(tmp_path)
    run = shutil.copytree(Path(place.snapshot).parents[1], tmp_path / "log" / "Toy" / "run")
    record = ModelRecord.read(str(run / "snapshot"))
    dataclasses.replace(record, flags={**record.flags, "train_max_iter": 7}).write(str(run / "snapshot"))
    flags = ("--follow", str(run), "--test_max_iter", "1", "--coloring", "0", "--mirror", "0")
    scores = []
    for seed in (None, 1):
        if seed is not None:
            write_random_pspnet(str(run / "snapshot" / "model.ckpt-7"), record.architecture, seed)
        assert main("predict", *flags) == 0
        scores.append(capsys.readouterr().out)
    assert "mIoU" in scores[1]
    folders = sorted((tmp_path / "val_set" / "Toy" / "run").iterdir())
    assert [folder.name for folder in folders] == [
        "step7-ms0-mirror0-test_max_iter1",
        "step7-ms0-mirror0-test_max_iter1-2",
    ]
    checksums = {json.loads((folder / "scores.json").read_text())["run"]["checkpoint_sha256"] for folder in folders}
    assert len(checksums) == 2
    assert main("predict", "--weights_ckpt", str(run), "--output_dir", str(folders[0]), *flags[2:]) == 2
    assert "contains results of" in the_error(capsys.readouterr().err)


@pytest.mark.slow
def test_towers_and_times(main, place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    outputs = []
    for flags in ((), ("--gpu_num", "2"), ("--measure_time", "1")):
        assert main("predict", "--log_dir", place.log_dir, "--output_dir", "results", *flags) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] == outputs[2]
    latency = json.loads((tmp_path / "results" / "latency.json").read_text())
    assert latency["images"] == 1
    assert 0 < latency["median_seconds"] == latency["percentile_95_seconds"]
