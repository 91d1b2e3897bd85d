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
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    return subprocess.run(
        command,
        cwd=cwd,
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        env=environment,
        check=False,
    )


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
        (["--database", "ADE"], "--database ADE has 150 classes and the checkpoint, trained on Toy, has 19"),
        (["--val_list", "v.txt"], "--val_list is for --database custom, and the checkpoint was trained on Toy"),
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
    folder = tmp_path / "val_set" / "Toy" / "some-run" / "step7-ms0"
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
    folder = tmp_path / "test_set" / "Toy" / "some-run" / "step7-ms0"
    assert os.listdir(folder) == ["prediction"]
    [path] = (folder / "prediction").iterdir()
    assert Image.open(path).size == (96, 48)
    assert capsys.readouterr().out == ""


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
    sizes = {**write_images(tmp_path / "images"), "\udcff.png": (30, 20)}  # a name that is no text
    shutil.copy(tmp_path / "images" / "rgba.png", tmp_path / "images" / "\udcff.png")
    (tmp_path / "not_an_image.txt").write_text("words")
    paths = ["no/such/file", "not_an_image.txt", "images", *(f"images/{name}" for name in sizes)]
    done = start("inference", "--log_dir", place.log_dir, cwd=tmp_path, stdin="\n".join(paths) + "\n")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert [line.split(": ")[1] for line in errors] == paths[:3]
    results = tmp_path / "inference_set" / "Toy" / "some-run" / "step7-ms0"
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


def test_inference_of_images_of_one_name(main, place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    for folder, grey in (("a", 0), ("b", 255)):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.full((9, 9), grey, np.uint8)).save(tmp_path / folder / "street.png")
    lines = iter(["a/street.png", "b/street.png", "a/../a/street.png", ""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    assert main("inference", "--log_dir", place.log_dir, "--output_dir", "out") == 0
    told = [line.split(", ")[-1] for line in capsys.readouterr().out.splitlines()]
    assert told == [f"out/overlay/{name}_overlay.png" for name in ("street", "street-2", "street")]
    for name, grey in (("street", 0), ("street-2", 255)):
        overlay, coloring = (
            np.array(Image.open(f"out/{kind}/{name}_{kind}.png")).astype(int) for kind in ("overlay", "coloring")
        )
        assert np.abs(2 * overlay - coloring - grey).max() <= 1


FOLDER_FLAGS = ("--image_path", "images", "--output_dir", "out", "--coloring", "0")


def test_inference_of_a_folder_passes_over_what_is_no_image(main, place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images")
    assert main("inference", "--log_dir", place.log_dir, *FOLDER_FLAGS) == 0
    assert capsys.readouterr().out.count(" s -> out/prediction/") == 6
    (tmp_path / "images" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert main("inference", "--log_dir", place.log_dir, *FOLDER_FLAGS) == 2
    output = capsys.readouterr()
    errors = [line for line in output.err.splitlines() if line.startswith("error: ")]
    assert errors[0].startswith("error: images/broken.png: not an image")
    assert errors[1:] == ["error: images: 1 of 7 images could not be read, 6 were segmented"]
    assert output.out.count(" s -> out/prediction/") == 6
    assert sorted(os.listdir("out")) == ["prediction"]


def test_inference_of_a_folder_without_any_sound_image(main, place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for name in "ab":
        (tmp_path / "images" / f"{name}.png").write_text("words")
    assert main("inference", "--log_dir", place.log_dir, *FOLDER_FLAGS) == 2
    output = capsys.readouterr()
    assert output.err.splitlines()[-1] == "error: images: 2 of 2 images could not be read, 0 were segmented"
    assert output.out == ""
    assert os.listdir(tmp_path) == ["images"]


@pytest.mark.parametrize("typed", [False, True])
def test_inference_ends_where_results_cannot_be_written(main, place, monkeypatch, tmp_path, capsys, typed):
    monkeypatch.chdir(tmp_path)
    sizes = write_images(tmp_path / "images")
    (tmp_path / "out").write_text("")
    paths = iter([f"images/{name}" for name in sizes])
    monkeypatch.setattr("builtins.input", lambda prompt: next(paths))
    flags = FOLDER_FLAGS[2:] if typed else FOLDER_FLAGS
    assert main("inference", "--log_dir", place.log_dir, *flags) == 2
    assert re.search(r"out/prediction/\w+\.png: image cannot be written", the_error(capsys.readouterr().err))


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


def test_inference_in_own_colours(main, place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images")
    colors = [(i, 100 + i, 200 + i) for i in range(19)]
    Path("colours.txt").write_text("".join(f"{r} {g} {b}\n" for r, g, b in colors))
    flags = ["--weights_ckpt", place.snapshot, "--output_dir", "out", "--image_path", "images/rgb.jpg"]
    assert main("inference", *flags, "--palette", "colours.txt") == 0
    dataset = get_dataset("Toy")
    ids = np.array(Image.open("out/prediction/rgb_prediction.png"))
    expected = [colors[dataset.label_map[i]] for i in ids.ravel()]
    np.testing.assert_array_equal(np.array(Image.open("out/coloring/rgb_coloring.png")).reshape(-1, 3), expected)
    capsys.readouterr()
    Path("colours.txt").write_text("0 0 0\n")
    assert main("inference", *flags, "--palette", "colours.txt") == 2
    assert "colours.txt: found 1 colours, expected 19" in the_error(capsys.readouterr().err)


def test_record_with_an_unknown_network(main, place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    for name in os.listdir(os.path.dirname(place.snapshot)):
        os.link(os.path.join(os.path.dirname(place.snapshot), name), tmp_path / "run" / name)
    text = (tmp_path / "run" / "config.json").read_text()
    (tmp_path / "run" / "config.json").unlink()
    (tmp_path / "run" / "config.json").write_text(text.replace(NETWORK, "resnet_v9"))
    assert main("inference", "--weights_ckpt", "run") == 2
    words = r"run/config.json: 'architecture.network' is \"resnet_v9\", expected one of .*resnet_v1_50"
    assert re.search(words, the_error(capsys.readouterr().err))
