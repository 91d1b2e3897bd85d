"""Reads the launcher's command line: its own flags, and after `--` the script with its flags."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tools.errors import FlagError
from tools.flags.parsing import parse_flags
from tools.flags.predict import PredictConfig
from tools.flags.train import TrainConfig
from tools.launch.flags import LaunchConfig

_PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_EXAMPLE = "python -m tools.launch --processes 2 -- train.py --database CamVid"
_GIVEN_HERE = ("--hosts", "--host_rank")
# Scripts whose flags are checked once, before they are started several times.
_CONFIGS: Mapping[str, Any] = {"train.py": TrainConfig, "predict.py": PredictConfig}


def parse_command_line(arguments: Sequence[str]) -> tuple[LaunchConfig, list[str]]:
    """Parses the flags before `--`, and checks the script and the flags after it.

    Returns:
        The flags of the launcher, and the words of the script: its path or `-m` and a module, and its arguments.

    Raises:
        FlagError: a flag is invalid, there is no script, it is given --hosts or --host_rank, its flags are invalid, or
            it would begin a run anew at each restart.
        SystemExit: after --help.
    """
    own, words = _divided(arguments)
    config = parse_flags(LaunchConfig, own, "Start a script in several processes, which are the hosts of its run.")
    if not words:
        raise FlagError(f"there is no script: give it and its flags after --, as in {_EXAMPLE}")
    if os.path.basename(words[0]).startswith("python"):  # the processes run with the Python of this one
        words = words[1:]
    _check_script(words)
    for word in words:
        name = word.partition("=")[0].replace("-", "_").replace("__", "--", 1)
        if name in _GIVEN_HERE:
            raise FlagError(f"{name} is given to each process by tools.launch: drop it")
    _check_flags(config, words)
    return config, words


def _divided(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns what is before the first `--`, and what is after it."""
    words = list(arguments)
    if "--" in words:
        place = words.index("--")
        return words[:place], words[place + 1 :]
    script = next((word for word in words if word.endswith(".py")), None)
    if script is not None:
        raise FlagError(f"write -- before {script}, as in {_EXAMPLE}")
    return words, []


def _check_script(words: Sequence[str]) -> None:
    if words[:1] == ["-m"] and len(words) > 1:
        return
    script = words[0] if words else ""
    if not script.endswith(".py"):
        raise FlagError(f"'{script}' after -- is no script of Python: expected one as in {_EXAMPLE}")
    if not os.path.isfile(script):
        raise FlagError(f"{script} does not exist: give the path of a script, as in {_EXAMPLE}")


def _check_flags(config: LaunchConfig, words: Sequence[str]) -> None:
    """Parses the flags of a script of this project, so that what is wrong with them is reported once."""
    kind = _CONFIGS.get(os.path.basename(words[0]))
    if kind is None or not os.path.samefile(words[0], os.path.join(_PROJECT, os.path.basename(words[0]))):
        return
    flags = parse_flags(kind, [*words[1:], *host_flags(["localhost:1", "localhost:2"][: config.processes], 0)], "")
    if kind is TrainConfig and flags.snapshot_on == "all":
        raise FlagError(
            "--snapshot_on all needs a --log_dir for each process, and tools.launch gives all of them the same flags: "
            "drop it"
        )
    if kind is TrainConfig and config.restarts and not flags.auto_resume:
        raise FlagError(
            f"--restarts {config.restarts} needs --auto_resume 1 among the flags of train.py: without it, each start "
            "begins the run anew"
        )


def host_flags(addresses: Sequence[str], rank: int) -> list[str]:
    """Returns the flags that tell a script its hosts; none for one process, whose run is of one host."""
    if len(addresses) == 1:
        return []
    return ["--hosts", ",".join(addresses), "--host_rank", str(rank)]


def command_of(words: Sequence[str], addresses: Sequence[str], rank: int) -> list[str]:
    """Returns the command of one process."""
    return [sys.executable, *words, *host_flags(addresses, rank)]
