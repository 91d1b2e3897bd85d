"""The messages of several hosts, as the part `hosts` of the benchmark counts them."""

from __future__ import annotations

import socket

import pytest
import tensorflow.compat.v1 as tf

from model.host_group import HostGroup
from tools.benchmark.host_step import sent_so_far
from tools.benchmark.hosts import SECONDS_PER_HOP, Traffic, traffic_of

TRAFFIC = Traffic(gathers=10, reduces=2, gathered=1000, reduced=80_000)


def test_collectives_of_a_graph_are_counted():
    with tf.Graph().as_default() as graph:
        group = HostGroup(0, 4)
        group.gather(tf.zeros([3, 2]), "first")
        group.gather(tf.zeros([1, 2], tf.int64), "second")
        group.sums([tf.zeros([100]), tf.zeros([5])], "sums")
    assert traffic_of(graph) == Traffic(2, 1, 24 + 16, 420)


def test_what_a_ring_sends():
    """A gathered number goes to each other host, and a sum twice around the ring in parts."""
    assert TRAFFIC.sent(2) == 1000 + 80_000
    assert TRAFFIC.sent(4) == 3 * 1000 + 2 * 3 / 4 * 80_000
    assert TRAFFIC.messages(4) == 3 * (10 + 2 * 2)


def test_time_by_the_model():
    latency, others = TRAFFIC.seconds(3, gigabits=10)
    assert latency == pytest.approx(2 * 10 * SECONDS_PER_HOP)
    assert others == pytest.approx(4 * SECONDS_PER_HOP + 8 * TRAFFIC.sent(3) / 1e10)
    assert TRAFFIC.seconds(3, gigabits=100)[0] == latency


def test_bytes_and_segments_that_connections_have_sent_are_counted():
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as client,
        listening.accept()[0] as server,
    ):
        before = sent_so_far()
        client.sendall(b"x" * 5000)
        received = 0
        while received < 5000:
            received += len(server.recv(5000))
        server.sendall(b"y" * 70)
        assert client.recv(70)
        after = sent_so_far()
    assert after.bytes - before.bytes == pytest.approx(5070, abs=70)  # the last answer may not be acknowledged yet
    assert after.segments - before.segments == 2
