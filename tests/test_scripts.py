"""The three scripts, as a user starts them."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from database.classes import CITYSCAPES_LABEL_MAP
from database.datasets import find_samples, get_dataset
from database.synthetic import write_dataset
from model import resnet
from model.pspnet_mg import Architecture
from tests.tools.runs import (
    NARROW,
    NETWORK,
    SIZE,
    resnet_values,
    tiny_config,
    toy_record,
    write_checkpoint,
    write_random_pspnet,
)
from tools.console import run_script

ROOT = Path(__file__).resolve().parent.parent
LABEL_IDS = {file_id for file_id, train_id in CITYSCAPES_LABEL_MAP.items() if train_id != 255}
TRAIN_FLAGS = (
    "--database Toy --network resnet_v1_18 --batch_size 2 --train_image_size 32 --test_image_size 32 "
    "--train_max_iter 2 --snapshot 2 --show_period 1 --weight_decay_mode 0 --fine_tune_filename none"
)


@dataclass(frozen=True)
class Place:
    """A folder with generated scenes and a log folder that holds one snapshot."""

    folder: Path

    @property
    def data_dir(self) -> str:
        return str(self.folder / "toy")

    @property
    def log_dir(self) -> str:
        return str(self.folder / "log")

    @property
    def snapshot(self) -> str:
        return str(self.folder / "log" / "Toy" / "some-run" / "snapshot" / "model.ckpt-7")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("place"))
    write_dataset(place.data_dir, train=4, val=2, test=1, height=48, width=96)
    write_random_pspnet(place.snapshot, Architecture(NETWORK, 19))
    toy_record(tiny_config(place.data_dir, place.log_dir)).write(os.path.dirname(place.snapshot))
    yield place
    shutil.rmtree(place.folder)


def start(script: str, *flags: str, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess:
    """Runs a script in a process of its own."""
    command = [sys.executable, str(ROOT / f"{script}.py"), *flags]
    return subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, text=True, check=False)


@pytest.fixture
def main() -> Callable[..., int]:
    """A function that runs a script's main in this process and returns its exit code."""

    def run(script: str, *flags: str) -> int:
        return run_script(runpy.run_path(str(ROOT / f"{script}.py"))["main"], flags)

    return run


def the_error(output: str) -> str:
    """The one error line; there is no traceback, and nothing follows."""
    assert "Traceback" not in output
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert output.splitlines()[-1] == lines[0]
    return lines[0]


@pytest.mark.parametrize("script", ["train", "predict", "inference"])
def test_wrong_flag_is_one_line(script, tmp_path):
    done = start(script, "--batchsize", "4", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: unrecognized arguments: --batchsize 4")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert os.listdir(tmp_path) == []


def test_missing_data_is_one_line(tmp_path):
    done = start("train", "--batch_size", "2", "--data_dir", "no/such/folder", cwd=tmp_path)
    assert done.returncode == 2
    assert "--data_dir no/such/folder: no such folder; Cityscapes is expected there" in the_error(done.stderr)
    assert not re.search("^(I0000|WARNING: All log)", done.stderr, re.MULTILINE)  # TensorFlow's start
    assert done.stdout == ""
    assert os.listdir(tmp_path) == []


def test_help_of_each_script_needs_no_tensorflow(main, capsys):
    for script in ("train", "predict", "inference"):
        with pytest.raises(SystemExit) as caught:
            main(script, "--help")
        assert caught.value.code == 0
        assert "--database" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--subsets_for_training", "train,dev"], "Toy has no split 'dev', only train, val, test"),
        (
            ["--fine_tune_filename", "mine.ckpt"],
            "mine.ckpt: there is no such checkpoint: give the ResNet checkpoint",
        ),
        (
            ["--resume_step", "1"],
            r"model.ckpt-1: no snapshot of --resume_step 1 \(there is none in its folder\)",
        ),
        (["--eval_only", "1"], "snapshot: there is no such checkpoint"),
    ],
)
def test_faults_of_train(main, place, monkeypatch, tmp_path, capsys, changes, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, NARROW)
    assert main("train", *TRAIN_FLAGS.split(), "--data_dir", place.data_dir, *changes) == 2
    assert re.search(words, the_error(capsys.readouterr().err))
    assert os.listdir(tmp_path) == []


