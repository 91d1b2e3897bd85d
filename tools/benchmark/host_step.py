"""Measures training steps in one of several processes, which `tools.benchmark.hosts` starts.

Its argument is a JSON text: `{"plan": ..., "addresses": [...], "rank": 0, ...}`.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

# Offsets in the kernel's `struct tcp_info` of what was sent without headers and repetitions: bytes, and segments.
_BYTES_ACKED = 120
_DATA_SEGMENTS_OUT = 156
_TCP_INFO_SIZE = 232


class Sent(NamedTuple):
    """What was sent over TCP: bytes, and the segments that carried them, of up to 64 KB on the loopback interface."""

    bytes: int
    segments: int


def sent_so_far() -> Sent:
    """Counts what the open TCP connections of this process have sent, as the kernel counts it."""
    total, segments = 0, 0
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if not os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(descriptor))) as connection:
                if connection.family in (socket.AF_INET, socket.AF_INET6):
                    information = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
                    total += struct.unpack_from("=Q", information, _BYTES_ACKED)[0]
                    segments += struct.unpack_from("=I", information, _DATA_SEGMENTS_OUT)[0]
    return Sent(total, segments)


def main(task: dict[str, Any]) -> dict[str, float]:
    """Runs the steps of a task and returns what was measured."""
    os.sched_setaffinity(0, task["cores"])
    from tools.console import import_tensorflow, set_quiet, set_up_logging

    set_up_logging()
    set_quiet(True)
    import_tensorflow()
    import tensorflow.compat.v1 as tf

    from model.architecture import Architecture
    from model.training_graph import train_graph
    from model.training_options import TrainingOptions
    from tools.benchmark.hosts import traffic_of
    from tools.benchmark.steps import LEARNING_RATE, StepPlan, random_batch
    from tools.distributed.team import ALONE, Hosted, start_team
    from tools.runtime.devices import open_session, tower_devices
    from tools.runtime.hosts import Hosts

    values = task["plan"]
    values |= {"architecture": Architecture(**values["architecture"]), "options": TrainingOptions()}
    plan = StepPlan(**{**values, "crop_size": tuple(values["crop_size"])})
    devices = tower_devices(plan.num_towers, "cpu")
    addresses = tuple(task["addresses"])
    team: Hosted = start_team(Hosts(addresses, task["rank"]), devices, 600.0) if addresses else ALONE
    with tf.Graph().as_default() as graph:
        images, labels = random_batch(plan, devices)
        with tf.device(devices[0]):
            built = train_graph(images, labels, plan.architecture, plan.options, hosts=team.group)
        initializer = tf.global_variables_initializer()
    traffic = traffic_of(graph)
    with open_session(graph, devices, server=team.server) as session:
        session.run(initializer)

        def step(**options: Any) -> None:
            session.run([built.train_op, built.total_loss], {built.learning_rate: LEARNING_RATE}, **options)

        seconds = [_timed(step) for _ in range(task["warm_up"] + task["repeats"])][task["warm_up"] :]
        before = sent_so_far()
        step()
        team.gather("the end of a step")
        after = sent_so_far()
        metadata = tf.RunMetadata()
        step(options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE), run_metadata=metadata)
        team.gather("the end of the steps")
    return {
        "seconds": statistics.median(seconds),
        "sent": after.bytes - before.bytes,
        "segments": after.segments - before.segments,
        "counted": traffic.sent(team.count),
        "messages": traffic.messages(team.count),
        "collectives": _seconds_in_collectives(metadata),
    }


def _timed(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _seconds_in_collectives(metadata: Any) -> float:
    """Returns how long at least one collective was open, from a trace of a step."""
    spans = sorted(
        (node.all_start_micros, node.all_start_micros + node.all_end_rel_micros)
        for device in metadata.step_stats.dev_stats
        for node in device.node_stats
        if "CollectiveGatherV2" in node.node_name or "CollectiveReduceV2" in node.node_name
    )
    total, reached = 0, 0
    for begun, ended in spans:
        total += max(0, ended - max(begun, reached))
        reached = max(reached, ended)
    return total / 1e6


def answer() -> None:
    """Writes the results of the task in the first argument to standard output, as JSON."""
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))))
