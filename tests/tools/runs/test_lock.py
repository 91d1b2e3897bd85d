"""One process at a time in a run's folder."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest

from tools.errors import RunLockError
from tools.runs import lock as module
from tools.runs.lock import LOCK_NAME, Holder, is_training, run_lock
from tools.runtime.job_start import JOB, START

CHILD = """
import sys, time
from tools.runs.lock import run_lock
with run_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_a_child(folder):
    """A child process that holds the lock until its input ends."""
    command = [sys.executable, "-c", CHILD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "held\n"
        yield child


def write_lock(folder, **changes):
    """Writes the lock of a process on this host that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as over:
        pass
    holder = Holder(over.pid, socket.gethostname(), "2026-01-02 03:04:05+00:00", "train.py --seed 1")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LOCK_NAME).write_text(json.dumps({**holder.values(), **changes}))


def no_locks(monkeypatch):
    """A file system without flock."""

    def flock(*arguments):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(module.fcntl, "flock", flock)


def test_lock_says_who_holds_it_and_goes_with_what_was_created(tmp_path):
    with run_lock(str(tmp_path / "log" / "Toy" / "run")):
        holder = json.loads((tmp_path / "log" / "Toy" / "run" / "lock").read_text())
    assert holder.keys() == {"pid", "host", "started", "command"}
    assert (holder["pid"], holder["host"]) == (os.getpid(), socket.gethostname())
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d", holder["started"])
    assert os.listdir(tmp_path) == []


def test_training_is_seen_without_a_lock(tmp_path):
    assert not is_training(str(tmp_path))
    with run_lock(str(tmp_path)):
        assert is_training(str(tmp_path))
        assert is_training(str(tmp_path))
    assert not is_training(str(tmp_path))
    for text, expected in (('{"pid": 1, "host": "elsewhere", "started": "", "command": ""}', True), ("x", False)):
        (tmp_path / LOCK_NAME).write_text(text)
        assert is_training(str(tmp_path)) is expected
    (tmp_path / LOCK_NAME).unlink()
    os.mkfifo(tmp_path / LOCK_NAME)
    assert not is_training(str(tmp_path))


def test_released_after_an_exception_and_what_is_there_stays(tmp_path):
    def fail():
        with run_lock(str(tmp_path / "run")):
            (tmp_path / "run" / "training.csv").touch()
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    assert os.listdir(tmp_path / "run") == ["training.csv"]
    with run_lock(str(tmp_path / "run")):
        pass


def test_error_of_the_second_process_names_the_first(tmp_path):
    with held_by_a_child(tmp_path) as child:
        with pytest.raises(RunLockError) as caught, run_lock(str(tmp_path)):
            pass
        holder = json.loads((tmp_path / LOCK_NAME).read_text())
        assert holder["pid"] == child.pid
        message = str(caught.value)
        process = f"process {child.pid} on {socket.gethostname()}, started {holder['started']}"
        assert message.startswith(f"{tmp_path}: {process} is training in this folder: wait")
        assert message.endswith("or give another --run_name")
    with run_lock(str(tmp_path)):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == os.getpid()


def test_a_process_that_is_stopped_is_named_with_what_to_do(tmp_path):
    with held_by_a_child(tmp_path) as child:
        child.send_signal(signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)
        with pytest.raises(RunLockError) as caught, run_lock(str(tmp_path)):
            pass
        child.send_signal(signal.SIGCONT)
        assert f"process {child.pid} on {socket.gethostname()}" in str(caught.value)
        assert f"it is stopped: continue it with kill -CONT {child.pid}, or end it" in str(caught.value)


def test_lock_of_a_killed_process_is_taken_over(tmp_path, caplog):
    caplog.set_level("INFO")
    with held_by_a_child(tmp_path) as child:
        child.kill()
        child.wait()
        with run_lock(str(tmp_path)):
            assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == os.getpid()
    [line] = caplog.messages
    assert re.fullmatch(rf"process {child.pid} on \S+, started .* has ended: .* its lock {tmp_path}/lock", line)
    assert os.listdir(tmp_path) == []


def test_number_that_another_process_has_by_now_does_not_keep_a_lock(tmp_path):
    write_lock(tmp_path, pid=os.getppid())
    with run_lock(str(tmp_path)):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == os.getpid()


def test_lock_of_another_host_is_left(tmp_path):
    write_lock(tmp_path, host="elsewhere", pid=7)
    before = (tmp_path / LOCK_NAME).read_text()
    with pytest.raises(RunLockError) as caught, run_lock(str(tmp_path)):
        pass
    message = str(caught.value)
    assert message.startswith(
        f"{tmp_path}: process 7 on elsewhere, started 2026-01-02 03:04:05+00:00 locked this folder"
    )
    assert message.endswith(f"cannot check whether it still runs: if it has ended, remove {tmp_path}/lock")
    assert (tmp_path / LOCK_NAME).read_text() == before


def of_job(monkeypatch, job, start):
    """Variables of a process of Slurm; those of any scheduler have precedence."""
    for name in ("SLURM_CLUSTER_NAME", "SLURM_RESTART_COUNT", JOB, START):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", job)
    if start:
        monkeypatch.setenv("SLURM_RESTART_COUNT", start)


@pytest.mark.parametrize("has_locks", [True, False])
def test_a_later_start_of_the_same_job_takes_the_lock_over(has_locks, tmp_path, monkeypatch, caplog):
    """The first start was on a machine that is gone."""
    caplog.set_level("INFO")
    of_job(monkeypatch, "4711", None)
    with run_lock(str(tmp_path)):
        left = json.loads((tmp_path / LOCK_NAME).read_text())
    write_lock(tmp_path, **{**left, "host": "elsewhere", "pid": 7})
    if not has_locks:
        no_locks(monkeypatch)
    of_job(monkeypatch, "4711", "1")
    with run_lock(str(tmp_path)):
        holder = json.loads((tmp_path / LOCK_NAME).read_text())
        assert (holder["pid"], holder["job_start"]) == (os.getpid(), "1")
    assert "process 7 on elsewhere, started" in caplog.text
    assert "was of an earlier start of this job" in caplog.text


@pytest.mark.parametrize(("job", "start"), [("4711", None), ("4711", "1"), ("4712", "2"), ("", None)])
def test_only_a_later_start_of_the_same_job_takes_over(job, start, tmp_path, monkeypatch):
    """An earlier start, the same, and other jobs do not."""
    write_lock(tmp_path, host="elsewhere", pid=7, job="slurm  4711", job_start="1")
    of_job(monkeypatch, job, start)
    with pytest.raises(RunLockError, match="process 7 on elsewhere, .* cannot check"), run_lock(str(tmp_path)):
        pass


def test_a_later_start_waits_while_the_system_holds_the_lock(tmp_path, monkeypatch):
    of_job(monkeypatch, "4711", None)
    with held_by_a_child(tmp_path):
        of_job(monkeypatch, "4711", "1")
        with pytest.raises(RunLockError, match="is training in this folder"), run_lock(str(tmp_path)):
            pass


def test_a_pod_that_replaces_another_takes_the_lock_over(tmp_path, monkeypatch):
    """Both have one host name and process id 1, which always exists."""
    no_locks(monkeypatch)
    of_job(monkeypatch, "", None)
    monkeypatch.setenv(JOB, "uid of the job/0")
    write_lock(tmp_path, pid=1, job="uid of the job/0", job_start="uid of the first pod")
    monkeypatch.setenv(START, "uid of the first pod")
    with pytest.raises(RunLockError, match="process 1 on .* is training"), run_lock(str(tmp_path)):
        pass
    monkeypatch.setenv(START, "uid of the second pod")
    with run_lock(str(tmp_path)):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("changes", [{"job": 3}, {"job_start": [1]}, {"job": "slurm  4711", "job_start": 0}])
def test_a_job_that_is_no_text_proves_nothing(changes, tmp_path, monkeypatch):
    of_job(monkeypatch, "4711", "1")
    no_locks(monkeypatch)
    write_lock(tmp_path, host="elsewhere", **changes)
    with pytest.raises(RunLockError, match="another process locked .* cannot check"), run_lock(str(tmp_path)):
        pass


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '{"pid": 1}'])
def test_lock_that_says_nothing_counts_by_the_system(tmp_path, text, monkeypatch):
    (tmp_path / LOCK_NAME).write_text(text)
    with run_lock(str(tmp_path)):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == os.getpid()
    (tmp_path / LOCK_NAME).write_text(text)
    no_locks(monkeypatch)
    with pytest.raises(RunLockError, match="another process locked .* cannot check"), run_lock(str(tmp_path)):
        pass


def test_without_locks_of_the_system_the_process_counts(tmp_path, monkeypatch):
    no_locks(monkeypatch)
    write_lock(tmp_path)
    with run_lock(str(tmp_path)):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == os.getpid()
        with (
            pytest.raises(
                RunLockError,
                match=rf"process {os.getpid()} on .* is training .*another process now has this id, remove",
            ),
            run_lock(str(tmp_path)),
        ):
            pass
    assert os.listdir(tmp_path) == []


def test_process_of_another_user_exists(tmp_path, monkeypatch):
    def kill(pid, number):
        raise PermissionError

    no_locks(monkeypatch)
    write_lock(tmp_path)
    monkeypatch.setattr(module.os, "kill", kill)
    with pytest.raises(RunLockError, match="is training in this folder"), run_lock(str(tmp_path)):
        pass


def test_lock_that_was_removed_and_taken_by_another_is_not_released(tmp_path):
    with run_lock(str(tmp_path)):
        os.unlink(tmp_path / LOCK_NAME)
        write_lock(tmp_path)
    assert os.listdir(tmp_path) == [LOCK_NAME]


def test_lock_that_is_released_while_it_is_opened_is_taken_anew(tmp_path, monkeypatch):
    """The first file that is opened is deleted before it is locked."""
    write_lock(tmp_path)
    lock, taken = module._lock, []

    def remove_first(descriptor):
        if not taken:
            os.unlink(tmp_path / LOCK_NAME)
        taken.append(lock(descriptor))
        return taken[-1]

    monkeypatch.setattr(module, "_lock", remove_first)
    with run_lock(str(tmp_path)):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == os.getpid()
    assert taken == [True, True]


def test_lock_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def pwrite(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "pwrite", pwrite)
    with pytest.raises(OSError, match="No space left"), run_lock(str(tmp_path / "run")):
        pass
    assert os.listdir(tmp_path) == []


def test_other_errors_of_locking_are_not_hidden(tmp_path, monkeypatch):
    def flock(*arguments):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(module.fcntl, "flock", flock)
    with pytest.raises(OSError, match="Input/output error"), run_lock(str(tmp_path)):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError), run_lock(str(tmp_path)):
        pass


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / "log").touch()
    with pytest.raises(OSError, match="log"), run_lock(str(tmp_path / "log" / "run")):
        pass


def test_a_file_of_the_user_with_another_name_is_not_overwritten(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "run").mkdir()
    os.link(tmp_path / "mine", tmp_path / "run" / LOCK_NAME)
    with pytest.raises(OSError, match="other names"), run_lock(str(tmp_path / "run")):
        pass
    assert (tmp_path / "mine").read_text() == (tmp_path / "run" / LOCK_NAME).read_text() == "mine"
