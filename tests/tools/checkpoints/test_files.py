"""Snapshots as files: whole or absent, sound or reported as damaged."""

from __future__ import annotations

import hashlib
import json
import os
import re
from errno import EACCES, EINVAL, EIO
from pathlib import Path

import pytest

from tests.tools.snapshot_folders import DATA_ENDING, ENDINGS, empty, flip, outcomes, save_as, truncate, visible, write
from tools.checkpoints import files as snapshot_files
from tools.checkpoints.files import fault_of, files_of, remove, remove_leftovers, write_manifest, written_whole


def names_in(folder: str | Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_files_of_a_snapshot(tmp_path):
    prefix = write(str(tmp_path / "run[1]" / "model.ckpt-1"))
    write(str(tmp_path / "run[1]" / "model.ckpt-10"))
    assert files_of(prefix) == [prefix + ending for ending in (DATA_ENDING, ".manifest.json", ".index")]


def test_manifest_is_that_of_the_files(tmp_path):
    prefix = write(str(tmp_path / "model.ckpt-1"), "abc")
    with open(prefix + ".manifest.json", encoding="utf-8") as file:
        manifest = json.load(file)
    assert manifest == {
        "files": {
            f"model.ckpt-1{ending}": {
                "size": len(f"{ending} abc"), "sha256": hashlib.sha256(f"{ending} abc".encode()).hexdigest()
            }
            for ending in (".index", DATA_ENDING)
        }
    }  # fmt: skip


@pytest.mark.parametrize("killed", [True, False])
def test_a_new_snapshot_is_whole_or_absent(tmp_path, killed):
    """Wherever writing stops; and what it leaves is removed at the next start, after which it succeeds."""

    def look(folder):
        found = visible(folder)
        remove_leftovers(folder)
        assert names_in(folder) == sorted(step + ending for step in found for ending in ENDINGS)
        write(f"{folder}/model.ckpt-2", "again")
        assert visible(folder) == {"model.ckpt-1": "old", "model.ckpt-2": "again"}
        return found

    found = outcomes(
        lambda folder: write(f"{folder}/model.ckpt-1", "old"),
        lambda folder: write(f"{folder}/model.ckpt-2", "new"),
        look, tmp_path, killed=killed,
    )  # fmt: skip
    before, after = {"model.ckpt-1": "old"}, {"model.ckpt-1": "old", "model.ckpt-2": "new"}
    changed = found.index(after)
    assert found == [before] * changed + [after] * (len(found) - changed)
    # A folder, three files reach the disk and are moved, and the folder reaches it before the index is moved.
    assert changed == 1 + 3 + 2 + 1 + 1


@pytest.mark.parametrize("killed", [True, False])
def test_a_snapshot_that_is_replaced_is_the_old_the_new_or_absent(tmp_path, killed):
    def start(folder):
        write(f"{folder}/model.ckpt-1", "other")
        write(f"{folder}/model.ckpt-2", "old")

    found = outcomes(start, lambda folder: write(f"{folder}/model.ckpt-2", "new"), visible, tmp_path, killed=killed)
    others = [content.pop("model.ckpt-1") for content in found]
    assert set(others) == {"other"}
    kinds = [content.get("model.ckpt-2") for content in found]
    order = ["old", None, "new"]
    assert kinds == sorted(kinds, key=order.index)
    assert set(kinds) == set(order)


@pytest.mark.parametrize("error", [RuntimeError("saving"), KeyboardInterrupt()])
def test_saving_that_fails_leaves_nothing(tmp_path, error):
    write(str(tmp_path / "model.ckpt-1"), "old")
    before = names_in(tmp_path)

    def save_half():
        with written_whole(str(tmp_path / "model.ckpt-2")) as aside:
            save_as("half")(aside)
            raise error

    with pytest.raises(type(error)):
        save_half()
    assert names_in(tmp_path) == before


def test_saving_that_writes_nothing_raises(tmp_path):
    with (
        pytest.raises(OSError, match=r"no model.ckpt-2.index was written"),
        written_whole(str(tmp_path / "model.ckpt-2")),
    ):
        pass
    assert names_in(tmp_path) == []


def test_what_is_being_written_is_not_seen(tmp_path):
    with written_whole(str(tmp_path / "model.ckpt-2")) as aside:
        save_as("")(aside)
        assert files_of(str(tmp_path / "model.ckpt-2")) == []
        assert [name for name in names_in(tmp_path) if not name.startswith(".")] == []


@pytest.mark.parametrize("killed", [True, False])
def test_a_snapshot_that_is_removed_is_whole_or_absent(tmp_path, killed):
    found = outcomes(
        lambda folder: write(f"{folder}/model.ckpt-1", "old"),
        lambda folder: remove(f"{folder}/model.ckpt-1"),
        visible, tmp_path, killed=killed,
    )  # fmt: skip
    assert found == [{"model.ckpt-1": "old"}, *[{}] * (len(found) - 1)]


def test_file_systems_that_cannot_sync_a_folder(tmp_path, monkeypatch):
    real = os.fsync
    raised = [EINVAL, EINVAL]

    def fsync(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(raised.pop(0), "folder")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    assert visible(os.path.dirname(write(str(tmp_path / "model.ckpt-1")))) == {"model.ckpt-1": ""}
    assert raised == []
    raised.append(EIO)
    with pytest.raises(OSError, match="folder"):
        write(str(tmp_path / "model.ckpt-2"))


@pytest.mark.parametrize("ending", [".index", DATA_ENDING])
@pytest.mark.parametrize(
    ("damage", "words"),
    [(flip, "differs from what was written, by its SHA-256"), (truncate, r"has \d+ bytes instead of \d+"),
     (empty, r"has 0 bytes instead of \d+"), (os.unlink, "is missing")],
)  # fmt: skip
def test_damage_is_named(tmp_path, ending, damage, words):
    prefix = write(str(tmp_path / "model.ckpt-1"), "some content")
    assert fault_of(prefix) is None
    damage(prefix + ending)
    fault = fault_of(prefix)
    assert fault.startswith(f"model.ckpt-1{ending} ")
    assert re.search(words, fault)


def test_any_bit_of_the_files_counts(tmp_path):
    prefix = write(str(tmp_path / "model.ckpt-1"), "ab")
    for ending in (".index", DATA_ENDING):
        for byte in range(os.path.getsize(prefix + ending)):
            flip(prefix + ending, byte)
            assert fault_of(prefix) is not None
            flip(prefix + ending, byte)
            assert fault_of(prefix) is None


@pytest.mark.parametrize("damage", [truncate, empty, lambda path: flip(path, 0)])
def test_a_damaged_manifest(tmp_path, damage):
    prefix = write(str(tmp_path / "model.ckpt-1"))
    damage(prefix + ".manifest.json")
    assert str(fault_of(prefix)).startswith("model.ckpt-1.manifest.json is not a manifest; delete that file")
    os.unlink(prefix + ".manifest.json")
    assert fault_of(prefix) is None


def test_no_bit_of_a_manifest_makes_another_snapshot_sound(tmp_path):
    """A flipped bit either changes only white space, or is found."""
    prefix = write(str(tmp_path / "model.ckpt-1"))
    path = prefix + ".manifest.json"
    said, faults = json.loads(Path(path).read_text()), 0
    for byte in range(os.path.getsize(path)):
        flip(path, byte)
        if fault_of(prefix) is None:
            assert json.loads(Path(path).read_text()) == said
        else:
            faults += 1
        flip(path, byte)
    assert faults > 0.8 * os.path.getsize(path)


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", '{"files": []}', '{"files": {"a": 1}}', '{"files": {"a": {"size": "x", "sha256": ""}}}',
     '{"files": {"a": {"size": 1}}}', "\xff"],
)  # fmt: skip
def test_other_files_by_the_name_of_a_manifest(tmp_path, content):
    prefix = write(str(tmp_path / "model.ckpt-1"))
    Path(prefix + ".manifest.json").write_bytes(content.encode("latin-1"))
    assert "model.ckpt-1.manifest.json is not a manifest" in fault_of(prefix)


