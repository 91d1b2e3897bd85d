"""Two hosts in network namespaces, whose link is cut without a sign."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from database.synthetic import write_dataset
from tests.tools.host_processes import HostProcesses
from tests.tools.training.test_host_runs import ENDLESS, flags_of, steps_taken
from tools.console import EXIT_STOPPED

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

_TIMEOUT = 10


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def namespaces() -> Iterator[tuple[str, str]]:
    """Two namespaces with the addresses 10.203.0.1 and 10.203.0.2 on a link of their own."""
    names = (f"hosts{os.getpid()}a", f"hosts{os.getpid()}b")
    if shutil.which("ip") is None:
        pytest.skip("needs the program ip")
    try:
        _ip("netns", "add", names[0])
    except subprocess.CalledProcessError as error:
        pytest.skip(f"may not create network namespaces: {error.stderr.decode().strip()}")
    try:
        _ip("netns", "add", names[1])
        _ip("-n", names[0], "link", "add", "link0", "type", "veth", "peer", "name", "link0", "netns", names[1])
        for number, name in enumerate(names, start=1):
            _ip("-n", name, "address", "add", f"10.203.0.{number}/24", "dev", "link0")
            for device in ("lo", "link0"):
                _ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def test_a_link_that_is_cut_in_a_step_is_noticed_by_both(namespaces, tmp_path):
    toy = str(tmp_path / "toy")
    write_dataset(toy, train=6, val=2, test=1, height=48, width=96)
    flags = [*flags_of(toy, tmp_path, ENDLESS, host_timeout=_TIMEOUT), "--hosts=10.203.0.1:2222,10.203.0.2:2222"]
    with HostProcesses() as processes:
        hosts = [
            processes.start([*flags, f"--host_rank={rank}"], str(tmp_path / f"log-{rank}.txt"), namespace=name)
            for rank, name in enumerate(namespaces)
        ]
        hosts[0].wait_until(lambda: steps_taken(tmp_path) >= 2)
        began = time.monotonic()
        _ip("-n", namespaces[1], "link", "set", "link0", "down")
        assert [host.exit_code() for host in hosts] == [EXIT_STOPPED] * 2, [host.text() for host in hosts]
        assert time.monotonic() - began < 2 * _TIMEOUT + 10
    for rank, host in enumerate(hosts):
        assert f"host {1 - rank} (10.203.0.{2 - rank}:2222) cannot be reached" in host.text()
    assert not Path(tmp_path / "log" / "Toy" / "hosts" / "lock").exists()
