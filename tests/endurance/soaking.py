"""Long runs of a script in a process of its own, which looks at its memory, files and threads meanwhile.

`python -m tests.endurance.soaking <class> <method> <script> <warm-up flags> <flags>`, flags as JSON, prints what it saw
in the second of the two runs of the script as JSON. A sample is taken after each call of the method.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tools.runtime.arenas import limit_arenas

_ROOT = Path(__file__).resolve().parent.parent.parent
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Holdings:
    """What a process holds: open files and what they are, threads by the names that the system and Python know."""

    files: list[str]
    system_threads: list[str]
    python_threads: list[str]

    @classmethod
    def now(cls) -> Holdings:
        gc.collect()
        files = [_target(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
        tasks = [Path(f"/proc/self/task/{name}/comm").read_text().strip() for name in os.listdir("/proc/self/task")]
        names = [thread.name for thread in threading.enumerate()]
        return cls(sorted(filter(None, files)), sorted(tasks), sorted(names))


def _target(link: str) -> str:
    """What an open file is; nothing for that by which the open files are listed."""
    try:
        return os.readlink(link)
    except FileNotFoundError:
        return ""


@dataclass(frozen=True)
class Soak:
    """What was seen of a run.

    Attributes:
        resident: bytes of memory after each call.
        before, after: what was held before and after the run.
    """

    resident: list[int]
    before: Holdings
    after: Holdings

    def growth(self, warm_up: int) -> float:
        """Megabytes in 1,000 calls, by the straight line through all after the warm-up."""
        calls = np.arange(warm_up, len(self.resident))
        slope, _ = np.polyfit(calls, np.array(self.resident[warm_up:]) / 1e6, 1)
        return 1000 * float(slope)

    def megabytes(self, call: int) -> float:
        """Resident after a call: the median of the 50 up to it."""
        return float(np.median(self.resident[max(0, call - 50) : call])) / 1e6


def soak(method: str, script: str, warm_up_flags: Sequence[object], flags: Sequence[object], log: Path) -> Soak:
    """Runs a script twice in a process of its own and looks at the second run.

    Args:
        method: <module>:<class>.<method> after whose calls a sample is taken.
        script: e.g. `train`.
        warm_up_flags, flags: of the first run and of the second.
        log: a file for what they say.
    """
    texts = [json.dumps(list(map(str, given))) for given in (warm_up_flags, flags)]
    command = [sys.executable, "-m", "tests.endurance.soaking", method, script, *texts, str(log) + ".json"]
    with open(log, "wb") as file:
        done = subprocess.run(command, cwd=_ROOT, stdout=file, stderr=file, check=False)
    assert done.returncode == 0, log.read_text()[-3000:]
    with open(str(log) + ".json", encoding="utf-8") as file:
        seen = json.load(file)
    return Soak(seen["resident"], Holdings(**seen["before"]), Holdings(**seen["after"]))


def _sampled(method: Callable, samples: list[int]) -> Callable:
    def call(*arguments, **options):
        result = method(*arguments, **options)
        with open("/proc/self/statm", encoding="ascii") as file:
            samples.append(int(file.read().split()[1]) * _PAGE)
        return result

    return call


def _run(method: str, script: str, warm_up_flags: str, flags: str, results: str) -> None:
    limit_arenas()  # the scripts do so before they import TensorFlow, which is imported next
    from model import resnet
    from tests.tools.toy_runs import NARROW, NETWORK
    from tools.console import run_script, set_up_logging

    resnet.NETWORKS[NETWORK] = NARROW
    set_up_logging()
    module, _, name = method.partition(":")
    owner, _, name = name.partition(".")
    samples: list[int] = []
    holder = getattr(importlib.import_module(module), owner)
    setattr(holder, name, _sampled(getattr(holder, name), samples))
    main = runpy.run_path(str(_ROOT / f"{script}.py"))["main"]
    assert run_script(main, json.loads(warm_up_flags)) == 0
    samples.clear()
    before = Holdings.now()
    assert run_script(main, json.loads(flags)) == 0
    seen = Soak(samples, before, Holdings.now())
    with open(results, "w", encoding="utf-8") as file:
        json.dump(asdict(seen), file)


if __name__ == "__main__":
    _run(*sys.argv[1:])
