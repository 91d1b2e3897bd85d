"""Workers end with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.runtime import worker_processes

ROOT = Path(__file__).resolve().parent.parent.parent.parent

POOL = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from tools.runtime.worker_processes import begin_worker

if __name__ == "__main__":
    with ProcessPoolExecutor(2, get_context("spawn"), begin_worker) as pool:
        print(*{future.result() for future in [pool.submit(os.getpid) for _ in range(8)]}, flush=True)
        pool.submit(time.sleep, 60)
        time.sleep(60)
"""


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.timeout(60)
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_workers_of_a_killed_process_end(tmp_path, sent):
    """One of them is at work, one waits for work."""
    (tmp_path / "pool.py").write_text(POOL)
    process = subprocess.Popen(
        [sys.executable, "pool.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    workers = list(map(int, process.stdout.readline().split()))
    assert workers
    assert all(map(_runs, workers))
    process.send_signal(sent)
    process.wait()
    process.stdout.close()
    until = time.monotonic() + 30
    while any(map(_runs, workers)) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(map(_runs, workers))


def test_only_workers_have_a_parent():
    with pytest.raises(AssertionError, match="no worker process"):
        worker_processes._end_with_parent()
