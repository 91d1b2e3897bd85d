"""Folders of exports: one network in each, and each file complete or not there."""

from __future__ import annotations

import errno
import json
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tools.errors import OutputError
from tools.export import folder as folder_module
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
    (tmp_path / ".unfinished" / "new").mkdir(parents=True)
    (tmp_path / ".unfinished" / "new" / "model.onnx").write_bytes(b"half")
    (tmp_path / ".unfinished" / "labels.json").write_text("half")
    put(tmp_path, b"new")
    assert sorted(os.listdir(tmp_path)) == ["export.json", "labels.json", "model.pb"]
    assert json.loads((tmp_path / "labels.json").read_text()) == LABELS


def test_a_folder_of_the_user_with_the_name_of_unfinished_files_is_kept(tmp_path):
    (tmp_path / ".unfinished").mkdir()
    (tmp_path / ".unfinished" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"\.unfinished/notes\.txt of unknown origin: give another folder"):
        put(tmp_path)
    assert (tmp_path / ".unfinished" / "notes.txt").read_text() == "mine"


def test_labels_of_the_user_are_kept(tmp_path):
    (tmp_path / "labels.json").write_text("mine")
    with pytest.raises(OutputError, match=r"labels\.json of unknown origin, without export\.json"):
        put(tmp_path)
    assert (tmp_path / "labels.json").read_text() == "mine"


def full_at(monkeypatch, name):
    """Lets the disk be full when a JSON file of this name is written."""
    write = folder_module._write_json

    def full(path, values):
        if os.path.basename(path) == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, values)

    monkeypatch.setattr(folder_module, "_write_json", full)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["labels.json", "export.json"])
@pytest.mark.parametrize("put_again", [lambda path: put(path, b"new"), lambda path: put_folder(path, "new")])
def test_a_disk_that_is_full_at_the_descriptions_changes_nothing(tmp_path, monkeypatch, name, put_again):
    put(tmp_path, b"old")
    put_folder(tmp_path, "old")
    before = contents(tmp_path)
    with monkeypatch.context() as patch:
        full_at(patch, name)
        with pytest.raises(OutputError, match="No space left"):
            put_again(tmp_path)
    assert contents(tmp_path) == before
    put_again(tmp_path)
    assert contents(tmp_path) != before


class Killed(BaseException):
    """Ends a call without its cleaning up, as a kill does."""


@pytest.mark.parametrize("renames", range(5))
@pytest.mark.parametrize("put_again", [lambda path: put(path, b"new"), lambda path: put_folder(path, "new")])
def test_a_process_that_is_killed_between_two_renames(tmp_path, monkeypatch, renames, put_again):
    """Afterwards the folder has the earlier export or the new one, with its own description."""
    put(tmp_path, b"old")
    put_folder(tmp_path, "old")
    before, replace, left = contents(tmp_path), os.replace, [renames]
    finished = tmp_path.parent / f"{tmp_path.name}-new"
    put(finished, b"old")
    put_folder(finished, "old")
    put_again(finished)

    def counted(source, target):
        if ".unfinished" in source + target and not source.endswith(".tmp"):
            if not left[0]:
                raise Killed
            left[0] -= 1
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", counted)
        patch.setattr(folder_module, "_finish_or_undo", finish_or_die(folder_module._finish_or_undo))
        with suppress(Killed):
            put_again(tmp_path)
    with export_folder(str(tmp_path), MODEL):
        pass
    assert contents(tmp_path) in (before, contents(finished))


def finish_or_die(finish):
    """Does nothing while `Killed` is handled."""

    def function(folder):
        if not isinstance(sys.exception(), Killed):
            finish(folder)

    return function


def test_a_file_that_was_removed_is_no_longer_listed(tmp_path, caplog):
    put(tmp_path)
    put_folder(tmp_path, "a")
    os.remove(tmp_path / "model.pb")
    put_folder(tmp_path, "b")
    assert list(described(tmp_path)["files"]) == ["saved_model"]
    assert any("lists model.pb, which is no longer there" in message for message in caplog.messages)


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match=r"--out \S+: cannot be written \(Not a directory\)"):
        put(tmp_path / "out")
