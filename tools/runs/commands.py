"""The command lines that started a run, as they were given: a line of text each."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from database.regular_files import regular_file, writable_file

COMMANDS_FILE = "commands.txt"
_MOST_BYTES = 1_000_000  # that are read


def add_command(folder: str, arguments: Sequence[str]) -> None:
    """Appends a command to the file of a run.

    Args:
        folder: of the run.
        arguments: the program and its arguments, as in `sys.argv`.

    Raises:
        OSError: the file cannot be written.
    """
    with open(os.path.join(folder, COMMANDS_FILE), "ab", opener=writable_file) as file:
        # A line end in an argument is quoted, and would look like another command.
        line = shlex.join(["python", *arguments]).replace("\n", "\\n")
        file.write(line.encode("utf-8", "surrogateescape") + b"\n")


def read_commands(folder: str) -> list[str]:
    """Reads the commands of a run, the first one first; empty if an earlier version wrote the run."""
    try:
        with open(os.path.join(folder, COMMANDS_FILE), "rb", opener=regular_file) as file:
            text = file.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()]
