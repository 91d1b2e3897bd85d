"""What a record keeps of the start of a run, and what a resumed run must share with it."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from database.layouts import Sample
from tests.tools.toy_runs import tiny_config, toy_record, write_checkpoint
from tools.errors import FlagError
from tools.flags.train import TrainConfig
from tools.runs.agreement import check_same_samples, check_same_starting_points
from tools.runs.data_checksums import DataChecksums
from tools.runs.folder import RunFolder, run_folder
from tools.runs.origin_entries import with_moved_pretrained, with_pretrained, with_run_uuid, with_samples
from tools.runs.run_origin import CONTENTS_OF_FLAGS, RUN_UUID, SAMPLES_ENTRIES, RunOrigin


@pytest.mark.parametrize("version", [tf.train.SaverDef.V2, tf.train.SaverDef.V1])
def test_starting_points_are_known_by_their_content(tmp_path, version):
    config = tiny_config("toy", str(tmp_path / "log"))
    folder = run_folder(config)
    first, second = (
        write_checkpoint(str(tmp_path / name), {"a": np.full(3, value, np.float32)}, version)
        for name, value in (("first.ckpt", 1), ("second.ckpt", 2))
    )
    check_same_starting_points(folder, first)  # no record: nothing to compare
    record = toy_record(config)
    record.write(folder.snapshots)
    check_same_starting_points(folder, first)  # nor in this record
    with_pretrained(record, first).write(folder.snapshots)
    check_same_starting_points(folder, first)
    for name in os.listdir(tmp_path):
        if name.startswith("first"):
            os.rename(tmp_path / name, tmp_path / name.replace("first", "moved"))
    check_same_starting_points(folder, str(tmp_path / "moved.ckpt"))
    with pytest.raises(FlagError) as caught:
        check_same_starting_points(folder, second)
    message = str(caught.value)
    assert message.startswith(f"{second} is not the checkpoint that {folder.path} was started from, {first}, and")
    assert message.endswith("with --fine_tune_filename")


def test_checkpoint_in_a_folder_that_is_moved(tmp_path, monkeypatch):
    """The path may be relative, absolute, or lead through a link."""
    monkeypatch.chdir(tmp_path)
    prefix = write_checkpoint(os.path.join("log", "run", "snapshot", "model.ckpt-3"), {"a": np.zeros(1, np.float32)})
    os.symlink(tmp_path / "log" / "run", "link")
    record = toy_record(tiny_config("toy", "log"))
    absolute, linked = str(tmp_path / prefix), os.path.join("link", "snapshot", "model.ckpt-3")
    named = [with_pretrained(record, path) for path in (prefix, absolute, linked)]
    os.rename("log/run", "log/run.earlier-1")
    moved_to = os.path.join("log", "run.earlier-1", "snapshot", "model.ckpt-3")
    for before in named:
        after = with_moved_pretrained(before, os.path.join("log", "run"), os.path.join("log", "run.earlier-1"))
        assert after.origin == dataclasses.replace(before.origin, pretrained_prefix=moved_to)
        assert with_pretrained(record, moved_to).origin == after.origin


def test_checkpoint_outside_a_folder_that_is_moved(tmp_path):
    record = toy_record(tiny_config("toy", "log"))
    prefix = write_checkpoint(str(tmp_path / "run-2" / "model.ckpt-3"), {"a": np.zeros(1, np.float32)})
    folder = str(tmp_path / "run")
    for outside in (record, with_pretrained(record, prefix)):
        assert with_moved_pretrained(outside, folder, f"{folder}.earlier-1") == outside


def samples_in(folder, names, labels=None):
    """Samples whose files need not exist."""
    labels = labels or names
    return [
        Sample(name, os.path.join(folder, "images", name), os.path.join(folder, "labels", label), {})
        for name, label in zip(names, labels, strict=True)
    ]


NAMES = ["a.png", "b.png", "\udcff.png"]  # the last is not valid UTF-8


def test_training_files_are_known_by_their_names_below_the_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = run_folder(tiny_config("toy", "log"))
    record = toy_record(tiny_config("toy", "log"))
    check_same_samples(folder, record, DataChecksums.of(samples_in("data", NAMES), "data"))  # nothing in this record
    record = with_samples(record, DataChecksums.of(samples_in("data", NAMES), "data"))
    for same in ("data", "./data/", str(tmp_path / "data"), "copy/elsewhere"):
        check_same_samples(folder, record, DataChecksums.of(samples_in(same, NAMES), same))


@pytest.mark.parametrize(
    "changed",
    [
        samples_in("data", NAMES[:2]),
        samples_in("data", [*NAMES, "d.png"]),
        samples_in("data", NAMES[::-1]),
        samples_in("data", NAMES, [NAMES[1], NAMES[0], NAMES[2]]),
        samples_in("elsewhere", NAMES),
    ],
    ids=["fewer", "more", "another order", "labels exchanged", "outside of the data"],
)
def test_other_training_files(changed):
    folder = run_folder(tiny_config("toy", "log"))
    record = with_samples(toy_record(tiny_config("toy", "log")), DataChecksums.of(samples_in("data", NAMES), "data"))
    with pytest.raises(FlagError) as caught:
        check_same_samples(folder, record, DataChecksums.of(changed, "data"))
    message = str(caught.value)
    assert message.startswith(f"the {len(changed)} training images and labels in data are not those that {folder.path}")
    assert message.endswith("by --data_dir and --train_list")


def test_training_files_outside_of_the_data_are_known_by_their_whole_names(tmp_path):
    """Files that a list names by absolute paths, independent of the folder of the data."""
    folder, record = run_folder(tiny_config("toy", "log")), toy_record(tiny_config("toy", "log"))
    samples = samples_in(str(tmp_path / "photos"), NAMES)
    record = with_samples(record, DataChecksums.of(samples, str(tmp_path / "data")))
    check_same_samples(folder, record, DataChecksums.of(samples, str(Path(tmp_path, "deeper", "data"))))
    with pytest.raises(FlagError, match="are not those"):
        check_same_samples(
            folder, record, DataChecksums.of(samples_in(str(tmp_path / "other"), NAMES), str(tmp_path / "data"))
        )


def test_uuid_of_a_run(tmp_path):
    """A run that is resumed or moved keeps its UUID; a copy that is resumed beside its original gets a new one."""
    record = toy_record(tiny_config("toy", "log"))
    first = RunFolder(str(tmp_path / "first"))
    identified = with_run_uuid(record, first, resumed=False)
    assert with_run_uuid(record, first, resumed=False).origin.run_uuid != identified.origin.run_uuid
    identified.write(first.snapshots)
    assert with_run_uuid(record, first, resumed=True) == identified
    copy, moved = (RunFolder(str(tmp_path / name)) for name in ("copy", "moved"))
    shutil.copytree(first.path, copy.path)
    assert with_run_uuid(record, copy, resumed=True).origin.run_uuid != identified.origin.run_uuid
    os.rename(first.path, moved.path)
    assert with_run_uuid(record, moved, resumed=True).origin.run_uuid == identified.origin.run_uuid


def test_names_of_entries_are_those_of_the_dataclass():
    assert RUN_UUID == "run_uuid"
    assert SAMPLES_ENTRIES == ("training_samples_sha256", "training_sizes_sha256", "training_contents_sha256")
    assert {RUN_UUID, *SAMPLES_ENTRIES} < RunOrigin.__dataclass_fields__.keys()


@pytest.mark.parametrize("name", CONTENTS_OF_FLAGS)
def test_contents_are_those_of_flags_that_name_files(name):
    field = TrainConfig.__dataclass_fields__[name]
    assert field.metadata["is_path"]
