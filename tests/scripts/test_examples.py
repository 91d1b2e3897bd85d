"""The notebooks in examples/, as a user runs them from the first cell to the last."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripts.starting import ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
SMALL = "STEPS, TRAIN, VAL, CROP = 2, 4, 2, 32"


def cells_of(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def code_of(path: Path, parameters: str | None = None) -> str:
    """The code of all cells; `parameters` replaces the cell with that tag."""
    parts = []
    for cell in cells_of(path):
        if cell["cell_type"] == "code":
            tagged = "parameters" in cell["metadata"].get("tags", [])
            parts.append(parameters if tagged and parameters is not None else "".join(cell["source"]))
    return "\n\n".join(parts)


def test_there_is_a_notebook():
    assert [path.name for path in NOTEBOOKS] == ["toy.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_plain(path):
    """They compile without IPython, have one cell of parameters, and hold no error and no path of a machine."""
    compile(code_of(path), path.name, "exec")
    assert sum("parameters" in cell["metadata"].get("tags", []) for cell in cells_of(path)) == 1
    assert not re.search(r'"(/(home|root|tmp|work|usr)/|output_type": "error)', path.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_from_the_first_cell_to_the_last(path, tmp_path):
    """With few steps on small crops. Pictures are drawn, but not shown."""
    pytest.importorskip("matplotlib")
    script = tmp_path / "notebook.py"
    script.write_text(code_of(path, SMALL), encoding="utf-8")
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mIoU" in done.stdout
    assert len(list((tmp_path / "results").rglob("*.png"))) == 3
