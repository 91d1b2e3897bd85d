"""A run on rectangular crops, from training over resuming to prediction, as a user starts it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.scripts.starting import start
from tests.tools.toy_runs import tensors_in
from tools.runs.folder import RunFolder

pytestmark = pytest.mark.slow

FLAGS = (
    "--database Toy --network resnet_v1_18 --decoder c1 --has_aux_loss 0 --batch_size 2 --train_image_size 40x56 "
    "--test_image_size 40X24 --train_max_iter 2 --snapshot 1 --show_period 1 --weight_decay_mode 0 --mirror 0 "
    "--fine_tune_filename none --deterministic 1 --test_max_iter 1 --check_data none"
)


@pytest.fixture(scope="module")
def folder(place, tmp_path_factory):
    """The place of a run of two steps."""
    folder = tmp_path_factory.mktemp("rectangles")
    done = start("train", *FLAGS.split(), "--data_dir", place.data_dir, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "crops of 40x56" in done.stderr
    yield folder
    shutil.rmtree(folder)


def run_in(folder: Path) -> RunFolder:
    [path] = (folder / "log" / "Toy").iterdir()
    return RunFolder(str(path))


def test_resumed_run_is_equal_in_every_bit(folder, place):
    """It is found by its flags, also if the sizes are spelled otherwise."""
    run = run_in(folder)
    assert "resnet_v1_18-40x56-train-" in run.path
    straight = tensors_in(run.snapshot(2))
    flags = FLAGS.replace("40x56", "40X56").replace("40X24", "40x24").split()
    done = start("train", *flags, "--data_dir", place.data_dir, "--resume_step", "1", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert run_in(folder) == run
    resumed = tensors_in(run.snapshot(2))
    assert resumed.keys() == straight.keys()
    assert [name for name, value in resumed.items() if value.tobytes() != straight[name].tobytes()] == []


def test_scores_name_the_windows(folder):
    scores = json.loads((Path(run_in(folder).path) / "scores-2-test_max_iter1.json").read_text())
    assert scores["run"]["window"] == "40x24"


@pytest.mark.parametrize(
    ("flags", "window", "ending"),
    [([], "40x24", ""), (["--test_image_size", "24x40"], "24x40", "-test_image_size24x40"),
     (["--test_image_size", "32x32"], 32, "-test_image_size32")],
)  # fmt: skip
def test_prediction(folder, main, monkeypatch, flags, window, ending):
    """Windows are the recorded ones unless a flag says otherwise; results of others have another folder."""
    monkeypatch.chdir(folder)
    assert main("predict", *flags) == 0
    [results] = (folder / "val_set" / "Toy" / Path(run_in(folder).path).name).glob(f"step2-ms0{ending}")
    assert json.loads((results / "provenance.json").read_text())["window"] == window
    assert len(list((results / "prediction").iterdir())) == 2


def test_inference(folder, main, monkeypatch):
    monkeypatch.chdir(folder)
    image = np.random.default_rng(0).integers(0, 256, (30, 70, 3)).astype(np.uint8)
    Image.fromarray(image).save("street.png")
    assert main("inference", "--image_path", "street.png", "--test_image_size", "24x56", "--ms", "1") == 0
    [path] = (folder / "inference_set").rglob("street_prediction.png")
    assert Image.open(path).size == (70, 30)
    assert path.parts[-3] == "step2-ms1-test_image_size24x56"
