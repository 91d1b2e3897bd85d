"""Snapshots of a few bytes, ways to damage them, and file operations that fail."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from errno import EIO
from itertools import count
from pathlib import Path

import pytest

from tools.checkpoints import files as snapshot_files
from tools.runs.folder import RunFolder

DATA_ENDING = ".data-00000-of-00001"
ENDINGS = (".index", DATA_ENDING, ".manifest.json")


def save_as(content: str) -> Callable[[str], None]:
    """Writes the two files that a saver writes."""

    def save(prefix: str) -> None:
        for ending in (".index", DATA_ENDING):
            Path(prefix + ending).write_text(f"{ending} {content}")

    return save


def write(prefix: str, content: str = "", age: float = 0) -> str:
    """Writes a snapshot with its manifest and returns the prefix; `age` in seconds before now."""
    with snapshot_files.written_whole(prefix) as aside:
        save_as(content)(aside)
        snapshot_files.write_manifest(aside)
    time = os.path.getmtime(prefix + ".index") - age
    os.utime(prefix + ".index", (time, time))
    return prefix


def visible(folder: str) -> dict[str, str]:
    """Content by name of the snapshots that readers see, each of which must be sound and of one piece."""
    found = {}
    for index in Path(folder).glob("*.index"):
        prefix = str(index)[: -len(".index")]
        assert snapshot_files.fault_of(prefix) is None
        assert sorted(snapshot_files.files_of(prefix)) == sorted(prefix + ending for ending in ENDINGS)
        content = index.read_text().removeprefix(".index ")
        assert Path(prefix + DATA_ENDING).read_text() == f"{DATA_ENDING} {content}"
        found[index.name[: -len(".index")]] = content
    return found


def flip(path: str, byte: int = 3) -> None:
    """Flips a bit."""
    content = bytearray(Path(path).read_bytes())
    content[byte] ^= 4
    _rot(path, content)


def truncate(path: str) -> None:
    _rot(path, Path(path).read_bytes()[:-1])


def empty(path: str) -> None:
    _rot(path, b"")


def _rot(path: str, content: bytes | bytearray) -> None:
    """Changes a file, but not the time at which it was written."""
    status = os.stat(path)
    Path(path).write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


_OPERATIONS = ("replace", "unlink", "fsync", "mkdir", "rmdir")


def outcomes(
    start: Callable[[str], None],
    act: Callable[[str], None],
    look: Callable[[str], object],
    folder: Path,
    *,
    killed: bool,
) -> list[object]:
    """What is found after the file operations of an act fail at the first of them, at the second, and so on.

    Args:
        start: prepares a folder.
        act: what is done in the folder.
        look: what is found in the folder.
        folder: for the folders.
        killed: no operation after the first that fails succeeds either, as none does after a process was killed;
            otherwise that one fails alone, and what is to be cleaned up can be.

    Returns:
        What was found, by the number of operations that succeeded; the last entry is of an act without failure.
    """
    found = []
    for limit in count():
        path, calls = str(folder / f"{killed}-{limit}"), count()
        os.mkdir(path)
        start(path)

        def fails(calls=calls, limit=limit) -> bool:
            call = next(calls)
            return call >= limit if killed else call == limit

        with pytest.MonkeyPatch.context() as patch:
            for name in _OPERATIONS:
                patch.setattr(os, name, _failing(getattr(os, name), fails))
            ended = _ends(act, path)
        found.append(look(path))
        if ended and next(calls) <= limit:
            return found
        shutil.rmtree(path)
    raise AssertionError("not reached")


def _ends(act: Callable[[str], None], path: str) -> bool:
    """Whether an act ends without one of the failures."""
    try:
        act(path)
    except OSError as error:
        if error.errno != EIO:
            raise
        return False
    return True


def _failing(operation: Callable, fails: Callable[[], bool]) -> Callable:
    def run(*arguments, **options):
        if fails():
            raise OSError(EIO, "the disk is gone")
        return operation(*arguments, **options)

    return run


def run_with(path: Path, *steps: int) -> RunFolder:
    """A run with snapshots of these steps, written in this order."""
    folder = RunFolder(str(path))
    os.makedirs(folder.snapshots, exist_ok=True)
    Path(folder.snapshots, "config.json").write_text("{}")
    for number, step in enumerate(steps):
        write(folder.snapshot(step), f"step {step}", age=60 * (len(steps) - number))
    return folder
