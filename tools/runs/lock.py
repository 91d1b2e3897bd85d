"""Locks a run's folder, so that only one process trains in it.

The lock (flock) is released when its process ends in any way, so a file without a lock is known to be stale. The file
also describes the process, for messages and for file systems without locks. Locks of other machines are not trusted,
because some file systems keep locks within a machine; a later start of the same job of a scheduler takes them over.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from database.errors import JsonError
from database.json_files import parse_json
from database.regular_files import regular_file, writable_file
from tools.errors import RunLockError
from tools.runtime.job_start import JobStart

logger = logging.getLogger(__name__)

LOCK_NAME = "lock"

_LONGEST_SHOWN = 100

# The largest that the system call for it takes.
_MOST_PID = (1 << 31) - 1

# Errors of flock on file systems without locks.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock.

    Attributes:
        pid: process id on its host.
        host: name of the machine.
        started: local time at which it took the lock.
        command: its command line.
        job, job_start: see `JobStart`; None outside of a job, or if an earlier version wrote the file.
    """

    pid: int
    host: str
    started: str
    command: str
    job: str | None = None
    job_start: str | None = None

    @classmethod
    def this_process(cls) -> Holder:
        started = datetime.now().astimezone().isoformat(" ", "seconds")
        start = JobStart.of_this_process()
        of_job = () if start is None else (start.job, start.start)
        return cls(os.getpid(), socket.gethostname(), started, shlex.join(sys.argv), *of_job)

    @property
    def is_of_earlier_start(self) -> bool:
        """Whether this process belongs to a later start of the same job, so that the holder has ended."""
        here = JobStart.of_this_process()
        if here is None or self.job is None or self.job_start is None:
            return False
        return here.is_later_than(JobStart(self.job, self.job_start))

    def values(self) -> dict[str, Any]:
        """Returns the JSON values of the file."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host[:_LONGEST_SHOWN]}, started {self.started[:_LONGEST_SHOWN]}"


@contextmanager
def run_lock(folder: str) -> Iterator[None]:
    """Locks a run's folder while the block runs. Folders that it created are deleted if they are empty at the end.

    Args:
        folder: of the run; created if it does not exist.

    Raises:
        RunLockError: another process has the lock, or may have it on another host.
        OSError: the folder or the file cannot be written.
    """
    created = _create(folder)
    path = os.path.join(folder, LOCK_NAME)
    try:
        descriptor = _take(path)
        try:
            yield
        finally:
            if _is_at(descriptor, path):
                os.unlink(path)
            os.close(descriptor)
    finally:
        with suppress(OSError):  # not empty
            for parent in created:
                os.rmdir(parent)


def is_training(folder: str) -> bool:
    """Returns whether a process trains in a run's folder, as far as the lock's file says; it is not locked here.

    A process on another machine is assumed to run.
    """
    try:
        descriptor = regular_file(os.path.join(folder, LOCK_NAME), os.O_RDONLY)
    except OSError:
        return False
    try:
        holder = _holder(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return holder is not None and (holder.host != socket.gethostname() or _exists(holder.pid))


def _create(folder: str) -> list[str]:
    """Creates a folder and returns the folders that did not exist, innermost first."""
    missing = []
    path = os.path.abspath(folder)
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    return missing


def _take(path: str) -> int:
    """Locks and writes the file, and returns its descriptor."""
    while True:
        descriptor, is_new = _open(path)
        try:
            is_locked = _lock(descriptor)
            if not _is_at(descriptor, path):  # the previous process released it meanwhile
                os.close(descriptor)
                continue
            _check_holder(path, _holder(descriptor), is_locked, is_new)
            _write(descriptor, path, is_new)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _open(path: str) -> tuple[int, bool]:
    """Returns the descriptor of the file, and whether this process created it."""
    try:
        return writable_file(path, os.O_RDWR | os.O_CREAT | os.O_EXCL), True
    except FileExistsError:
        return writable_file(path, os.O_RDWR | os.O_CREAT), False


def _lock(descriptor: int) -> bool | None:
    """Tries to lock the file and returns whether it succeeded; None on a file system without locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def _is_at(descriptor: int, path: str) -> bool:
    """Returns whether an open file is still the file at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _holder(descriptor: int) -> Holder | None:
    """Returns the process that wrote the file; None if the file cannot be parsed."""
    try:
        holder = Holder(**parse_json(os.pread(descriptor, 1 << 16, 0).decode()))
    except (ValueError, TypeError, JsonError):
        return None
    texts = holder.host, holder.started, holder.command
    of_job = holder.job, holder.job_start
    is_process = type(holder.pid) is int and 0 < holder.pid <= _MOST_PID
    are_texts = all(isinstance(text, str) for text in texts) and all(isinstance(text, str | None) for text in of_job)
    return holder if is_process and are_texts else None


def _check_holder(path: str, holder: Holder | None, is_locked: bool | None, is_new: bool) -> None:
    """Raises RunLockError unless the file is new or its process has certainly ended."""
    folder = os.path.dirname(path)
    known = "another process" if holder is None else str(holder)
    is_here = holder is not None and holder.host == socket.gethostname()
    if holder is not None and is_here and is_locked is not True and _is_stopped(holder.pid):
        raise RunLockError(
            f"{folder}: {known} is training in this folder, but it is stopped: continue it with kill -CONT "
            f"{holder.pid}, or end it with kill -KILL {holder.pid}; or give another --run_name"
        )
    if is_locked is False:
        raise RunLockError(
            f"{folder}: {known} is training in this folder: wait until it ends, or give another --run_name"
        )
    if is_new or (is_locked and holder is None):
        return
    if holder is not None and holder.is_of_earlier_start:
        logger.info("%s was of an earlier start of this job: this process takes over its lock %s", known, path)
        return
    if not is_here:
        raise RunLockError(
            f"{folder}: {known} locked this folder, and this machine cannot check whether it still runs: if it has "
            f"ended, remove {path}"
        )
    if not is_locked and holder is not None and _exists(holder.pid):
        raise RunLockError(
            f"{folder}: {known} is training in this folder: wait until it ends, or give another --run_name; if another "
            f"process now has this id, remove {path}"
        )
    logger.info("%s has ended: this process takes over its lock %s", known, path)


def _exists(pid: int) -> bool:
    """Returns whether a process with this id runs on this host."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_stopped(pid: int) -> bool:
    """Returns whether a process is stopped, as by SIGSTOP; False if the system does not say."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state = file.read().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in (b"T", b"t")


def _write(descriptor: int, path: str, is_new: bool) -> None:
    """Writes this process to the file."""
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(Holder.this_process().values()).encode(), 0)
    except OSError:
        if is_new:
            os.unlink(path)
        raise
