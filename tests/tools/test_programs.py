"""What all programs have in common: --help, and unknown flags that are refused before anything is done."""

from __future__ import annotations

import importlib
import os
import re

import pytest

from tests.scripts.starting import ROOT
from tools.console import run_script

PROGRAMS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in [*ROOT.glob("*.py"), *ROOT.glob("tools/**/*.py")]
    if re.search(r'^if __name__ == "__main__":', path.read_text(encoding="utf-8"), re.MULTILINE)
)


def left_with(program: str, *arguments: str) -> int:
    """The exit code of a program, which is run in this process."""
    try:
        return run_script(importlib.import_module(program).main, arguments)
    except SystemExit as left:
        return int(left.code or 0)


def test_programs_are_found():
    commands = {"tools.demo", "tools.setup.audit", "tools.benchmark.__main__", "tools.results.__main__"}
    assert {"train", *commands} <= set(PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_is_shown_and_nothing_done(program, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert left_with(program, "--help") == 0
    assert "usage: " in capsys.readouterr().out
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_unknown_flag_is_refused_and_nothing_done(program, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    required = {"tools.convert.__main__": ["x.pth", "--out", "y"], "tools.sbd": ["--sbd", "x", "--voc", "y"],
                "tools.import_annotations.__main__": [
                    "--format", "coco", "--annotations", "x", "--images", "y", "--out", "z",
                ],
                "tools.setup.audit": ["x"], "tools.setup.extras": ["dev"],
                "tools.setup.virtual_environment": ["x"]}  # fmt: skip
    assert left_with(program, *required.get(program, []), "--no_such_flag") == 2
    assert "unrecognized arguments: --no_such_flag" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_output_is_guarded_before_anything_is_printed(program):
    """Every program ends through what `tests/tools/runtime/test_standard_streams.py` holds."""
    text = (ROOT / f"{program.replace('.', '/')}.py").read_text(encoding="utf-8")
    source = text.split('if __name__ == "__main__":')[-1]  # the one before may check the packages
    if program == "tools.setup.virtual_environment":  # prints one line, when it fails
        return
    assert ("set_up_logging()" in source and "run_script(" in source) or (
        "guard_standard_streams()" in source and "exit_code_after_output(" in source
    )
