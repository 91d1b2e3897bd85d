"""Names of runs and their folders."""

from __future__ import annotations

import os

import pytest

from tools.flags.parsing import parse_flags
from tools.flags.train import TrainConfig
from tools.runs.folder import RunFolder, model_id, run_folder, run_name
from tools.runs.lock import LOCK_NAME, run_lock

REFERENCE_LINE = (
    "--batch_size 4 --gpu_num 4 --consider_dilated 1 --weight_decay_rate 0.0001 --weight_decay_rate2 0.001 "
    "--random_rotate 0 --database Cityscapes --train_image_size 816 --test_image_size 816"
)
REFERENCE_ID = (
    "resnet_v1_50-816-train-L2-SP-wd_alpha0.0001-wd_beta0.001-batch_size16-lrn_rate0.01-consider_dilated1-"
    "random_rotate0-random_scale1"
)


def test_id_is_the_reference_one():
    config = parse_flags(TrainConfig, REFERENCE_LINE.split(), "test")
    assert model_id(config) == REFERENCE_ID
    assert run_folder(config).path == os.path.join("./log", "Cityscapes", REFERENCE_ID)


def test_id_of_plain_decay_and_two_subsets():
    config = TrainConfig(batch_size=2, weight_decay_mode=0, subsets_for_training=("train", "val"), lrn_rate=1e-5)
    assert model_id(config) == (
        "resnet_v1_50-480-train,val-L2-wd_alpha0.0001-wd_beta0.0001-batch_size2-lrn_rate1e-05-consider_dilated0-"
        "random_rotate1-random_scale1"
    )


def test_id_of_dynamic_sizes():
    config = TrainConfig(batch_size=2, dynamic_size=True, dynamic_short_sides=(300, 450))
    assert model_id(config).startswith("resnet_v1_50-dynamic300,450-train-L2-SP-")


def test_ids_of_the_decay_modes_differ():
    ids = {model_id(TrainConfig(batch_size=2, weight_decay_mode=mode)) for mode in range(4)}
    assert len(ids) == 4


def test_paths():
    folder = RunFolder(os.path.join("log", "Toy", "run"))
    assert folder.snapshots == os.path.join("log", "Toy", "run", "snapshot")
    assert folder.snapshot(7) == os.path.join("log", "Toy", "run", "snapshot", "model.ckpt-7")
    assert folder.csv == os.path.join("log", "Toy", "run", "training.csv")
    assert folder.rollbacks == os.path.join("log", "Toy", "run", "rollbacks.json")


def test_earlier_runs_are_numbered(tmp_path):
    folder = RunFolder(str(tmp_path / "run"))
    assert folder.set_aside_earlier_run() == folder.path
    assert os.listdir(tmp_path) == []
    for number in (1, 2):
        os.makedirs(folder.snapshots)
        (tmp_path / "run" / "snapshot" / "model.ckpt-5.index").write_text(str(number))
        assert folder.set_aside_earlier_run() == f"{folder.path}.earlier-{number}"
    assert sorted(os.listdir(tmp_path)) == ["run", "run.earlier-1", "run.earlier-2"]
    assert os.listdir(folder.path) == []
    for number in (1, 2):
        kept = tmp_path / f"run.earlier-{number}" / "snapshot" / "model.ckpt-5.index"
        assert kept.read_text() == str(number)


def test_a_run_without_snapshots_is_set_aside_if_it_left_anything(tmp_path):
    folder = RunFolder(str(tmp_path / "run"))
    os.makedirs(folder.path)
    folder.set_aside_earlier_run()
    assert os.listdir(tmp_path) == ["run"]
    (tmp_path / "run" / "training.csv").write_text("step,loss")
    folder.set_aside_earlier_run()
    assert os.listdir(tmp_path / "run.earlier-1") == ["training.csv"]


def test_lock_stays_where_it_is(tmp_path):
    folder = RunFolder(str(tmp_path / "run"))
    with run_lock(folder.path):
        assert folder.set_aside_earlier_run() == folder.path
        os.makedirs(folder.snapshots)
        assert folder.set_aside_earlier_run() == f"{folder.path}.earlier-1"
        assert os.listdir(folder.path) == [LOCK_NAME]
    assert os.listdir(tmp_path) == ["run.earlier-1"]
    assert os.listdir(tmp_path / "run.earlier-1") == ["snapshot"]


@pytest.mark.parametrize(
    ("prefix", "name"),
    [("log/Toy/run-1/snapshot/model.ckpt-3", "run-1"), ("weights/pspnet50/model.ckpt-3", "pspnet50")],
)
def test_name_of_the_run(prefix, name):
    assert run_name(prefix) == name
    assert run_name(os.path.abspath(prefix)) == name


def test_name_of_the_run_in_its_own_folder(tmp_path, monkeypatch):
    (tmp_path / "run-2" / "snapshot").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "run-2" / "snapshot")
    assert run_name("model.ckpt-3") == "run-2"


def test_a_snapshot_of_a_run_bears_its_name():
    config = TrainConfig(batch_size=2)
    assert run_name(run_folder(config).snapshot(3)) == model_id(config)
