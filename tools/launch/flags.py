"""Flags of the launcher."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar

from tools.errors import FlagError
from tools.flags.definition import flag
from tools.flags.help import Program
from tools.flags.running import ScreenFlags
from tools.flags.values import file_path
from tools.runtime.hosts import MOST_HOSTS

_MOST_RESTARTS = 10**6
_LONGEST_GRACE = 86400.0


@dataclass(frozen=True, kw_only=True)
class LaunchConfig(ScreenFlags):
    """Flags of the launcher, which come before `--` and the script."""

    processes: int = flag(2, "number of processes, the hosts of the run", group="hosts", minimum=1, maximum=MOST_HOSTS)
    restarts: int = flag(
        0,
        "number of times that all processes are started again after one was killed, or ended with exit code 75",
        group="hosts",
        minimum=0,
        maximum=_MOST_RESTARTS,
    )
    grace: float = flag(
        30.0,
        "seconds that the other processes have to end by themselves after one has, and again after SIGTERM; then they "
        "are killed",
        group="hosts",
        metavar="SECONDS",
        minimum=0,
        maximum=_LONGEST_GRACE,
    )
    cores_per_process: int | None = flag(
        None,
        "bind each process to that many cores of its own",
        int,
        group="hosts",
        metavar="CORES",
        unset="all processes use all cores",
        minimum=1,
    )
    logs: str | None = flag(
        None,
        "folder for the output of each process: rank-0.log, rank-1.log ..., which are appended to",
        file_path,
        group="output",
        metavar="FOLDER",
        unset="only the screen",
    )

    program: ClassVar[Program] = Program(
        "python -m tools.launch",
        "[--processes N] [--restarts N] -- SCRIPT",
        (
            "--processes 2 -- train.py --database CamVid --batch_size 2",
            "--processes 2 --restarts 3 --logs logs -- train.py --database CamVid --auto_resume 1",
        ),
    )

    def __post_init__(self) -> None:
        """Checks the number of cores.

        Raises:
            FlagError: there are too few, or processes cannot be bound to cores on this system.
        """
        self.cores()

    def cores(self) -> list[frozenset[int]] | None:
        """Returns the cores of each process, in the order of the ranks; None if all use all.

        Raises:
            FlagError: see `__post_init__`.
        """
        own = self.cores_per_process
        if own is None:
            return None
        if not hasattr(os, "sched_getaffinity"):
            raise FlagError("--cores_per_process has no effect on this system, which binds no process: drop it")
        usable = sorted(os.sched_getaffinity(0))
        if own * self.processes > len(usable):
            raise FlagError(
                f"--cores_per_process {own} for --processes {self.processes} needs {own * self.processes} cores, and "
                f"{len(usable)} can be used: lower one of them"
            )
        return [frozenset(usable[rank * own : (rank + 1) * own]) for rank in range(self.processes)]
