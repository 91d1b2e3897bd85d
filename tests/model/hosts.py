"""Several hosts in one process: a server of TensorFlow and a thread for each."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import tensorflow.compat.v1 as tf

from model.host_group import HostGroup

NUM_DEVICES = 2
TIMEOUT_SECONDS = 0.0  # never: one host waits while the other builds its graph

Result = TypeVar("Result")

# Servers cannot be stopped and remember the shapes of collectives, so each run gets a group of its own.
_group_keys = itertools.count(100)

_BUILDING = threading.Lock()


@dataclass(frozen=True)
class Host:
    """One of several hosts.

    Attributes:
        group: of the host, for `train_graph`.
        target: address for its sessions.
        config: of the sessions.
        building: to be held while a network is built, because the argument scopes of tf-slim are those of the process.
    """

    group: HostGroup
    target: str
    config: tf.ConfigProto
    building: threading.Lock = _BUILDING

    def open_session(self) -> tf.Session:
        """Opens a session on the default graph."""
        return tf.Session(self.target, config=self.config)


def free_ports(count: int) -> list[int]:
    """Finds ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@cache
def _servers(count: int) -> list[tuple[tf.distribute.Server, tf.ConfigProto]]:
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    servers = []
    for rank in range(count):
        config = tf.ConfigProto(device_count={"CPU": NUM_DEVICES, "GPU": 0}, allow_soft_placement=False)
        config.experimental.collective_group_leader = "/job:worker/replica:0/task:0"
        config.device_filters.append(f"/job:worker/task:{rank}")
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        server = tf.distribute.Server({"worker": addresses}, "worker", rank, config=config)
        servers.append((server, config))
    return servers


def on_hosts(count: int, function: Callable[[Host], Result], bucket_bytes: int = 4 << 20) -> list[Result]:
    """Calls a function once per host at the same time, each with a default graph of its own.

    Args:
        count: number of hosts.
        function: builds a graph and runs it in sessions of its host.
        bucket_bytes: see `HostGroup`.

    Returns:
        What each host returned, by rank.
    """
    key = next(_group_keys)

    def call(rank: int) -> Result:
        server, config = _servers(count)[rank]
        group = HostGroup(rank, count, TIMEOUT_SECONDS, bucket_bytes, key)
        with tf.Graph().as_default():
            return function(Host(group, server.target, config))

    _servers(count)
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))
