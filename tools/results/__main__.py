"""Lists the runs below a log folder: differing flags, scores, and means over seeds.

python -m tools.results --log_dir ./log --format markdown --json results.json
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that need packages
    from tools.runtime.installed import require_installed

    require_installed()

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from database.atomic import text_written_atomically
from tools.console import print_text, run_script, set_up_logging
from tools.errors import FlagError
from tools.flags.definition import flag
from tools.flags.help import Program
from tools.flags.parsing import parse_flags
from tools.flags.values import file_path
from tools.results.runs import Run, find_runs
from tools.results.tables import FORMATS


@dataclass(frozen=True, kw_only=True)
class ResultsConfig:
    """Flags of the list of results."""

    log_dir: str = flag("./log", "folder of all runs", file_path, group="data", metavar="FOLDER")
    predictions_dir: str = flag(
        "./val_set", "folder of the scores of predict.py, at any depth", file_path, group="data", metavar="FOLDER"
    )
    earlier: bool = flag(False, "also list runs that were renamed because a new run has their name", group="data")
    format: str = flag("text", "format of the list", group="output", choices=tuple(FORMATS))
    json: str | None = flag(None, "file for the list as JSON", file_path, group="output")

    program: ClassVar[Program] = Program(
        "python -m tools.results",
        "[--log_dir FOLDER]",
        ("--format markdown", "--log_dir log --json results.json"),
    )


def _write_json(runs: Sequence[Run], path: str) -> None:
    try:
        with text_written_atomically(path) as file:
            json.dump([dataclasses.asdict(run) for run in runs], file, indent=2)
    except OSError as error:
        raise FlagError(f"--json {path} cannot be written ({error.strerror}): give another file") from error


def main(arguments: Sequence[str]) -> None:
    """Parses flags and prints the list."""
    if arguments and not arguments[0].startswith("-"):
        raise FlagError(f"'{arguments[0]}' is not a flag: give the folder of the runs with --log_dir {arguments[0]}")
    config = parse_flags(ResultsConfig, arguments, "List runs and their scores.")
    runs = find_runs(config.log_dir, config.predictions_dir, earlier=config.earlier)
    if config.json is not None:
        _write_json(runs, config.json)
    print_text(FORMATS[config.format](runs) if runs else f"no run below {config.log_dir}")


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))
