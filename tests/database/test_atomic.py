"""Tests that files and folders appear complete or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from database.atomic import folder_written_atomically, remove_unfinished, written_atomically


def write(path: str, text: str, error: BaseException | None = None) -> None:
    with written_atomically(path) as partial_path, open(partial_path, "w", encoding="utf-8") as file:
        file.write(text)
        if error is not None:
            raise error


def write_folder(path: str, *names: str, error: BaseException | None = None) -> None:
    with folder_written_atomically(path) as folder:
        for name in names:
            write(os.path.join(folder, name), name)
        if error is not None:
            raise error


def test_a_file_appears_in_a_new_folder_and_is_replaced(tmp_path):
    path = tmp_path / "a" / "b" / "file.txt"
    for text in ("old", "new"):
        write(str(path), text)
        assert path.read_text() == text
    assert os.listdir(path.parent) == ["file.txt"]


def test_a_name_without_a_folder_means_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("file.txt", "text")
    assert os.listdir(tmp_path) == ["file.txt"]


def test_the_file_is_unseen_until_the_block_ends(tmp_path):
    path = tmp_path / "file.txt"
    with written_atomically(str(path)) as partial_path:
        with open(partial_path, "w", encoding="utf-8") as file:
            file.write("half")
        assert os.path.dirname(partial_path) == str(tmp_path)
        assert not path.exists()
    assert path.read_text() == "half"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("bug"), KeyboardInterrupt()])
def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(type(error)):
        write(str(path), "half", error)
    assert os.listdir(tmp_path) == ["file.txt"]
    assert path.read_text() == "old"


def test_a_file_that_cannot_be_put_in_place_is_an_os_error_and_leaves_nothing(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        write(str(tmp_path / "taken"), "text")
    assert os.listdir(tmp_path) == ["taken"]


def test_a_folder_that_cannot_be_created_is_an_os_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        write(str(tmp_path / "file" / "deeper.txt"), "text")


def test_a_killed_process_leaves_a_file_that_the_next_removes(tmp_path):
    """The child is killed inside the block; the parent's own file, which it still writes, stays."""
    child = os.fork()
    if child == 0:
        with written_atomically(str(tmp_path / "file.txt")) as partial_path:
            with open(partial_path, "w", encoding="utf-8") as file:
                file.write("half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    [left] = os.listdir(tmp_path)
    (tmp_path / ".other.tmp").write_text("somebody's")
    with written_atomically(str(tmp_path / "file.txt")) as partial_path:
        with open(partial_path, "w", encoding="utf-8") as file:
            file.write("whole")
        assert remove_unfinished(str(tmp_path)) == [left]
        assert sorted(os.listdir(tmp_path)) == sorted([".other.tmp", os.path.basename(partial_path)])
    assert (tmp_path / "file.txt").read_text() == "whole"
    assert remove_unfinished(str(tmp_path)) == []


def test_files_that_another_process_writes_stay(tmp_path):
    entered, leave = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        with written_atomically(str(tmp_path / "file.txt")) as partial_path:
            Path(partial_path).write_text("theirs")
            os.write(entered[1], b"x")
            os.read(leave[0], 1)
        os._exit(0)
    os.read(entered[0], 1)
    assert remove_unfinished(str(tmp_path)) == []
    os.write(leave[1], b"x")
    assert os.waitpid(child, 0)[1] == 0
    assert (tmp_path / "file.txt").read_text() == "theirs"


def test_a_temporary_file_that_is_removed_before_it_is_locked_is_created_again(tmp_path, monkeypatch):
    """As if `remove_unfinished` of another process had locked and removed it first."""
    real, calls = fcntl.flock, []

    def lost_once(descriptor, operation):
        calls.append(descriptor)
        if len(calls) == 1:
            [name] = os.listdir(tmp_path)
            os.unlink(tmp_path / name)
            raise BlockingIOError
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lost_once)
    write(str(tmp_path / "file.txt"), "text")
    assert os.listdir(tmp_path) == ["file.txt"]
    assert len(calls) == 2


