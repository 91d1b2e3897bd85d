"""Asks the gRPC server of a host whether its process still answers, without TensorFlow.

An open port alone says little: the kernel accepts connections for a process that is stopped. A gRPC server begins every
connection with a SETTINGS frame of HTTP/2 (RFC 9113, section 3.4), which only a running process sends.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tools.runtime.hosts import Hosts

_EMPTY_SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_KIND = slice(3, 4)  # of a frame, after its length
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _EMPTY_SETTINGS

_CANNOT_BE_REACHED = "cannot be reached"
_ENDED = "has ended: its port is closed"
_ANOTHER_PROGRAM = "has a port of another program"
_SILENT = "does not answer: its process or its machine is stopped, or its network is cut"
# If a name has several addresses, the fault of the one that got furthest is reported.
_BY_PROGRESS = (_CANNOT_BE_REACHED, _ENDED, _ANOTHER_PROGRAM, _SILENT)

_SHARE_TO_CONNECT = 0.6  # of the time; the rest is for the answer


def fault_of_server(address: str, seconds: float) -> str | None:
    """Describes why a gRPC server does not answer; None if it does.

    Args:
        address: `host:port`; an IPv6 address is in brackets. If a name has several addresses, one has to answer.
        seconds: to wait for an answer.
    """
    try:
        places = _places(address)
    except OSError as error:
        return _unreachable(error)
    faults = []
    for place, share in _in_turn(places, seconds):
        fault = _fault_of_place(place, share)
        if fault is None:
            return None
        faults.append(fault)
    return max(faults, key=lambda fault: next(n for n, start in enumerate(_BY_PROGRESS) if fault.startswith(start)))


def connected(address: str, seconds: float) -> socket.socket:
    """Returns a connection to the first address of a name that accepts one.

    Raises:
        OSError: none does within the time, which they share.
    """
    failed: OSError | None = None
    for place, share in _in_turn(_places(address), seconds):
        try:
            return _connection(place, share)
        except OSError as error:
            failed = error
    assert failed is not None, "a name has at least one address"
    raise failed


def _in_turn(places: Sequence[tuple[Any, ...]], seconds: float) -> Iterator[tuple[tuple[Any, ...], float]]:
    """Yields each place with its share of the time that is left when its turn comes, in seconds."""
    until = time.monotonic() + seconds
    for number, place in enumerate(places):
        yield place, max(0.1, until - time.monotonic()) / (len(places) - number)


def _places(address: str) -> Sequence[tuple[Any, ...]]:
    """Returns family, type, protocol, name and address of each address of a name."""
    host, _, port = address.rpartition(":")
    return socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)


def _connection(place: tuple[Any, ...], seconds: float) -> socket.socket:
    family, kind, protocol, _, address = place
    connection = socket.socket(family, kind, protocol)
    try:
        connection.settimeout(seconds)
        connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def _fault_of_place(place: tuple[Any, ...], seconds: float) -> str | None:
    until = time.monotonic() + seconds
    try:
        connection = _connection(place, _SHARE_TO_CONNECT * seconds)
    except ConnectionError:
        return _ENDED
    except OSError as error:
        return _unreachable(error)
    with connection:
        try:
            connection.settimeout(max(0.1, until - time.monotonic()))
            connection.sendall(PREFACE)
            answer = connection.recv(len(_EMPTY_SETTINGS))
            if not answer:
                return _ENDED
            return None if answer[_KIND] == _EMPTY_SETTINGS[_KIND] else _ANOTHER_PROGRAM
        except TimeoutError:
            return _SILENT
        except ConnectionError:
            return _ENDED
        except OSError as error:
            return _unreachable(error)


def _unreachable(error: OSError) -> str:
    return f"{_CANNOT_BE_REACHED} ({error.strerror or error})"


def silent_hosts(hosts: Hosts, ranks: Iterable[int], seconds: float) -> dict[int, str]:
    """Asks several hosts at the same time.

    Args:
        hosts: all of them.
        ranks: of those to ask.
        seconds: to wait for an answer.

    Returns:
        The fault of each host that does not answer, by rank.
    """
    asked = list(ranks)
    if not asked:
        return {}
    with ThreadPoolExecutor(len(asked)) as pool:
        faults = pool.map(lambda rank: fault_of_server(hosts.addresses[rank], seconds), asked)
        return {rank: fault for rank, fault in zip(asked, faults, strict=True) if fault is not None}
