"""Checks that hosts which each write the files of a run do not share the folder."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from database.regular_files import writable_file
from tools.distributed.team import Hosted
from tools.errors import HostsError
from tools.runs.folder import RunFolder
from tools.runs.writing import writing_to


def require_own_folders(folder: RunFolder, hosts: Hosted) -> None:
    """Checks that no two hosts have one folder for a run, on a shared disk or one machine.

    Each host writes a file with a random name, and looks for those of the others.

    Args:
        folder: of the run on this host; it need not exist, and stays as it is.
        hosts: this host among the others.

    Raises:
        HostsError: two hosts have one folder; all get the same message.
        OutputError: the folder cannot be written.
    """
    mark = f".host-{secrets.token_hex(8)}"
    with _created(folder.path) as create:

        def write() -> None:
            with writing_to(folder):
                create()
                os.close(writable_file(os.path.join(folder.path, mark), os.O_WRONLY | os.O_CREAT | os.O_EXCL))

        def remove() -> None:
            with writing_to(folder):
                os.unlink(os.path.join(folder.path, mark))

        hosts.on_each("marking the folders of the run", write)
        marks = [message.decode() for message in hosts.gather("the marks of the folders", mark.encode())]
        own = _fault(folder, hosts, marks).encode(errors="replace")
        faults = hosts.gather("looking for hosts with one folder", own)
        hosts.on_each("removing the marks of the folders", remove)
    fault = next(filter(None, faults), b"")
    if fault:
        raise HostsError(fault.decode())


def _fault(folder: RunFolder, hosts: Hosted, marks: Sequence[str]) -> str:
    """Names another host whose mark is in the folder of this one; empty if there is none."""
    for rank, mark in enumerate(marks):
        if rank != hosts.rank and os.path.exists(os.path.join(folder.path, mark)):
            first, second = map(hosts.named, sorted((rank, hosts.rank)))
            return (
                f"--snapshot_on all: {first} and {second} have one folder, {folder.path}: give each host a --log_dir "
                "of its own, or --snapshot_on chief"
            )
    return ""


@contextmanager
def _created(folder: str) -> Iterator[Callable[[], None]]:
    """Yields a function that creates a folder; what it created is removed at the end, if it is empty."""
    missing: list[str] = []

    def create() -> None:
        path = os.path.abspath(folder)
        while not os.path.lexists(path):
            missing.append(path)
            path = os.path.dirname(path)
        os.makedirs(folder, exist_ok=True)

    try:
        yield create
    finally:
        for path in missing:
            with suppress(OSError):  # not empty, or another host has removed it
                os.rmdir(path)
