"""The browser that opens reports, and a copy of the trained run, in whose folder tests may write."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.browser import browser  # noqa: F401


@pytest.fixture
def run_copy(tiny_run, narrow_resnet, tmp_path, monkeypatch) -> Path:
    """A copy of the run in `log/Toy/<run>`, in the current folder, with links to its weights."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "log" / "Toy" / "tiny"
    shutil.copytree(tiny_run.folder.path, folder, copy_function=os.link)
    return folder