def test_train_refuses_a_resnet_of_another_depth(main, place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, NARROW)
    write_checkpoint(str(tmp_path / "resnet.ckpt"), resnet_values("resnet_v1_34"))
    assert main("train", *TRAIN_FLAGS.split(), "--data_dir", place.data_dir, "--fine_tune_filename", "resnet.ckpt") == 2
    assert re.search("resnet.ckpt: .*it holds resnet_v1_34.*--network", the_error(capsys.readouterr().err))
    assert not os.path.exists("log")


def test_validation_images_may_not_be_trained_on(main, place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    data_dir = tmp_path / "toy"
    shutil.copytree(place.data_dir, data_dir)
    shutil.rmtree(data_dir / "leftImg8bit" / "val")
    shutil.rmtree(data_dir / "gtFine" / "val")
    for kind in ("leftImg8bit", "gtFine"):
        os.symlink(data_dir / kind / "train", data_dir / kind / "val")
    assert main("train", *TRAIN_FLAGS.split(), "--data_dir", str(data_dir)) == 2
    assert "3 more validation images are among the training images" in the_error(capsys.readouterr().err)


def test_train_scores_what_it_trained(main, place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, NARROW)
    flags = [*TRAIN_FLAGS.split(), "--data_dir", place.data_dir, "--log_dir", str(tmp_path / "log")]
    assert main("train", *flags) == 0
    table = capsys.readouterr().out
    [folder] = (tmp_path / "log" / "Toy").iterdir()
    assert (folder / "snapshot" / "model.ckpt-2.index").exists()
    scores = json.loads((folder / "scores-2.json").read_text())
    assert scores["images"] == 2
    assert f"mIoU %{100 * scores['mean_iou']:25.2f}".split() == re.search("mIoU.*", table).group(0).split()
    assert (folder / "scores-2.txt").read_text().endswith(table.rstrip("\n") + "\n")

    for path in folder.glob("scores-2.*"):
        path.unlink()
    assert main("train", *flags, "--eval_only", "1") == 0
    assert capsys.readouterr().out == table
    assert json.loads((folder / "scores-2.json").read_text())["mean_iou"] == scores["mean_iou"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--log_dir", "empty"], "empty: no snapshot was found below this folder: train first, or give --weights_ckpt"),
        (["--weights_ckpt", "no/model.ckpt-3"], "no/model.ckpt-3: there is no such checkpoint"),
        (["--network", "resnet_v1_34"], r"model.ckpt-7: .* missing \(it holds resnet_v1_18\): .*--network"),
        (["--database", "ADE"], "--database ADE has 150 classes and the checkpoint .* has 19"),
        (["--database", "KITTI", "--data_dir", "no/such"], "--data_dir no/such: no such folder; KITTI is expected"),
        (["--mode", "test", "--data_dir", "."], "split 'test' is empty: no images by"),
        (["--output_dir", "taken", "--test_max_iter", "1"], r"taken/prediction/.*\.png: image cannot be written"),
        (
            ["--output_dir", "taken", "--test_max_iter", "1", "--save_prediction", "0", "--coloring", "0"],
            r"taken/scores\.txt: table cannot be written",
        ),
    ],
)  # fmt: skip
def test_faults_of_predict(main, place, monkeypatch, tmp_path, capsys, changes, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("")
    flags = [] if "--log_dir" in changes else ["--log_dir", place.log_dir]
    assert main("predict", *flags, *changes) == 2
    assert re.search(words, the_error(capsys.readouterr().err))
    assert os.listdir(tmp_path) == ["taken"]


def test_predict_writes_pictures_and_scores(place, tmp_path):
    done = start("predict", "--log_dir", place.log_dir, "--coloring", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "val_set" / "some-run"
    dataset = get_dataset("Toy")
    samples = find_samples(dataset, place.data_dir, ["val"])
    assert sorted(os.listdir(folder)) == [
        "coloring", "overlay", "prediction", "scores.json", "scores.md", "scores.txt"
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
    folder = tmp_path / "test_set" / "some-run"
    assert os.listdir(folder) == ["prediction"]
    [path] = (folder / "prediction").iterdir()
    assert Image.open(path).size == (96, 48)
    assert capsys.readouterr().out == ""


def write_images(folder: Path) -> dict[str, tuple[int, int]]:
    """Images of many kinds; returns (width, height) by file name."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    colour = rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)
    grey16 = rng.integers(0, 65536, (9, 5)).astype(np.uint16)
    Image.fromarray(colour).save(folder / "rgb.jpg")
    Image.fromarray(colour[..., 0]).save(folder / "grey.png")
    Image.fromarray(np.dstack([colour, colour[..., :1]])).save(folder / "rgba.png")
    Image.fromarray(colour).quantize(16).save(folder / "palette.png")
    Image.fromarray(grey16).save(folder / "sixteen_bit.png")
    Image.fromarray(colour[:1, :1]).save(folder / "one_pixel.png")
    large = {name: (30, 20) for name in ("rgb.jpg", "grey.png", "rgba.png", "palette.png")}
    return {**large, "sixteen_bit.png": (5, 9), "one_pixel.png": (1, 1)}


def test_inference_asks_for_paths(place, tmp_path):
    sizes = write_images(tmp_path / "images")
    (tmp_path / "not_an_image.txt").write_text("words")
    paths = ["no/such/file", "not_an_image.txt", "images", *(f"images/{name}" for name in sizes)]
    done = start("inference", "--log_dir", place.log_dir, cwd=tmp_path, stdin="\n".join(paths) + "\n")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert [line.split(": ")[1] for line in errors] == paths[:3]
    results = tmp_path / "inference_set" / "some-run"
    for name, size in sizes.items():
        stem = os.path.splitext(name)[0]
        assert f"images/{name}: " in done.stdout
        for kind in ("prediction", "coloring", "overlay"):
            path = results / kind / f"{stem}_{kind}.png"
            assert str(path.relative_to(tmp_path)) in done.stdout
            assert Image.open(path).size == size
        assert set(np.unique(np.array(Image.open(results / "prediction" / f"{stem}_prediction.png")))) <= LABEL_IDS
    assert len(os.listdir(results / "prediction")) == len(sizes)


def test_inference_leaves_at_an_empty_line(main, place, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    lines = iter(["", "never read"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    assert main("inference", "--log_dir", place.log_dir) == 0
    assert next(lines) == "never read"
    assert os.listdir(tmp_path) == []


def test_inference_of_a_folder_passes_over_what_is_no_image(main, place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images")
    (tmp_path / "images" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    flags = ["--log_dir", place.log_dir, "--image_path", "images", "--output_dir", "out", "--coloring", "0"]
    assert main("inference", *flags) == 0
    output = capsys.readouterr()
    assert "error: images/broken.png: not an image" in output.err
    assert output.out.count(" s -> out/prediction/") == 6
    assert sorted(os.listdir("out")) == ["prediction"]


def test_inference_of_one_image(main, place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images")
    (tmp_path / "none").mkdir()
    flags = ["--weights_ckpt", place.snapshot, "--output_dir", "out", "--test_image_size", str(SIZE)]
    assert main("inference", *flags, "--image_path", "images/grey.png") == 0
    assert sorted(os.listdir("out")) == ["coloring", "overlay", "prediction"]
    capsys.readouterr()
    assert main("inference", *flags, "--image_path", "absent.png") == 2
    assert "absent.png: not an image that can be read" in the_error(capsys.readouterr().err)
    assert main("inference", *flags, "--image_path", "none") == 2
    assert "none: no image is in this folder" in the_error(capsys.readouterr().err)
