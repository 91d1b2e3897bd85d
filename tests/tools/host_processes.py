"""Scripts on several hosts, each in a process forked from one that has imported TensorFlow.

`python -m tests.tools.host_processes` is that process.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.runtime.ports import free_addresses

_ROOT = Path(__file__).resolve().parent.parent.parent
_POLL_SECONDS = 0.02


@dataclass
class HostProcess:
    """A script that runs in a process, with what it says in a file.

    Attributes:
        pid: of the process.
        log: path of the file.
    """

    pid: int
    log: str
    server: HostProcesses

    def exit_code(self, seconds: float = 120.0) -> int:
        """Waits for the end; minus the number of the signal if one ended it."""
        until = time.monotonic() + seconds
        while (code := self.server.ask("poll", self.pid)) is None:
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGKILL)
                raise AssertionError(f"process {self.pid} did not end within {seconds} s: {self.text()}")
            time.sleep(_POLL_SECONDS)
        return code

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        os.kill(self.pid, number)

    def text(self) -> str:
        """Returns what the process has said so far."""
        return Path(self.log).read_text(errors="replace")

    def wait_until(self, is_so: Callable[[], bool], seconds: float = 120.0) -> None:
        """Waits for a condition while the process runs."""
        until = time.monotonic() + seconds
        while not is_so():
            assert self.server.ask("poll", self.pid) is None, self.text()
            assert time.monotonic() < until, self.text()
            time.sleep(_POLL_SECONDS)


class HostProcesses:
    """Starts scripts on a narrow network. Use as a context manager, which ends what still runs."""

    def __enter__(self) -> HostProcesses:
        command = [sys.executable, "-m", "tests.tools.host_processes"]
        environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1"}
        pipe = subprocess.PIPE
        self._server = subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=_ROOT, env=environment)
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.communicate()

    def ask(self, *request: object) -> object:
        """Sends a request to the process that forks, and returns its answer."""
        self._server.stdin.write(json.dumps(request).encode() + b"\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def start(self, flags: Sequence[str], log: str, script: str = "train", namespace: str | None = None) -> HostProcess:
        """Starts a script with these flags, in a network namespace; what it says is added to the file `log`."""
        return HostProcess(int(self.ask("start", namespace, log, script, *flags)), log, self)

    def start_all(
        self, count: int, flags: Sequence[str], log: str, script: str = "train", addresses: Sequence[str] = ()
    ) -> list[HostProcess]:
        """Starts a script on several hosts; the log of rank n is `<log>-n.txt`."""
        hosts = ",".join(addresses or free_addresses(count))
        of_rank = (["--hosts", hosts, "--host_rank", str(rank)] for rank in range(count))
        return [self.start([*flags, *own], f"{log}-{rank}.txt", script) for rank, own in enumerate(of_rank)]


def _serve() -> None:
    from model import resnet
    from tests.tools.toy_runs import NARROW, NETWORK

    resnet.NETWORKS[NETWORK] = NARROW
    ended: dict[int, int] = {}
    started: set[int] = set()
    for line in sys.stdin:
        kind, *arguments = json.loads(line)
        if kind == "start":
            process = os.fork()
            if process == 0:
                os._exit(_run(*arguments))
            started.add(process)
            answer: int | None = process
        else:
            if arguments[0] not in ended:
                found, status = os.waitpid(arguments[0], os.WNOHANG)
                if found:
                    ended[found] = os.waitstatus_to_exitcode(status)
            answer = ended.get(arguments[0])
        print(json.dumps(answer), flush=True)
    for process in started - set(ended):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


def _enter(namespace: str) -> None:
    """Moves this process to a network namespace of `ip netns`; os.setns is newer than this Python."""
    with open(f"/var/run/netns/{namespace}", "rb") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0):
            raise OSError(ctypes.get_errno(), f"network namespace {namespace}")


def _run(namespace: str | None, log: str, script: str, *flags: str) -> int:
    from tools.console import run_script, set_up_logging

    if namespace is not None:
        _enter(namespace)
    with open(log, "ab") as file, open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    set_up_logging()
    code = run_script(runpy.run_path(str(_ROOT / f"{script}.py"))["main"], flags)
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    _serve()
