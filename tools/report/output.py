"""Where a report is written, and when it may replace a file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence

from database.atomic import text_written_atomically
from database.regular_files import regular_file
from tools.errors import FlagError
from tools.pages.page import identity_line
from tools.report.reported_run import ReportedRun

_FOLDER = "./reports"
_BEGINNING = 4096  # bytes of a page in which its identity is
_LONGEST_NAME = 180  # bytes


def identity_of(runs: Sequence[ReportedRun]) -> str:
    """Returns a checksum of the set of runs, by their unique ids, or their folders where they have none."""
    keys = sorted(run.uuid or os.path.realpath(run.path) for run in runs)
    return hashlib.sha256(json.dumps(keys).encode()).hexdigest()


def default_path(runs: Sequence[ReportedRun]) -> str:
    """Returns `./reports/<database>/<run>.html`; of several runs, the name has a checksum of the runs."""
    database, name = os.path.split(os.path.join(*runs[0].path.split(os.sep)[-2:]))
    ending = f"-and-{len(runs) - 1}-more-{identity_of(runs)[:8]}" if len(runs) > 1 else ""
    kept = os.fsdecode(os.fsencode(name)[: _LONGEST_NAME - len(ending)])
    return os.path.join(_FOLDER, database, f"{kept}{ending}.html")


def check_replaceable(path: str, identity: str) -> None:
    """Checks that a path is free, or has a report of the same runs.

    Raises:
        FlagError: it has something else.
    """
    if not os.path.lexists(path):
        return
    try:
        with open(path, "rb", opener=regular_file) as file:
            is_same = identity_line(identity).encode() in file.read(_BEGINNING)
    except OSError as error:
        raise FlagError(f"--out {path} cannot be replaced ({error.strerror or error}): give another file") from error
    if not is_same:
        raise FlagError(f"--out {path} exists and is not a report of these runs: give another file, or remove this one")


def write_page(path: str, page: str) -> None:
    """Writes a page, which appears at its path complete or not at all.

    Raises:
        FlagError: it cannot be written.
    """
    try:
        with text_written_atomically(path, newline="\n", errors="backslashreplace") as file:
            file.write(page)
    except OSError as error:
        raise FlagError(f"--out {path} cannot be written ({error.strerror or error}): give another file") from error
