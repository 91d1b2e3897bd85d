"""Held-out images in the record and in a file, and what a later run may change."""

from __future__ import annotations

import logging
import os
import re
import subprocess

import pytest

from database.datasets import custom_dataset, find_samples, get_dataset
from database.errors import DatasetError
from tests.database.dataset_files import touch
from tests.scripts.starting import ROOT
from tests.tools.toy_runs import smallest_config
from tools.errors import FlagError
from tools.flags.train import TrainConfig
from tools.runs.agreement import check_same_run
from tools.runs.data_checksums import DataChecksums
from tools.runs.folder import RunFolder
from tools.runs.holdout import check_same_holdout, held_out_fraction, with_holdout, write_held_out
from tools.runs.origin_entries import with_samples
from tools.runs.record import ModelRecord
from tools.training.samples import validation_samples


def config_of(database, **changes):
    own = {"num_classes": 19} if database == "custom" else {}
    return TrainConfig(batch_size=2, database=database, **own, **changes)


def recorded(config):
    dataset = custom_dataset(19) if config.database == "custom" else get_dataset(config.database)
    return with_holdout(ModelRecord.of_run(config, dataset), config)


@pytest.mark.parametrize(
    ("database", "given", "fraction"),
    [("KITTI", None, 0.2), ("KITTI", 0.3, 0.3), ("custom", 0.3, 0.3), ("custom", None, None), ("CamVid", None, None)],
)
def test_fraction_is_recorded(database, given, fraction):
    config = config_of(database, holdout=given)
    assert held_out_fraction(config) == fraction
    assert recorded(config).flags["holdout"] == fraction


@pytest.mark.parametrize(
    ("database", "then", "now", "words"),
    [
        ("KITTI", None, 0.3, "--holdout is 0.3 .*log/x .*0.2: .*--holdout 0.2$"),
        ("KITTI", 0.3, None, "--holdout is 0.2 .*log/x .*0.3: .*--holdout 0.3$"),
        ("custom", None, 0.3, "--holdout is 0.3 .*log/x .*none: drop --holdout$"),
        ("custom", 0.3, None, "--holdout is none .*log/x .*0.3: .*--holdout 0.3$"),
    ],
)
def test_another_fraction_would_score_what_was_trained_on(database, then, now, words):
    record = recorded(config_of(database, holdout=then))
    check_same_holdout(record, config_of(database, holdout=then), "log/x")
    with pytest.raises(FlagError, match=f"^{words}"):
        check_same_holdout(record, config_of(database, holdout=now), "log/x")


def test_the_default_may_be_given():
    check_same_holdout(recorded(config_of("KITTI")), config_of("KITTI", holdout=0.2), "log/x")


def test_records_of_earlier_versions_and_of_foreign_checkpoints():
    record = ModelRecord.of_run(config_of("KITTI"), get_dataset("KITTI"))
    before = {name: value for name, value in record.flags.items() if name != "holdout"}
    check_same_holdout(ModelRecord(**{**vars(record), "flags": before}), config_of("KITTI"), "log/x")
    check_same_holdout(ModelRecord(**{**vars(record), "flags": {}}), config_of("KITTI", holdout=0.5), "log/x")


@pytest.fixture
def kitti(tmp_path):
    for index in range(10):
        touch(tmp_path, f"data/training/image_2/{index:06d}_10.png", f"data/training/semantic/{index:06d}_10.png")
    return str(tmp_path / "data")


def test_held_out_images_are_named_beside_the_run(kitti, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    folder = RunFolder(str(tmp_path / "run"))
    held_out = find_samples(get_dataset("KITTI"), kitti, ["val"])
    write_held_out(folder, held_out, kitti)
    path = os.path.join(folder.path, "holdout.txt")
    with open(path, encoding="utf-8") as file:
        names = file.read().splitlines()
    assert names == [f"training/image_2/{sample.name}.png" for sample in held_out]
    assert len(names) == 2
    [line] = caplog.messages
    assert re.search(f" 2 training images, .*{path}$", line)


@pytest.mark.parametrize(("given", "is_rejected"), [(None, False), (0.2, False), (0.4, True)])
def test_a_resumed_run_holds_out_the_same(kitti, tmp_path, given, is_rejected):
    folder, dataset = RunFolder(str(tmp_path / "run")), get_dataset("KITTI", holdout=given)
    config = smallest_config(kitti, str(tmp_path), database="KITTI")
    with_samples(recorded(config), DataChecksums.of(find_samples(get_dataset("KITTI"), kitti, ["train"]), kitti)).write(
        folder.snapshots
    )
    now = smallest_config(kitti, str(tmp_path), database="KITTI", holdout=given)
    samples = find_samples(dataset, kitti, ["train"])
    if not is_rejected:
        check_same_run(folder, now, dataset, DataChecksums.of(samples, kitti))
        return
    with pytest.raises(FlagError, match="--holdout is 0.4 and .*run was trained with 0.2: give --holdout 0.2"):
        check_same_run(folder, now, dataset, DataChecksums.of(samples, kitti))


def test_own_data_in_a_list_are_scored_on_what_is_held_out(tmp_path):
    rows = []
    for index in range(10):
        touch(tmp_path, f"{index}.jpg", f"{index}.png")
        rows.append(f"{index}.jpg {index}.png")
    (tmp_path / "train.txt").write_text("\n".join(rows))
    lists = {"train_list": str(tmp_path / "train.txt")}
    dataset = custom_dataset(19, holdout=0.3, **lists)
    assert len(validation_samples(config_of("custom", holdout=0.3, **lists), dataset, str(tmp_path))) == 3
    assert validation_samples(config_of("custom", **lists), custom_dataset(19, **lists), str(tmp_path)) == []


def test_ade_with_a_training_list_is_scored_on_its_folder(tmp_path):
    config = config_of("ADE", train_list="train.odgt")
    with pytest.raises(DatasetError, match="split 'val' is empty"):
        validation_samples(config, get_dataset("ADE"), str(tmp_path))
    touch(tmp_path, "images/validation/a.jpg", "annotations/validation/a.png")
    assert len(validation_samples(config, get_dataset("ADE"), str(tmp_path))) == 1


def test_held_out_images_become_permanent_as_the_document_says(tmp_path):
    """The commands of docs/own-data.md move the files that holdout.txt names; other images may then be added."""
    text = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
    [commands] = [block for block in re.findall(r"(?ms)^```sh\n(.*?)^```", text) if "holdout.txt" in block]
    data_dir, run = tmp_path / "mine", tmp_path / "log" / "custom" / "mine"
    for index in range(10):
        touch(data_dir, f"images/train/a photo {index}.jpg", f"labels/train/a photo {index}.png")
    run.mkdir(parents=True)
    held_out = find_samples(custom_dataset(2, holdout=0.3), str(data_dir), ["val"])
    write_held_out(RunFolder(str(run)), held_out, str(data_dir))
    environment = {**os.environ, "HOME": str(tmp_path)}
    subprocess.run(["bash", "-ec", commands], cwd=tmp_path, env=environment, check=True, timeout=60)
    touch(data_dir, "images/train/0 new.jpg", "labels/train/0 new.png")
    assert [s.name for s in find_samples(custom_dataset(2), str(data_dir), ["val"])] == [s.name for s in held_out]
    assert len(find_samples(custom_dataset(2), str(data_dir), ["train"])) == 8
