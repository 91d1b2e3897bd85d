"""Servers of the hosts: who they are, and how they are reached."""

from __future__ import annotations

import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.tools.distributed.teams import new_teams, on_team
from tools.distributed import server
from tools.distributed.identity import Task, difference, job_name, task_of_server
from tools.distributed.server import start_server, wait_for_servers
from tools.errors import HostsError
from tools.runtime.hosts import Hosts
from tools.runtime.ports import free_addresses

CPU = ["/device:CPU:0"]
HOSTS = Hosts(("a:1", "b:1", "c:1"), 0)


def test_a_server_says_which_host_of_which_run_it_is():
    addresses = on_team(2, lambda team: team.hosts.addresses)[0]
    assert [task_of_server(address, 20.0) for address in addresses] == [Task(job_name(addresses), n) for n in (0, 1)]


def test_other_programs_and_closed_ports_say_nothing():
    [closed] = free_addresses(1)
    assert task_of_server(closed, 5.0) is None


@pytest.mark.parametrize(
    ("addresses", "rank", "words"),
    [
        (("a:1", "b:1", "c:1"), 1, None),
        (("a:1", "b:1", "c:1"), 2, r"at b:1 has --host_rank 2, expected 1 \(this process is host 0 \(a:1\)\)"),
        (("b:1", "a:1", "c:1"), 1, "the same addresses in another order than this process"),
        (("a:1", "b:1", "d:1"), 1, "3 addresses, not all of which are those of this process"),
        (("a:1", "b:1"), 1, "2 addresses, and this process 3"),
    ],
)
def test_what_differs_is_named(addresses, rank, words):
    found = difference(HOSTS, 1, Task(job_name(addresses), rank))
    if words is None:
        assert found is None
    else:
        with pytest.raises(HostsError, match=words):
            raise HostsError(found)


def test_a_server_of_another_program_is_named():
    assert "host 1 (b:1) is a server of another program" in str(difference(HOSTS, 1, Task("worker", 1)))


@pytest.mark.parametrize(
    ("places", "words"),
    [
        # Address and rank of each process, by the numbers of two free ports.
        ([((0, 1), 0), ((1, 0), 0)], "the same addresses in another order"),
        ([((0, 1), 0), ((0, 1, 2), 1)], "2 addresses, and this process 3|3 addresses, and this process 2"),
    ],
)
def test_hosts_of_different_lists_are_rejected_by_all(places, words, monkeypatch):
    monkeypatch.setattr(server, "_SECONDS_TO_CONFIRM", 0.6)
    monkeypatch.setattr(server, "_SECONDS_TO_BE_FOUND", 2.0)
    free = free_addresses(3)
    every = [Hosts(tuple(free[n] for n in numbers), rank) for numbers, rank in places]

    def start(hosts: Hosts) -> None:
        start_server(hosts, CPU)
        wait_for_servers(hosts, 60.0)

    with ThreadPoolExecutor(2) as pool:
        for error in [started.exception() for started in [pool.submit(start, hosts) for hosts in every]]:
            assert isinstance(error, HostsError)
            assert re.search(words, str(error))


def test_a_rank_that_is_given_twice_is_rejected_by_the_process_itself(monkeypatch):
    """On two machines with one port, which are two addresses of one machine here."""
    monkeypatch.setattr(server, "_SECONDS_TO_CONFIRM", 0.0)
    monkeypatch.setattr(server, "_SECONDS_TO_BE_FOUND", 0.0)
    [address] = free_addresses(1)
    port = address.rpartition(":")[2]
    hosts = Hosts((f"127.0.0.1:{port}", f"127.0.0.2:{port}"), 0)
    start_server(hosts, CPU)
    with pytest.raises(HostsError, match=r"at 127.0.0.2:\d+ has --host_rank 0, expected 1 \(this process is host 0"):
        wait_for_servers(hosts, 60.0)


def test_the_open_port_is_a_warning(caplog):
    """So --quiet 1 shows it."""
    addresses = tuple(free_addresses(2))
    start_server(Hosts(addresses, 0), CPU)
    port = addresses[0].rpartition(":")[2]
    [record] = [record for record in caplog.records if f"listens on port {port} of every" in record.getMessage()]
    assert record.levelname == "WARNING"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "localhost,a,fd00::1"),
        ({"no_proxy": "x,.y"}, "x,.y,localhost,a,fd00::1"),
        ({"no_proxy": "x", "no_grpc_proxy": "z"}, "z,localhost,a,fd00::1"),
    ],
)
def test_hosts_are_reached_without_a_proxy(variables, expected):
    environment = dict(variables)
    server._bypass_proxies(Hosts(("a:1", "[fd00::1]:1", "a:2"), 0), environment)
    assert environment == {**variables, "no_grpc_proxy": expected}


def test_messages_do_not_go_through_a_proxy_of_the_environment(monkeypatch):
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    teams, received = new_teams(2), []
    threads = [
        threading.Thread(target=lambda team=team: received.append(team.gather("test", b"x")), daemon=True)
        for team in teams
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)
    os.environ.pop("no_grpc_proxy")
    assert received == [[b"x"] * 2] * 2
