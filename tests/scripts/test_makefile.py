"""Tests what `make setup` says, with programs that do nothing in place of Python and pip, and what targets install."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.scripts.starting import ROOT


def make_setup(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs `make setup` with programs in `folder` that do nothing."""
    programs = folder / "bin"
    programs.mkdir()
    for name in ("python", "pip"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    assigned = {"VENV": str(folder), "PYTHON": str(programs / "python"), **variables}
    return run_make("setup", *(f"{name}={value}" for name, value in assigned.items()))


def run_make(*arguments: str) -> subprocess.CompletedProcess[str]:
    # `make test` hands its own flags and depth to every make below it, which then names the folders it enters.
    own = ("MAKE", "MFLAGS", "EXTRAS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_extras_without_locked_versions(tmp_path):
    done = make_setup(tmp_path, EXTRAS="dev,report", LOCKED="1")
    assert done.returncode != 0
    line = done.stderr.splitlines()[0]
    assert line.startswith("setup: lock/ has no versions for EXTRAS=dev,report, only ")
    assert {path.stem for path in (ROOT / "lock").iterdir()} <= set(re.split(r"[ ,]+", line))
    assert "pip install" not in done.stdout


@pytest.mark.parametrize(
    ("target", "asked", "installed"),
    [
        ("test-parity", "dev", "dev,parity"),
        ("test-parity", "dev,parity,serve", "dev,parity,serve"),
        ("test-parity", "parity", "dev,parity"),
        ("test-export", "dev,exporting", "dev,export"),
    ],
)
def test_targets_install_the_extra_that_they_need_unless_it_is_among_those_asked_for(
    tmp_path, target, asked, installed
):
    # Also in a dry run, make runs what stands beside $(MAKE): in a folder where nothing is installed, nothing does.
    done = run_make("--dry-run", target, f"EXTRAS={asked}", "LOCKED=", f"VENV={tmp_path}")
    assert done.stdout.splitlines()[0] == f"make setup EXTRAS={installed}"


def test_what_was_installed_last_is_the_default(tmp_path):
    for age, name in enumerate(("dev-serve", "dev-parity-report-locked", "dev")):
        stamp = tmp_path / f"installed-{name}"
        stamp.touch()
        os.utime(stamp, (1e9 - 100 * age, 1e9 - 100 * age))
    newest = {"dev-serve": "dev,export", "dev-export-serve": "dev,export,serve", "dev-export-locked": "dev,export"}
    for age, (name, extras) in enumerate(newest.items()):
        stamp = tmp_path / f"installed-{name}"
        stamp.touch()
        os.utime(stamp, (1.1e9 + 100 * age, 1.1e9 + 100 * age))
        line = run_make("--dry-run", "test-export", "LOCKED=", f"VENV={tmp_path}").stdout.splitlines()[0]
        assert line == f"make setup EXTRAS={extras}"


@pytest.mark.parametrize("locked", ["", "1"])
def test_setup_says_what_it_does(tmp_path, locked):
    done = make_setup(tmp_path, EXTRAS="dev", LOCKED=locked)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    [install, compiling, end] = [line for line in lines if line.startswith("setup: ")]
    assert f"packages for dev into {tmp_path}" in install
    assert lines.index(install) < next(number for number, line in enumerate(lines) if "pip install" in line)
    assert lines.index(compiling) < next(number for number, line in enumerate(lines) if "compileall" in line)
    assert end == lines[-1] == f"setup: done; activate it with: source {tmp_path}/bin/activate"
