"""Scripts that are killed and started again, in processes forked from one that has imported TensorFlow.

`python -m tests.tools.killing` is that process.
"""

from __future__ import annotations

import json
import os
import runpy
import select
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.runs.folder import RunFolder
from tools.training.variable_report import VARIABLES_NAME

_ROOT = Path(__file__).resolve().parent.parent.parent
_POLL_SECONDS = 0.0002

# What a process is doing when it is killed.
START_UP, STEPS, SNAPSHOT, SCORING = "start-up", "steps", "snapshot", "scoring"
SCORING_ON_THE_WAY = "scoring on the way"


@dataclass(frozen=True)
class Kill:
    """When a process is killed.

    Attributes:
        phase: the delay begins at the start, after some steps, with the first snapshot that is written after some
            steps, with the last, or with that of `scored_step`.
        steps: that the process has taken before.
        files: of the snapshot, that have been begun before.
        delay: seconds.
        scored_step: of the snapshot that is being scored.
    """

    phase: str
    steps: int = 0
    files: int = 0
    delay: float = 0.0
    scored_step: int = 0


@dataclass(frozen=True)
class Durations:
    """Seconds that an untouched run needs: to its first step, and to write a snapshot, the median of all."""

    start_up: float
    snapshot: float


class TrainingProcesses:
    """train.py, or another script, on a narrow network, one process at a time. Use as a context manager."""

    def __enter__(self) -> TrainingProcesses:
        command = [sys.executable, "-m", "tests.tools.killing"]
        pipe = subprocess.PIPE
        self._server = subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0, cwd=_ROOT)
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.communicate()

    def start(self, flags: Sequence[str], log: str, script: str = "train") -> None:
        """Starts a script with these flags; what it says is added to the file `log`."""
        self._server.stdin.write(json.dumps([log, script, *flags]).encode() + b"\n")
        self._process = int(self._server.stdout.readline())

    def has_ended(self) -> bool:
        """Whether the process has ended; its number is taken until the next is started."""
        return bool(select.select([self._server.stdout], [], [], 0)[0])

    def kill(self) -> None:
        """Sends SIGKILL."""
        os.kill(self._process, signal.SIGKILL)

    def exit_code(self) -> int:
        """Waits for the end; -9 after a kill."""
        return int(self._server.stdout.readline())


def _inode(path: str) -> int | None:
    """Tells one file from another that is put in its place; None where there is none."""
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None


class RunSeen:
    """What the folder of a run shows of the process that is about to begin it, or to go on with it.

    The run must write curves of each step.
    """

    def __init__(self, folder: RunFolder, last_step: int) -> None:
        self._folder = folder
        self._last = folder.snapshot(last_step) + ".index"
        self._variables = os.path.join(folder.path, VARIABLES_NAME)
        self._file_before, self._variables_before = _inode(folder.csv), _inode(self._variables)
        self._rows_before: int | None = None

    def steps(self) -> int:
        """How many steps the process has taken: before the first, it puts a new file of curves in place."""
        if _inode(self._folder.csv) in (None, self._file_before):
            return 0
        rows = Path(self._folder.csv).read_bytes().count(b"\n")
        if self._rows_before is None:
            self._rows_before = rows
        return rows - self._rows_before

    def half_written(self) -> tuple[str, ...] | None:
        """Endings of what there is of the snapshot that is being written; a start removes what the last one left."""
        try:
            names = os.listdir(os.path.join(self._folder.snapshots, ".writing"))
        except FileNotFoundError:
            return None
        return tuple(sorted(name.partition("ckpt-")[2].partition(".")[2] for name in names))

    def _is_over(self) -> bool:
        return os.path.exists(self._last)

    def has_come_to(self, kill: Kill) -> bool:
        """Whether the delay of a kill begins."""
        if kill.phase == SCORING:
            return self._is_over()
        if kill.phase == SCORING_ON_THE_WAY:
            # The list of variables is written anew right before a score is made up.
            is_begun = _inode(self._variables) not in (None, self._variables_before)
            return is_begun and os.path.exists(self._folder.snapshot(kill.scored_step) + ".index")
        if self.steps() < kill.steps:
            return False
        files = self.half_written()
        return kill.phase != SNAPSHOT or (files is not None and len(files) >= kill.files)

    def phase(self) -> str:
        """What the process was doing when it was killed, by what it has left."""
        if self._is_over():
            return SCORING
        if self.steps() == 0:
            return START_UP
        return STEPS if self.half_written() is None else SNAPSHOT


def run_killed(
    processes: TrainingProcesses, flags: Sequence[str], log: str, seen: RunSeen, kill: Kill
) -> tuple[str, tuple[str, ...] | None]:
    """Starts a process and kills it.

    Args:
        processes: to start it with.
        flags: of train.py.
        log: a file for what it says.
        seen: its run, from before the start.
        kill: when.

    Returns:
        What it was doing, and what it left of a snapshot; see `RunSeen`.
    """
    processes.start(flags, log)
    while not seen.has_come_to(kill):
        assert not processes.has_ended(), f"ended before {kill}: see {log}"
        time.sleep(_POLL_SECONDS)
    until = time.perf_counter() + kill.delay
    while time.perf_counter() < until:
        seen.steps()
        time.sleep(_POLL_SECONDS)
    processes.kill()
    assert processes.exit_code() == -signal.SIGKILL
    return seen.phase(), seen.half_written()


def run_untouched(processes: TrainingProcesses, flags: Sequence[str], log: str, seen: RunSeen) -> Durations:
    """Runs a process to its end and measures it; arguments as of `run_killed`."""
    started = time.perf_counter()
    processes.start(flags, log)
    begun, written = None, []
    while not processes.has_ended() and seen.steps() == 0:
        time.sleep(_POLL_SECONDS)
    start_up = time.perf_counter() - started
    while not processes.has_ended():
        now, is_writing = time.perf_counter(), seen.half_written() is not None
        if is_writing and begun is None:
            begun = now
        elif not is_writing and begun is not None:
            written.append(now - begun)
            begun = None
        time.sleep(_POLL_SECONDS)
    assert processes.exit_code() == 0, f"see {log}"
    return Durations(start_up, statistics.median(written))


def _serve() -> None:
    """Forks a process for each line of flags, and prints its number, and its exit code once it has ended."""
    from model import resnet
    from tests.tools.toy_runs import NARROW, NETWORK

    resnet.NETWORKS[NETWORK] = NARROW
    process = None
    for line in sys.stdin:
        if process is not None:
            os.waitpid(process, 0)
        log, script, *flags = json.loads(line)
        process = os.fork()
        if process == 0:
            os._exit(_run(log, script, flags))
        print(process, flush=True)
        ended = os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        print(ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status, flush=True)


def _run(log: str, script: str, flags: Sequence[str]) -> int:
    from tools.console import run_script, set_up_logging

    with open(log, "ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    set_up_logging()
    code = run_script(runpy.run_path(str(_ROOT / f"{script}.py"))["main"], flags)
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    _serve()
