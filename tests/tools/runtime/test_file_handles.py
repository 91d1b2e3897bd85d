"""The number of files that a process may open."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tools.errors import TooFewHandlesError, UserError
from tools.runtime import file_handles
from tools.runtime.file_handles import NEEDED, require_file_handles

ROOT = Path(__file__).resolve().parent.parent.parent.parent


@pytest.fixture
def limits(monkeypatch):
    """Sets the limits that the system reports, and returns those that were set."""
    found = []

    def limit_to(soft: int, hard: int) -> list[tuple[int, int]]:
        monkeypatch.setattr(resource, "getrlimit", lambda kind: (soft, hard))
        monkeypatch.setattr(resource, "setrlimit", lambda kind, both: found.append(both))
        return found

    return limit_to


def test_a_usual_limit_stays(limits):
    for soft in (1024, resource.RLIM_INFINITY):
        found = limits(soft, resource.RLIM_INFINITY)
        require_file_handles()
        assert found == []


@pytest.mark.parametrize(("hard", "raised"), [(4096, 1024), (resource.RLIM_INFINITY, 1024), (700, 700)])
def test_a_low_limit_is_raised_to_a_usual_one(limits, hard, raised):
    found = limits(20, hard)
    require_file_handles()
    assert found == [(raised, hard)]


def test_a_limit_that_cannot_be_raised(limits):
    found = limits(20, 30)
    with pytest.raises(
        TooFewHandlesError, match=r"may open 20 files, expected at least \d+: .*ulimit -n 1024"
    ) as caught:
        require_file_handles()
    assert found == []
    assert isinstance(caught.value, UserError)


def test_where_open_files_are_not_listed(limits, monkeypatch):
    monkeypatch.setattr(file_handles, "_OPEN_FILES", "/nowhere")
    found = limits(NEEDED + 2, NEEDED + 10)
    require_file_handles()
    assert found == [(NEEDED + 10, NEEDED + 10)]


@pytest.mark.parametrize("free", [3, 8])
@pytest.mark.parametrize("command", [["train.py"], ["predict.py"], ["inference.py"], ["-m", "tools.results"]])
def test_few_handles_are_one_line(tmp_path, free, command):
    """Without the check, TensorFlow aborts with 8, and Python cannot import it with 3."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3 + free, 3 + free))

    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, preexec_fn=limit, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: this process may open {3 + free} files, expected at least ")
    assert done.stderr.count("\n") == 1
