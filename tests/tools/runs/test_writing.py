"""Room for the snapshots of a run, and whether its folder can be written."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from database.regular_files import writable_file
from tools.errors import OutputError
from tools.runs.folder import RunFolder
from tools.runs.writing import check_log_dir, nearest_folder, room_warning, writing_to

SIZE = 500_000_000


def warning(free, tmp_path, **changes):
    asked = []

    def disk_usage(path):
        asked.append(path)
        return SimpleNamespace(free=free)

    options = {"keep": 5, "keeps_best": False, **changes}
    warning = room_warning(str(tmp_path / "log" / "new"), SIZE, disk_usage=disk_usage, **options)
    assert asked == [str(tmp_path)]
    return warning


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, 6),
        ({"keep": 1}, 2),
        ({"keeps_best": True}, 7),
        ({"there_already": 5}, 1),
        ({"keep": 1, "there_already": 2}, 1),
    ],
)
def test_snapshots_that_just_fit(tmp_path, changes, count):
    assert warning(count * SIZE, tmp_path, **changes) is None
    assert f"up to {count} snapshots of 0.50 GB each" in warning(count * SIZE - 1, tmp_path, **changes)


def test_both_numbers_and_the_flags_are_named(tmp_path):
    assert warning(1_230_000_000, tmp_path) == (
        f"--log_dir {tmp_path}/log/new has 1.23 GB free, and up to 6 snapshots of 0.50 GB each will take 3.00 GB: "
        "lower --keep, or give another --log_dir"
    )


def test_the_disk_itself(tmp_path):
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    assert room_warning(str(tmp_path), 1, keep=1, keeps_best=False) is None
    assert "snapshots" in room_warning(str(tmp_path), free, keep=1, keeps_best=False)


def test_nearest_folder(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    assert nearest_folder(str(tmp_path / "a" / "b")) == str(tmp_path)
    assert nearest_folder(str(tmp_path / "file" / "b")) == str(tmp_path / "file")
    monkeypatch.chdir(tmp_path)
    assert nearest_folder("a") == str(tmp_path)


def test_log_folder_is_tried_beforehand(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    check_log_dir(str(tmp_path))
    check_log_dir(str(tmp_path / "not" / "yet"))
    check_log_dir("relative")
    for path in ("file", "file/log"):
        with pytest.raises(
            OutputError, match=rf"^--log_dir \S+{path}: \S+file is not a folder: give another --log_dir$"
        ):
            check_log_dir(str(tmp_path / path))
    for url in ("gs://bucket/log", "file:///tmp/log"):
        with pytest.raises(OutputError, match=f"^--log_dir {url} is a URL, expected a folder on this machine"):
            check_log_dir(url)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the one who runs the tests may be allowed everything
    with pytest.raises(OutputError, match=rf"log: {tmp_path} is not writable: give another --log_dir$"):
        check_log_dir(str(tmp_path / "log"))


@pytest.mark.parametrize("kind", ["link", "folder", "names", "pipe"])
def test_what_is_in_the_way_of_a_file_is_named(tmp_path, kind):
    path, other = tmp_path / "lock", tmp_path / "other"
    other.write_text("")
    make = {"link": lambda: path.symlink_to(other), "folder": path.mkdir, "names": lambda: os.link(other, path),
            "pipe": lambda: os.mkfifo(path)}  # fmt: skip
    make[kind]()
    with pytest.raises(OutputError) as caught, writing_to(RunFolder(str(tmp_path))):
        open(str(path), "w", opener=writable_file)  # noqa: SIM115
    assert str(caught.value).endswith(f": move {path} elsewhere")
