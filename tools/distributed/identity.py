"""Finds out which host of which run a gRPC server is, without TensorFlow.

Hosts with different `--hosts` or with the wrong `--host_rank` never finish a collective, so the difference is found by
a request to each server: TensorFlow's `WorkerService/GetStatus` returns the names of its devices, such as
`/job:hosts2_6f1c2a30_9be01d77/replica:0/task:1/device:CPU:0`. The job is named after the addresses, the task is the
rank. gRPC over HTTP/2 is described in
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, the frames in RFC 9113, section 6.
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, NamedTuple

from tools.distributed.probing import PREFACE, connected
from tools.runtime.hosts import Hosts

_HEADERS = {
    ":method": "POST",
    ":scheme": "http",
    ":path": "/tensorflow.WorkerService/GetStatus",
    ":authority": "host",
    "te": "trailers",
    "content-type": "application/grpc",
}
_DATA_FRAME, _HEADERS_FRAME = 0, 1
_END_STREAM, _END_HEADERS = 1, 4
_STREAM = 1
_EMPTY_MESSAGE = bytes(5)  # not compressed, of length 0
_FRAME_HEADER = 9
_LONGEST_ANSWER = 1 << 20
_TASK = re.compile(rb"/job:(\w+)/replica:\d+/task:(\d+)/", re.ASCII)
_JOB = re.compile(r"hosts(\d+)_[0-9a-f]{8}_([0-9a-f]{8})", re.ASCII)


class Task(NamedTuple):
    """What a server says it is: the name of its job, and its rank."""

    job: str
    rank: int


def job_name(addresses: Sequence[str]) -> str:
    """Returns the name of a run's job: number of addresses, checksum of the list, and checksum of the sorted list."""
    return f"hosts{len(addresses)}_{_checksum(addresses)}_{_checksum(sorted(addresses))}"


def _checksum(addresses: Sequence[str]) -> str:
    return f"{zlib.crc32(','.join(addresses).encode()):08x}"


def tasks_of_servers(hosts: Hosts, ranks: Sequence[int], seconds: float) -> Mapping[int, Task | None]:
    """Asks several servers at the same time; see `task_of_server`."""
    if not ranks:
        return {}
    with ThreadPoolExecutor(len(ranks)) as pool:
        found = pool.map(lambda rank: task_of_server(hosts.addresses[rank], seconds), ranks)
        return dict(zip(ranks, found, strict=True))


def task_of_server(address: str, seconds: float) -> Task | None:
    """Asks a server for its job and rank.

    Args:
        address: `host:port`; an IPv6 address is in brackets.
        seconds: to wait for an answer.

    Returns:
        What it says; None if it does not answer within the time, or is no server of TensorFlow.
    """
    until = time.monotonic() + seconds
    try:
        with connected(address, seconds) as connection:
            connection.sendall(PREFACE + _request())
            with connection.makefile("rb") as stream:
                return _task_in(_message(stream, until))
    except OSError:
        return None


def difference(hosts: Hosts, rank: int, found: Task) -> str | None:
    """Describes how a process differs from what this one expects at an address; None if it is the expected host.

    Args:
        hosts: of this process.
        rank: whose address the process has.
        found: what it says.
    """
    if found.job == job_name(hosts.addresses):
        if found.rank == rank:
            return None
        return (
            f"the process at {hosts.addresses[rank]} has --host_rank {found.rank}, expected {rank} (this process is "
            f"{hosts.named(hosts.rank)}): give each process the --host_rank of its own address in --hosts"
        )
    other = _JOB.fullmatch(found.job)
    if other is None:
        return f"{hosts.named(rank)} is a server of another program: end it, or give another port in --hosts"
    if other[2] == _checksum(sorted(hosts.addresses)):
        lists = "the same addresses in another order than this process"
    elif int(other[1]) == hosts.count:
        lists = f"{other[1]} addresses, not all of which are those of this process"
    else:
        lists = f"{other[1]} addresses, and this process {hosts.count}"
    return (
        f"{hosts.named(rank)} has other --hosts than {hosts.named(hosts.rank)}: {lists} "
        f"({_shortened(hosts.addresses)}): start all hosts with the same --hosts, or end the other run"
    )


def _shortened(addresses: Sequence[str]) -> str:
    return ",".join(addresses if len(addresses) <= 4 else [*addresses[:3], "..."])


def _request() -> bytes:
    # Header fields without compression, RFC 7541, section 6.2.2.
    fields = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
    block = b"".join(b"\0%c%b%c%b" % (len(name), name, len(value), value) for name, value in fields)
    return _frame(_HEADERS_FRAME, _END_HEADERS, block) + _frame(_DATA_FRAME, _END_STREAM, _EMPTY_MESSAGE)


def _frame(kind: int, flags: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + _STREAM.to_bytes(4, "big") + payload


def _message(stream: BinaryIO, until: float) -> bytes:
    """Returns the data of the answer; empty if the answer is an error."""
    data = b""
    while len(data) < _LONGEST_ANSWER and time.monotonic() < until:
        header = stream.read(_FRAME_HEADER)
        if len(header) < _FRAME_HEADER:
            break
        length, kind, flags = int.from_bytes(header[:3], "big"), header[3], header[4]
        payload = stream.read(min(length, _LONGEST_ANSWER))
        if int.from_bytes(header[5:], "big") != _STREAM:  # settings and pings of the connection
            continue
        if kind == _DATA_FRAME:
            data += payload
        elif kind != _HEADERS_FRAME:
            break
        if flags & _END_STREAM:
            break
    return data


def _task_in(answer: bytes) -> Task | None:
    found = _TASK.search(answer)
    return None if found is None else Task(found[1].decode(), int(found[2][:9]))
