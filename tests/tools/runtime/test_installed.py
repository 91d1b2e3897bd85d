"""Missing packages are reported in one line before anything imports them."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest

from tests.scripts.starting import ROOT
from tools.runtime.installed import REQUIRED, require_installed

PROGRAMS = sorted(
    [[f"{name}.py"] for name in ("train", "predict", "inference")]
    + [
        ["-m", ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")]
        for path in (ROOT / "tools").rglob("*.py")
        if '__name__ == "__main__"' in path.read_text() and path.parent.name != "setup"
    ]
)


@pytest.mark.parametrize("program", PROGRAMS, ids=" ".join)
def test_programs_without_their_packages_end_with_one_line(program):
    """-S hides the packages of the environment."""
    found = subprocess.run([sys.executable, "-S", *program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stdout) == (2, "")
    [line] = found.stderr.splitlines()
    assert line.startswith(f"error: TensorFlow and 7 other packages are not installed for {sys.executable}: ")
    assert "make setup" in line


def test_the_list_is_that_of_the_project():
    with open(ROOT / "pyproject.toml", "rb") as file:
        dependencies = tomllib.load(file)["project"]["dependencies"]
    assert sorted(name.lower() for name in REQUIRED.values()) == sorted(text.split(">")[0] for text in dependencies)


@pytest.mark.parametrize(
    ("packages", "words"),
    [
        ({"json": "JSON", "absent_a": "A"}, "A is not installed"),
        ({"absent_a": "A", "absent_b": "B"}, "A and B are not installed"),
        ({"json": "JSON"}, None),
    ],
)
def test_only_what_is_missing_is_named(packages, words, capsys):
    if words is None:
        require_installed(packages)
        return
    with pytest.raises(SystemExit) as caught:
        require_installed(packages)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err
