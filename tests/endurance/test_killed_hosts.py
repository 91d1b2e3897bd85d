"""Runs on two hosts, one of which is killed at any moment, again and again, end where untouched ones end."""

from __future__ import annotations

import math
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from database.synthetic import write_dataset
from tests.tools.host_processes import HostProcess, HostProcesses
from tests.tools.toy_runs import tensors_in
from tests.tools.training.test_host_runs import flags_of, run_of, steps_taken
from tools.console import EXIT_STOPPED
from tools.runtime.ports import free_addresses

pytestmark = pytest.mark.timeout(7200)

KILLS = 10
LAST_STEP = 60


def start_both(processes: HostProcesses, flags: list[str], log: Path) -> list[HostProcess]:
    return processes.start_all(2, flags, str(log), addresses=free_addresses(2))


def steps_of(host: HostProcess) -> int:
    """Counts the steps that a process has shown."""
    return len(re.findall(r"^step \d+ of", host.text(), re.MULTILINE))


def resumed_step(host: HostProcess) -> int:
    """The step of the snapshot from which the host of rank 0 went on; 0 if it began the run, or was killed before."""
    found = re.search(r"the newest intact snapshot is of step (\d+)$", host.text(), re.MULTILINE)
    return 0 if found is None else int(found[1])


def first_step_of(host: HostProcess) -> int | None:
    """The first step that a process has shown."""
    found = re.search(r"^step (\d+) of", host.text(), re.MULTILINE)
    return None if found is None else int(found[1])


def check_start(host: HostProcess) -> int:
    """Checks that no step was taken again that a snapshot has; returns the step of that snapshot, 0 without one."""
    step, first = resumed_step(host), first_step_of(host)
    assert first in (None, step + 1), host.text()
    return step


def test_hosts_killed_at_random_moments_end_with_the_weights_of_untouched_ones(tmp_path):
    toy, rng = str(tmp_path / "toy"), np.random.default_rng(5)
    write_dataset(toy, train=6, val=2, test=1, height=48, width=96)
    changes = {"snapshot": 2, "auto_resume": 1, "host_timeout": 10, "lrn_rate": 0.01, "check_hosts": 5}
    with HostProcesses() as processes:
        began = time.monotonic()
        untouched = start_both(processes, flags_of(toy, tmp_path / "untouched", LAST_STEP, **changes), tmp_path / "log")
        untouched[0].wait_until(lambda: steps_taken(tmp_path / "untouched") >= 1)
        start_up = time.monotonic() - began
        assert [host.exit_code(600) for host in untouched] == [0, 0], [host.text() for host in untouched]
        flags = flags_of(toy, tmp_path / "killed", LAST_STEP, **changes)
        resumed = []
        for number in range(KILLS):
            hosts = start_both(processes, flags, tmp_path / f"killed{number}")
            # Every other one at any moment of the start, the others after some steps.
            until = time.monotonic() + float(rng.uniform(0, start_up)) if number % 2 else math.inf
            steps = int(rng.integers(1, 6))
            while time.monotonic() < until and steps_of(hosts[0]) < steps:
                time.sleep(0.05)
            victim = int(rng.integers(2))
            hosts[victim].send(signal.SIGKILL)
            assert hosts[victim].exit_code() == -signal.SIGKILL
            # At its start, the other one waits ten times --host_timeout for the first.
            assert hosts[1 - victim].exit_code(400) == EXIT_STOPPED, hosts[1 - victim].text()
            resumed.append(check_start(hosts[0]))
        hosts = start_both(processes, flags, tmp_path / "last")
        assert [host.exit_code(600) for host in hosts] == [0, 0], [host.text() for host in hosts]
    assert 0 < check_start(hosts[0]) < LAST_STEP
    assert sum(step > 0 for step in resumed) >= KILLS // 3, resumed  # those that came to their steps
    expected, found = (tensors_in(run_of(tmp_path / name).snapshot(LAST_STEP)) for name in ("untouched", "killed"))
    assert found.keys() == expected.keys()
    assert [name for name, value in found.items() if value.tobytes() != expected[name].tobytes()] == []
