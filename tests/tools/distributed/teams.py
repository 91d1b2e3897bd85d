"""Teams of hosts in one process: a server and a thread for each."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from tools.distributed.server import start_server
from tools.distributed.team import Team
from tools.distributed.watch import HostWatch
from tools.runtime.hosts import Hosts
from tools.runtime.ports import free_addresses

Result = TypeVar("Result")


@cache
def _teams(count: int) -> list[Team]:
    return new_teams(count)


def new_teams(count: int) -> list[Team]:
    """Starts a server for each host of a new team."""
    addresses = tuple(free_addresses(count))
    found = []
    for rank in range(count):
        hosts = Hosts(addresses, rank)
        found.append(Team(hosts, start_server(hosts, ["/device:CPU:0"]), HostWatch(hosts, 600.0), 600.0))
    return found


def on_team(count: int, function: Callable[[Team], Result]) -> list[Result | BaseException]:
    """Calls a function on each host at the same time; returns what it returned or raised, by rank."""

    def call(team: Team) -> Result | BaseException:
        try:
            return function(team)
        except BaseException as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, _teams(count)))