def test_a_file_that_the_manifest_does_not_name(tmp_path):
    prefix = write(str(tmp_path / "model.ckpt-1"))
    Path(prefix + ".data-00000-of-00002").write_text("")
    assert fault_of(prefix) == "model.ckpt-1.data-00000-of-00002 is not in the manifest"


def test_a_file_that_cannot_be_read(tmp_path, monkeypatch):
    prefix = write(str(tmp_path / "model.ckpt-1"))

    def refuse(path):
        raise PermissionError(EACCES, "Permission denied", path)

    monkeypatch.setattr(os.path, "getsize", refuse)
    assert fault_of(prefix).endswith("cannot be read (Permission denied)")


def test_a_moved_snapshot_stays_sound(tmp_path):
    prefix = write(str(tmp_path / "a" / "model.ckpt-1"))
    os.rename(tmp_path / "a", tmp_path / "b")
    assert fault_of(prefix.replace("/a/", "/b/")) is None


def test_leftovers_are_removed_and_nothing_else(tmp_path, caplog):
    caplog.set_level("INFO")
    remove_leftovers(str(tmp_path / "absent"))
    write(str(tmp_path / "model.ckpt-1"))
    for name in ("checkpoint", "config.json", "model.ckpt-3.index", "notes.txt", "other-7.data-00000-of-00001"):
        (tmp_path / name).write_text("")
    kept = names_in(tmp_path)
    remove_leftovers(str(tmp_path))
    assert names_in(tmp_path) == kept
    assert caplog.messages == []
    left = (f".{'0a' * 16}.tmp", f"model.ckpt-2{DATA_ENDING}", "model.ckpt-2.manifest.json",
            f"model.ckpt-5{DATA_ENDING}.tempstate9876", "model.ckpt-5.index.tempstate12")  # fmt: skip
    for name in left:
        (tmp_path / name).write_text("")
    (tmp_path / ".writing").mkdir()
    (tmp_path / ".writing" / f"model.ckpt-6{DATA_ENDING}").write_text("")
    remove_leftovers(str(tmp_path))
    assert names_in(tmp_path) == kept
    assert caplog.messages == [f"{tmp_path}: removed incomplete files: {', '.join(sorted([*left, '.writing']))}"]


@pytest.mark.parametrize("clean", [remove_leftovers, lambda folder: write(f"{folder}/model.ckpt-2")])
def test_a_planted_link_is_removed_without_its_target(tmp_path, clean):
    folder, elsewhere = tmp_path / "snapshot", tmp_path / "elsewhere"
    write(str(folder / "model.ckpt-1"))
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("kept")
    (folder / ".writing").symlink_to(elsewhere)
    clean(str(folder))
    assert not os.path.lexists(folder / ".writing")
    assert names_in(elsewhere) == ["kept"]


def test_manifest_names_only_the_files(tmp_path):
    """Written again, it does not count itself."""
    prefix = write(str(tmp_path / "model.ckpt-1"))
    write_manifest(prefix)
    assert fault_of(prefix) is None
    assert snapshot_files.MANIFEST_ENDING not in Path(prefix + ".manifest.json").read_text()
