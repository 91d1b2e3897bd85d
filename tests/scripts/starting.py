"""Scripts started as a user starts them, and what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from database.classes import CITYSCAPES_LABEL_MAP

ROOT = Path(__file__).resolve().parent.parent.parent
LABEL_IDS = {file_id for file_id, train_id in CITYSCAPES_LABEL_MAP.items() if train_id != 255}


def start(script: str, *flags: str, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess:
    """Runs a script in a process of its own."""
    command = [sys.executable, str(ROOT / f"{script}.py"), *flags]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    return subprocess.run(
        command,
        cwd=cwd,
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        env=environment,
        check=False,
    )


def the_error(output: str) -> str:
    """The one error line; there is no traceback, and nothing follows."""
    assert "Traceback" not in output
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert output.splitlines()[-1] == lines[0]
    return lines[0]
