"""Tests what `make setup` says, with programs that do nothing in place of Python and pip."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.scripts.starting import ROOT


@pytest.mark.parametrize("locked", ["", "1"])
def test_setup_says_what_it_does(tmp_path, locked):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("python", "pip"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    variables = [f"VENV={tmp_path}", f"PYTHON={programs / 'python'}", "EXTRAS=dev", f"LOCKED={locked}"]
    # `make test` hands its own flags and depth to every make below it, which then names the folders it enters.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", "setup", *variables], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    [install, compiling, end] = [line for line in lines if line.startswith("setup: ")]
    assert f"packages for dev into {tmp_path}" in install
    assert lines.index(install) < next(number for number, line in enumerate(lines) if "pip install" in line)
    assert lines.index(compiling) < next(number for number, line in enumerate(lines) if "compileall" in line)
    assert end == lines[-1] == f"setup: done; activate it with: source {tmp_path}/bin/activate"
