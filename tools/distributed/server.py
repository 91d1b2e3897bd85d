"""Starts TensorFlow's server of this host, and waits for the servers of the other hosts."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Sequence

import tensorflow.compat.v1 as tf

from tools.distributed.probing import silent_hosts
from tools.distributed.watch import LostHostError
from tools.errors import HostsError
from tools.runtime.devices import SessionServer, session_config
from tools.runtime.hosts import Hosts
from tools.runtime.session_errors import reason

logger = logging.getLogger(__name__)

_JOB = "worker"
_SECONDS_BETWEEN_LINES = 30.0
_SECONDS_BETWEEN_PROBES = 0.5


def start_server(hosts: Hosts, devices: Sequence[str]) -> SessionServer:
    """Starts the server of this host, which runs until the process ends.

    Args:
        hosts: of the run.
        devices: of the towers of this host, from `devices.tower_devices`.

    Raises:
        HostsError: the port is in use, or the server cannot be started.
    """
    _require_free_port(hosts)
    config = session_config(list(devices))
    config.experimental.collective_group_leader = f"/job:{_JOB}/replica:0/task:0"
    # A session sees the devices of its own host only, and starts also if another host does not.
    config.device_filters.append(f"/job:{_JOB}/task:{hosts.rank}")
    try:
        server = tf.distribute.Server(
            {_JOB: list(hosts.addresses)}, job_name=_JOB, task_index=hosts.rank, config=config, protocol="grpc"
        )
    except tf.errors.OpError as error:
        raise HostsError(f"{hosts.named(hosts.rank)}: the server cannot be started ({reason(error)})") from error
    logger.info(
        "%s of %d listens on port %s of every network interface, without encryption or password: use a private network",
        hosts.named(hosts.rank),
        hosts.count,
        _port(hosts.address),
    )
    return SessionServer(server, config)


def wait_for_servers(hosts: Hosts, seconds: float) -> None:
    """Waits until the servers of all hosts answer.

    Raises:
        LostHostError: one does not within the time.
    """
    began = logged = time.monotonic()
    missing = {rank: "" for rank in range(hosts.count) if rank != hosts.rank}
    while missing := silent_hosts(hosts, missing, min(3.0, seconds)):
        now = time.monotonic()
        names = ", ".join(map(hosts.named, missing))
        if now - began >= seconds:
            raise LostHostError(
                f"{names}: no answer within {seconds:.0f} s: start one process for each address of --hosts, and open "
                "their ports between the hosts"
            )
        if now - logged >= _SECONDS_BETWEEN_LINES:
            logger.info("waiting for %s", names)
            logged = now
        time.sleep(_SECONDS_BETWEEN_PROBES)


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
