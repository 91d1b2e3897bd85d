"""Manifests, indexes of TFRecords, configurations, scores and locks with impossible values: refused or ignored."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from database.errors import TFRecordError
from tests.database.tfrecord_files import LABEL_MAP, write_values
from tests.hostile.impossible import SUBJECTS, changed, fuzz, run_case, write_json
from tests.tools.snapshot_folders import write as write_snapshot
from tests.tools.toy_runs import tiny_config, toy_record
from tools.checkpoints.files import MOST_SERIAL, age, fault_of, next_serial
from tools.checkpoints.find import newest_snapshot
from tools.errors import CheckpointError, RecordError
from tools.runs.record import ModelRecord


def test_random_values(tmp_path):
    counts, faults = fuzz(tmp_path, cases=540, seed=0)
    assert not faults, "\n".join(faults)
    assert sum(counts.values()) == 540
    assert {name for name, _ in counts} == set(SUBJECTS)


@pytest.mark.parametrize("name", SUBJECTS)
def test_files_as_they_are(tmp_path, name):
    subject = SUBJECTS[name](tmp_path)
    if name != "lock":  # which another machine holds
        subject.write(subject.path, subject.values)
        subject.read()
    rng = np.random.default_rng(0)
    assert any(changed(subject.values, rng) != subject.values for _ in range(5))


def test_what_the_test_above_would_not_let_pass(tmp_path):
    subject = SUBJECTS["rollbacks"](tmp_path)
    assert "KeyError" in run_case(subject._replace(read=lambda: {}["a"]), np.random.default_rng(0))

    def long_line():
        raise TFRecordError("x" * 2000)

    assert "a line of 2000 characters" in run_case(subject._replace(read=long_line), np.random.default_rng(0))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "name", ["/dev/zero", "../model.ckpt-1.index", "pipe", "model.ckpt-2.index", "model.ckpt-1.index/../x", "", "a\0b",
             "model.ckpt-1.data-00000-of-00001/x", "model.ckpt-1.manifest.json"],
)  # fmt: skip
def test_manifest_that_lists_something_else(tmp_path, name):
    prefix = write_snapshot(str(tmp_path / "model.ckpt-1"))
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / "model.ckpt-1.manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = {"size": 0, "sha256": "0" * 64}
    path.write_text(json.dumps(manifest))
    assert "is not a manifest" in str(fault_of(prefix))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("size", [0, 5, -1, 1 << 63, 1.0, True, "0"])
def test_pipe_and_device_in_place_of_a_snapshots_file(tmp_path, size):
    prefix = write_snapshot(str(tmp_path / "model.ckpt-1"))
    path = tmp_path / "model.ckpt-1.manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"]["model.ckpt-1.data-00000-of-00001"]["size"] = size
    path.write_text(json.dumps(manifest))
    data = tmp_path / "model.ckpt-1.data-00000-of-00001"
    for make in (os.mkfifo, lambda place: os.symlink("/dev/zero", place)):
        data.unlink()
        make(data)
        fault = str(fault_of(prefix))
        assert "a pipe or a device" in fault or "has 0 bytes instead of 5" in fault or "is not a manifest" in fault


def test_highest_serial_number_does_not_make_the_next_snapshot_damaged(tmp_path):
    prefix = write_snapshot(str(tmp_path / "model.ckpt-1"))
    path = tmp_path / "model.ckpt-1.manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "serial": MOST_SERIAL, "written": 1.0}))
    assert fault_of(prefix) is None
    assert next_serial(str(tmp_path)) == MOST_SERIAL
    path.write_text(json.dumps({**manifest, "serial": MOST_SERIAL + 1, "written": 1.0}))
    assert "is not a manifest" in str(fault_of(prefix))


@pytest.mark.parametrize("written", [1e12, 1e300, -1, 10**400], ids=lambda value: str(value)[:9])
def test_time_without_a_date(tmp_path, written):
    """It was printed as a date when the newest run was looked for."""
    for run in "ab":
        prefix = write_snapshot(str(tmp_path / "Toy" / run / "snapshot" / "model.ckpt-1"))
        path = Path(f"{prefix}.manifest.json")
        path.write_text(json.dumps({**json.loads(path.read_text()), "serial": 1, "written": written}))
        assert age(prefix).serial == 0
    with pytest.raises(CheckpointError, match="every snapshot of the newest run is damaged"):
        newest_snapshot(str(tmp_path))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("label_map", {"0": 256}), ("label_map", {"0": -1}), ("label_map", {"-1": 0}), ("label_map", {"65536": 0}),
        ("label_map", {"1000000000000": 0}), ("label_map", {"0": 10**12}), ("label_map", {"\u00b2": 0}),
        ("label_map", {"0": 1e999}), ("label_map", {"0": "1"}), ("label_map", {"0": True}), ("label_map", {"0": 0}),
        ("label_map", {**{str(key): value for key, value in LABEL_MAP.items()}, "7": 5}),
        ("dataset_label_map", {"0": 10**400}), ("holdout", 10**400), ("holdout", "0.5"), ("holdout", float("inf")),
        ("from_list", 1), ("database", 5), ("database", "a\0b"), ("colors", [[1e999]]), ("colors", [[300.5]]),
        ("num_samples", float("inf")), ("version", "2" * 5000),
    ],
)  # fmt: skip
def test_indexes_of_tfrecords(tmp_path, key, value):
    subject = SUBJECTS["TFRecord index"](tmp_path)
    write_values(subject.path, {**subject.values, key: value})
    with pytest.raises(TFRecordError) as caught:
        subject.read()
    assert str(subject.path) in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(subject.path))


@pytest.mark.parametrize("column", range(8))
@pytest.mark.parametrize(
    "value", [-1, 10**12, 10**400, 1.5, True, None, "\u00b2", [], "a\0b"], ids=lambda value: repr(value)[:9]
)
def test_rows_of_an_index(tmp_path, column, value):
    subject = SUBJECTS["TFRecord index"](tmp_path)
    values = json.loads(json.dumps(subject.values))
    values["shards"][0]["samples"][1][column] = value
    write_values(subject.path, values)
    if column < 3 and value == "\u00b2":
        subject.read()  # a name like any other
        return
    with pytest.raises(TFRecordError):
        subject.read()


FLAGS = [
    ("num_classes", "19"), ("num_classes", 19.0), ("num_classes", True), ("label_map", 1), ("label_map", ["a"]),
    ("label_map", "a\0b"), ("data_dir", 5), ("data_dir", {}), ("batch_size", "2"), ("batch_size", 10**12),
    ("batch_size", 0), ("batch_size", None), ("gpu_num", 10**30), ("gpu_num", -1), ("lrn_rate", 10**400),
    ("lrn_rate", float("nan")), ("lrn_rate", "0.1"), ("lrn_rate", 1e39), ("lr_step", 5), ("lr_step", [2, 1]),
    ("lr_step", ["1"]), ("lr_step", "1,2"), ("poly_lr", 1), ("poly_lr", "true"), ("train_max_iter", float("inf")),
    ("train_max_iter", 10**13), ("train_image_size", 16385), ("ohem_min_kept", 1 << 31), ("seed", 1 << 63),
    ("database", "Kitti!"), ("database", 5), ("optimizer", "x"), ("network", []), ("loss_type", 3),
    ("image_mean", [1, 2]), ("image_mean", "1,2,3"), ("subsets_for_training", "train"), ("subsets_for_training", [5]),
    ("subsets_for_training", []), ("resume_step", -1), ("resume_step", True), ("float_type", 32), ("holdout", -0.5),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), FLAGS)
def test_recorded_flags(tmp_path, name, value):
    subject = SUBJECTS["config.json"](tmp_path)
    write_json(subject.path, {**subject.values, "flags": {**subject.values["flags"], name: value}})
    with pytest.raises(RecordError) as caught:
        ModelRecord.read(str(tmp_path))
    assert f"'flags.{name}' is " in str(caught.value)
    assert "expected " in str(caught.value)


RIGHT = {
    "data_dir": "~/a 'b'", "lr_step": [2, 3], "image_mean": [123.0, 116.25, 104.0], "resume_step": "latest",
    "new_layer_names": ["a", "b"], "lrn_rate": 1, "loss_type": "focal_2", "seed": (1 << 63) - 1, "holdout": 0.2,
    "flag_of_another_version": {"a": [1]}, "run_name": "a=b", "palette": "1", "test_image_size": 0,
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_recorded_flags_that_are_right(tmp_path, name):
    subject = SUBJECTS["config.json"](tmp_path)
    write_json(subject.path, {**subject.values, "flags": {**subject.values["flags"], name: RIGHT[name]}})
    record = ModelRecord.read(str(tmp_path))
    assert record is not None
    assert record.flags[name] == RIGHT[name]


def test_all_flags_of_a_run_are_read_again(tmp_path):
    record = toy_record(tiny_config("toy", "log"))
    record.write(str(tmp_path))
    again = ModelRecord.read(str(tmp_path))
    assert again is not None
    assert again.flags == json.loads(json.dumps(record.flags))
    assert sys.get_int_max_str_digits() == 4300
