"""Asks the gRPC server of a host whether its process still answers, without TensorFlow.

An open port alone says little: the kernel accepts connections for a process that is stopped. A gRPC server begins every
connection with a SETTINGS frame of HTTP/2 (RFC 9113, section 3.4), which only a running process sends.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from tools.runtime.hosts import Hosts

_EMPTY_SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_ENDED = "has ended: its port is closed"
_KIND = slice(3, 4)  # of a frame, after its length
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _EMPTY_SETTINGS


def fault_of_server(address: str, seconds: float) -> str | None:
    """Describes why a gRPC server does not answer; None if it does.

    Args:
        address: `host:port`; an IPv6 address is in brackets.
        seconds: to wait for an answer.
    """
    host, _, port = address.rpartition(":")
    until = time.monotonic() + seconds
    try:
        connection = socket.create_connection((host.strip("[]"), int(port)), timeout=seconds)
    except ConnectionError:
        return _ENDED
    except OSError as error:
        return f"cannot be reached ({error.strerror or error})"
    with connection:
        try:
            connection.sendall(_PREFACE)
            connection.settimeout(max(0.1, until - time.monotonic()))
            answer = connection.recv(len(_EMPTY_SETTINGS))
            if not answer:
                return _ENDED
            return None if answer[_KIND] == _EMPTY_SETTINGS[_KIND] else "has a port of another program"
        except TimeoutError:
            return "does not answer: it is stopped, or its machine is"
        except ConnectionError:
            return _ENDED
        except OSError as error:
            return f"cannot be reached ({error.strerror or error})"


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
