"""Starts TensorFlow's server of this host, and waits for the servers of the other hosts."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import MutableMapping, Sequence

import tensorflow.compat.v1 as tf

from tools.distributed.identity import difference, job_name, tasks_of_servers
from tools.distributed.probing import silent_hosts
from tools.distributed.watch import LostHostError
from tools.errors import HostsError
from tools.runtime.devices import SessionServer, session_config
from tools.runtime.hosts import Hosts
from tools.runtime.session_errors import reason

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 30.0
_SECONDS_BETWEEN_PROBES = 0.5
_LONGEST_PROBE = 3.0
# A process of an earlier run may be about to end.
_SECONDS_TO_CONFIRM = 2.0
# Time for the other hosts to find the same difference.
_SECONDS_TO_BE_FOUND = 5.0


def start_server(hosts: Hosts, devices: Sequence[str]) -> SessionServer:
    """Starts the server of this host, which runs until the process ends.

    Args:
        hosts: of the run.
        devices: of the towers of this host, from `devices.tower_devices`.

    Raises:
        HostsError: the port is in use, or the server cannot be started.
    """
    _require_free_port(hosts)
    _bypass_proxies(hosts, os.environ)
    job = job_name(hosts.addresses)
    config = session_config(list(devices))
    config.experimental.collective_group_leader = f"/job:{job}/replica:0/task:0"
    # A session sees the devices of its own host only, and starts also if another host does not.
    config.device_filters.append(f"/job:{job}/task:{hosts.rank}")
    try:
        server = tf.distribute.Server(
            {job: list(hosts.addresses)}, job_name=job, task_index=hosts.rank, config=config, protocol="grpc"
        )
    except tf.errors.OpError as error:
        raise HostsError(f"{hosts.named(hosts.rank)}: the server cannot be started ({reason(error)})") from error
    logger.warning(
        "%s of %d listens on port %s of every network interface, without encryption or password: use a private network",
        hosts.named(hosts.rank),
        hosts.count,
        _port(hosts.address),
    )
    return SessionServer(server, config)


def wait_for_servers(hosts: Hosts, seconds: float) -> None:
    """Waits until the servers of all hosts answer, and checks that each is the expected host of the same run.

    Raises:
        HostsError: a process was started with other `--hosts`, or with the `--host_rank` of another host.
        LostHostError: a host does not answer within the time.
    """
    began = logged = time.monotonic()
    missing = [rank for rank in range(hosts.count) if rank != hosts.rank]
    differing_since: float | None = None
    while True:
        missing, differences = _still_missing(hosts, missing, min(_LONGEST_PROBE, seconds))
        if not missing:
            return
        now = time.monotonic()
        differing_since = (differing_since or now) if differences else None
        if differing_since is not None and now - differing_since >= _SECONDS_TO_CONFIRM:
            time.sleep(_SECONDS_TO_BE_FOUND)
            raise HostsError(differences[0])
        names = ", ".join(map(hosts.named, missing))
        if differing_since is None and now - began >= seconds:
            raise LostHostError(
                f"{names}: no answer within {seconds:.0f} s: start one process for each address of --hosts, and open "
                "their ports between the hosts"
            )
        if now - logged >= _SECONDS_BETWEEN_LINES:
            logger.info(
                "waiting for %s since %.0f s, at most %.0f s: started there, with the same --hosts, and its port open?",
                names,
                now - began,
                seconds,
            )
            logged = now
        time.sleep(_SECONDS_BETWEEN_PROBES)


def _still_missing(hosts: Hosts, ranks: Sequence[int], seconds: float) -> tuple[list[int], list[str]]:
    """Returns the ranks of those hosts that do not answer as expected, and how the processes that answer differ."""
    silent = silent_hosts(hosts, ranks, seconds)
    tasks = tasks_of_servers(hosts, [rank for rank in ranks if rank not in silent], seconds)
    faults = {rank: difference(hosts, rank, task) for rank, task in tasks.items() if task is not None}
    missing = [rank for rank in ranks if tasks.get(rank) is None or faults[rank] is not None]
    return missing, [fault for fault in faults.values() if fault is not None]


def _bypass_proxies(hosts: Hosts, environment: MutableMapping[str, str]) -> None:
    """Excludes the hosts from the proxies of the environment, through which gRPC would connect otherwise.

    gRPC reads `no_grpc_proxy`, or `no_proxy` if that is not set.
    """
    names = [address.rpartition(":")[0].strip("[]") for address in hosts.addresses]
    present = environment.get("no_grpc_proxy", environment.get("no_proxy", ""))
    environment["no_grpc_proxy"] = ",".join(dict.fromkeys([*filter(None, [present]), "localhost", *names]))


def _require_free_port(hosts: Hosts) -> None:
    """Checks that no other process listens on the port of this host, for a message that names the address."""
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ports of ended connections are free
        try:
            probe.bind(("", _port(hosts.address)))
        except OSError as error:
            raise HostsError(
                f"{hosts.named(hosts.rank)}: the port cannot be used on this machine ({error.strerror}): end the other "
                "run, or give another port in --hosts; or the --host_rank of this machine"
            ) from error


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
