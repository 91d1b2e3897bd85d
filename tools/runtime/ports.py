"""Finds free ports of this machine for the servers of a run."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

from tools.errors import HostsError

_ADDRESS = "127.0.0.1"
_LOWEST = 15000
# Where outgoing connections get their ports, by default from 32768 on: one of them could take a port between the search
# and the start of the server.
_OUTGOING = "/proc/sys/net/ipv4/ip_local_port_range"
_FIRST_OUTGOING = 32768
_MOST_TRIES = 10000


def free_addresses(count: int) -> list[str]:
    """Finds ports that are free on all interfaces, and returns their addresses on this machine.

    The ports are bound while the others are searched, and released on return, because the server of a process cannot
    take over a bound port. They are drawn at random below those of outgoing connections.

    Raises:
        HostsError: too few ports are free.
    """
    candidates = range(_LOWEST, max(_first_outgoing(), _LOWEST + 1000))
    ports: list[int] = []
    with ExitStack() as held:
        for port in random.sample(candidates, min(len(candidates), _MOST_TRIES)):
            if len(ports) == count:
                break
            holder = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            try:
                holder.bind(("", port))  # TensorFlow's server listens on all interfaces
            except OSError:
                continue
            ports.append(port)
    if len(ports) < count:
        raise HostsError(f"{len(ports)} of {count} ports are free from {candidates[0]} to {candidates[-1]}")
    return [f"{_ADDRESS}:{port}" for port in ports]


def _first_outgoing() -> int:
    try:
        with open(_OUTGOING, encoding="ascii") as file:
            return int(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return _FIRST_OUTGOING
