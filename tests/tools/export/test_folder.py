"""Folders of exports: one network in each, and each file complete or not there."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from tools.errors import OutputError
from tools.export.folder import export_folder

MODEL = {"checkpoint": "log/Toy/a/snapshot/model.ckpt-4", "step": 4, "model_sha256": "1"}
LABELS = {"class_names": ["road"]}


def put(path, content=b"weights", name="model.pb", model=MODEL, entry=None):
    with export_folder(str(path), model) as folder, folder.written(name, dict(entry or {}), LABELS) as written:
        Path(written).write_bytes(b"half" if content is None else content)
        if content is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def put_folder(path, *names):
    with export_folder(str(path), MODEL) as folder, folder.written("saved_model", {}, LABELS) as written:
        os.makedirs(f"{written}/variables")
        for name in names:
            Path(written, name).write_bytes(b"1234")


def described(path):
    return json.loads((path / "export.json").read_text())


def test_a_new_folder(tmp_path):
    put(tmp_path / "out", entry={"format": "frozen"})
    assert sorted(os.listdir(tmp_path)) == ["out"]
    assert sorted(os.listdir(tmp_path / "out")) == ["export.json", "labels.json", "model.pb"]
    assert json.loads((tmp_path / "out" / "labels.json").read_text()) == LABELS
    content = described(tmp_path / "out")
    assert content["model"] == MODEL
    assert content["files"].keys() == {"model.pb"}
    entry = content["files"]["model.pb"]
    assert (entry["format"], entry["bytes"], len(entry["sha256"])) == ("frozen", 7, 64)


def test_other_forms_of_the_same_network_are_added_and_replaced(tmp_path):
    put(tmp_path)
    put_folder(tmp_path, "first", "variables/second")
    before = described(tmp_path)["files"]
    assert before["saved_model"]["bytes"] == 8
    put(tmp_path, b"new")
    put_folder(tmp_path, "third")
    assert sorted(os.listdir(tmp_path)) == ["export.json", "labels.json", "model.pb", "saved_model"]
    assert sorted(os.listdir(tmp_path / "saved_model")) == ["third", "variables"]
    after = described(tmp_path)["files"]
    assert all(before[name]["sha256"] != after[name]["sha256"] for name in before)


def test_another_network_is_rejected_before_anything_is_written(tmp_path):
    put(tmp_path)
    with pytest.raises(OutputError, match=r"--out .*another network, log/Toy/a/.*-4 \(step 4\): give another folder"):
        put(tmp_path, b"other", "model.onnx", model={**MODEL, "model_sha256": "2"})
    assert sorted(os.listdir(tmp_path)) == ["export.json", "labels.json", "model.pb"]
    assert (tmp_path / "model.pb").read_bytes() == b"weights"


def test_files_of_unknown_origin_are_rejected_and_others_are_not(tmp_path):
    (tmp_path / "README.txt").write_text("mine")
    put(tmp_path)
    os.remove(tmp_path / "export.json")
    with pytest.raises(OutputError, match=r"model\.pb of unknown origin"):
        put(tmp_path)
    assert (tmp_path / "README.txt").read_text() == "mine"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model": {}, "files": {}}', '{"model": 1, "files": 2}'])
def test_a_damaged_description_is_rejected(tmp_path, text):
    (tmp_path / "export.json").write_text(text)
    with pytest.raises(OutputError, match=r"damaged export\.json"):
        put(tmp_path)
    assert os.listdir(tmp_path) == ["export.json"]


@pytest.mark.parametrize("is_new", [True, False])
def test_a_full_disk_leaves_nothing_behind(tmp_path, is_new):
    if not is_new:
        put(tmp_path / "out", b"old")
    content = described(tmp_path / "out") if not is_new else None
    with pytest.raises(OutputError, match=r"--out \S+: cannot be written \(No space left on device\)"):
        put(tmp_path / "out", None)
    if is_new:
        assert os.listdir(tmp_path) == []
    else:
        assert sorted(os.listdir(tmp_path / "out")) == ["export.json", "labels.json", "model.pb"]
        assert (tmp_path / "out" / "model.pb").read_bytes() == b"old"
        assert described(tmp_path / "out") == content


def test_what_a_killed_process_left_is_removed(tmp_path):
    put(tmp_path)
    (tmp_path / ".unfinished").mkdir()
    (tmp_path / ".unfinished" / "model.onnx").write_bytes(b"half")
    put(tmp_path, b"new")
    assert sorted(os.listdir(tmp_path)) == ["export.json", "labels.json", "model.pb"]


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match=r"--out \S+: cannot be written \(Not a directory\)"):
        put(tmp_path / "out")