def test_nothing_is_removed_without_locks(tmp_path, monkeypatch):
    def no_locks(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    left = tmp_path / f".{'0' * 32}.tmp"
    left.write_text("half")
    assert remove_unfinished(str(tmp_path)) == []
    write(str(tmp_path / "file.txt"), "text")
    assert sorted(os.listdir(tmp_path)) == [left.name, "file.txt"]


def test_links_and_folders_of_such_names_stay(tmp_path):
    (tmp_path / "target").write_text("untouched")
    (tmp_path / f".{'0' * 32}.tmp").symlink_to("target")
    (tmp_path / f".{'1' * 32}.tmp").mkdir()
    os.mkfifo(tmp_path / f".{'2' * 32}.tmp")
    assert remove_unfinished(str(tmp_path)) == []
    assert remove_unfinished(str(tmp_path / "absent")) == []
    assert len(os.listdir(tmp_path)) == 4


def test_a_folder_is_unseen_until_the_block_ends(tmp_path):
    path = tmp_path / "parent" / "data"
    with folder_written_atomically(str(path)) as folder:
        write(os.path.join(folder, "deeper", "1.txt"), "1")
        assert not path.exists()
    assert (path / "deeper" / "1.txt").read_text() == "1"
    assert os.listdir(path.parent) == ["data"]


def test_an_empty_folder_is_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    write_folder("data", "1.txt")
    assert os.listdir(tmp_path) == ["data"]
    assert os.listdir(tmp_path / "data") == ["1.txt"]


def test_a_folder_with_files_is_written_into(tmp_path):
    for name in ("1.txt", "2.txt"):
        write_folder(str(tmp_path / "data"), name)
    assert os.listdir(tmp_path) == ["data"]
    assert sorted(os.listdir(tmp_path / "data")) == ["1.txt", "2.txt"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_block_that_raises_leaves_no_folder(tmp_path, error):
    with pytest.raises(type(error)):
        write_folder(str(tmp_path / "data"), "1.txt", error=error)
    assert os.listdir(tmp_path) == []


def test_what_a_killed_process_left_is_not_taken_over(tmp_path):
    (tmp_path / ".data.partial" / "deeper").mkdir(parents=True)
    (tmp_path / ".data.partial" / "0.txt").write_text("half")
    write_folder(str(tmp_path / "data"), "1.txt")
    assert os.listdir(tmp_path) == ["data"]
    assert os.listdir(tmp_path / "data") == ["1.txt"]


def test_a_folder_is_written_by_one_at_a_time(tmp_path, caplog):
    caplog.set_level("INFO")
    second = threading.Thread(target=write_folder, args=(str(tmp_path / "data"), "2.txt"))
    with folder_written_atomically(str(tmp_path / "data")) as folder:
        write(os.path.join(folder, "1.txt"), "1")
        second.start()
        second.join(timeout=0.2)
        assert os.listdir(tmp_path) == [".data.partial"]
        assert os.listdir(folder) == ["1.txt"]
    second.join()
    assert os.listdir(tmp_path) == ["data"]
    assert sorted(os.listdir(tmp_path / "data")) == ["1.txt", "2.txt"]
    assert [message for message in caplog.messages if "waiting" in message] == [
        f"{tmp_path}/data: waiting until another process has written this folder"
    ]


def test_a_folder_with_files_is_also_written_by_one_at_a_time(tmp_path):
    write_folder(str(tmp_path / "data"), "0.txt")
    second = threading.Thread(target=write_folder, args=(str(tmp_path / "data"), "2.txt"))
    with folder_written_atomically(str(tmp_path / "data")):
        second.start()
        second.join(timeout=0.2)
        assert os.listdir(tmp_path / "data") == ["0.txt"]
    second.join()
    assert sorted(os.listdir(tmp_path / "data")) == ["0.txt", "2.txt"]


def test_a_folder_whose_first_writer_fails_is_written_by_the_one_that_waits(tmp_path):
    second = threading.Thread(target=write_folder, args=(str(tmp_path / "data"), "2.txt"))

    def fail():
        with folder_written_atomically(str(tmp_path / "data")) as folder:
            write(os.path.join(folder, "1.txt"), "1")
            second.start()
            second.join(timeout=0.2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    second.join()
    assert os.listdir(tmp_path) == ["data"]
    assert os.listdir(tmp_path / "data") == ["2.txt"]


def test_folders_beside_each_other_are_written_at_the_same_time(tmp_path):
    with folder_written_atomically(str(tmp_path / "data")):
        other = threading.Thread(target=write_folder, args=(str(tmp_path / "other"), "1.txt"))
        other.start()
        other.join(timeout=20)
        assert not other.is_alive()
    assert os.listdir(tmp_path / "other") == ["1.txt"]


def test_a_folder_of_the_user_with_a_name_like_that_of_an_unfinished_one_is_kept(tmp_path):
    write(str(tmp_path / "data.partial" / "mine.txt"), "mine")
    write_folder(str(tmp_path / "data"), "1.txt")
    assert (tmp_path / "data.partial" / "mine.txt").read_text() == "mine"


def test_many_writers_of_one_folder_lose_nothing(tmp_path):
    names = [f"{number}.txt" for number in range(24)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: write_folder(str(tmp_path / "data"), name), names))
    assert sorted(os.listdir(tmp_path / "data")) == sorted(names)
    assert os.listdir(tmp_path) == ["data"]


def test_a_folder_is_written_where_there_are_no_locks(tmp_path, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    write_folder(str(tmp_path / "data"), "1.txt")
    assert os.listdir(tmp_path / "data") == ["1.txt"]


def test_a_folder_below_a_file_is_an_os_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        write_folder(str(tmp_path / "file" / "data"))


def test_pipe_or_device_is_not_replaced(tmp_path):
    """The target of a link is not replaced either."""
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        with pytest.raises(OSError, match="a pipe or a device"), written_atomically(str(path)) as partial:
            open(partial, "w").close()
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]
    assert pipe.is_fifo()
    assert link.is_symlink()
