"""Counts and measures what several hosts send each other in a training step; see `docs/hosts.md` for the model.

The hosts are processes on this machine, each bound to one core and one thread. They are compared with one process that
has as many towers on as many cores.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import tensorflow.compat.v1 as tf

from model.architecture import Architecture
from model.host_group import HostGroup
from model.training_graph import train_graph
from model.training_options import TrainingOptions
from tools.benchmark.steps import StepPlan, random_batch
from tools.benchmark.timing import Row
from tools.errors import ProcessEndedError
from tools.runtime.devices import CPU
from tools.runtime.ports import free_addresses

HOSTS = (2, 4, 8, 16, 32, 64)
GIGABITS = (10, 100)
# Of one hop of a ring between processes of one machine: 1.5 ms for a gather of 512 numbers by two, 3.3 ms by three.
# Nearly all of it is spent in TensorFlow, so it holds for a network of 50 microseconds as well.
SECONDS_PER_HOP = 1.6e-3
_MEGABYTE = 1e6
_STEP = "from tools.benchmark.host_step import answer; answer()"


@dataclass(frozen=True)
class Traffic:
    """The collectives of a training step, on one host.

    Attributes:
        gathers, reduces: number of operations.
        gathered, reduced: bytes of their inputs.
    """

    gathers: int
    reduces: int
    gathered: int
    reduced: int

    def sent(self, hosts: int) -> float:
        """Returns the bytes that a host of a ring sends: each input of a gather to all others, and of a sum twice."""
        return (hosts - 1) * (self.gathered + 2 * self.reduced / hosts)

    def messages(self, hosts: int) -> int:
        """Returns the number of messages that a host of a ring sends, before TensorFlow divides large ones."""
        return (hosts - 1) * (self.gathers + 2 * self.reduces)

    def seconds(self, hosts: int, gigabits: float) -> tuple[float, float]:
        """Estimates the time that a step waits for the network, if nothing overlaps with computation.

        Gathers depend on each other, so each waits for all hops of the ring. Sums travel at the same time, so only
        the hops of one of them count, beside the bandwidth.

        Returns:
            Seconds of latency in gathers, and seconds of the sums and of the bandwidth.
        """
        latency = (hosts - 1) * self.gathers * SECONDS_PER_HOP
        return latency, 2 * (hosts - 1) * SECONDS_PER_HOP + 8 * self.sent(hosts) / (gigabits * 1e9)


def traffic_of(graph: tf.Graph) -> Traffic:
    """Counts the collectives in the graph of a host."""

    def inputs(kind: str) -> list[int]:
        operations = [op for op in graph.get_operations() if op.type == kind]
        return [op.inputs[0].shape.num_elements() * op.inputs[0].dtype.size for op in operations]

    gathers, reduces = inputs("CollectiveGatherV2"), inputs("CollectiveReduceV2")
    return Traffic(len(gathers), len(reduces), sum(gathers), sum(reduces))


def counted(architecture: Architecture) -> Traffic:
    """Counts the collectives of a training step; they depend neither on the crops nor on the number of hosts."""
    plan = StepPlan(architecture, TrainingOptions(), 1, 1, (33, 33))
    with tf.Graph().as_default() as graph:
        images, labels = random_batch(plan, [CPU])
        with tf.device(CPU):
            train_graph(images, labels, architecture, plan.options, hosts=HostGroup(0, 2))
        return traffic_of(graph)


def measure_hosts(
    architectures: Sequence[Architecture], measured: StepPlan, *, warm_up: int, repeats: int
) -> Iterator[Row]:
    """Yields what a step sends, counted and by the model, and the measured steps of 2 and 3 processes.

    Args:
        architectures: of the counted steps.
        measured: the step that is measured, with one tower per process.
        warm_up, repeats: steps before the timed ones, and timed ones.
    """
    for architecture in architectures:
        yield from _rows_of_model(architecture.network, counted(architecture))
    for count in (2, 3):
        yield from _measured(replace(measured, num_towers=count), warm_up=warm_up, repeats=repeats)


def _rows_of_model(network: str, traffic: Traffic) -> Iterator[Row]:
    name = f"hosts.{network}"
    yield Row(f"{name}.gathers", traffic.gathers, f"per step, {traffic.gathered / _MEGABYTE:.2f} MB")
    yield Row(f"{name}.sums", traffic.reduces, f"per step, {traffic.reduced / _MEGABYTE:.1f} MB")
    for count in HOSTS:
        yield Row(f"{name}.{count}.sent", traffic.sent(count) / _MEGABYTE, "MB per step and host")
        yield Row(f"{name}.{count}.messages", traffic.messages(count), "per step and host")
        for gigabits in GIGABITS:
            latency, others = traffic.seconds(count, gigabits)
            limit = "latency of SyncBN" if latency > others else "bandwidth"
            yield Row(f"{name}.{count}.{gigabits}gbit", latency + others, f"s per step by the model; {limit}")


def _measured(plan: StepPlan, *, warm_up: int, repeats: int) -> Iterator[Row]:
    """Measures one process with all towers, and as many processes with one tower each."""
    count = plan.num_towers
    cores = sorted(os.sched_getaffinity(0))
    one = _run([plan], [cores[:count]], [], warm_up, repeats)[0]
    addresses = free_addresses(count)
    several = _run(
        [replace(plan, num_towers=1)] * count,
        [[cores[rank % len(cores)]] for rank in range(count)],
        addresses,
        warm_up,
        repeats,
    )
    name = f"hosts.{plan.architecture.network}.measured.{count}"
    slowest = max(found["seconds"] for found in several)
    yield Row(f"{name}.one_process", one["seconds"], f"s per step, {count} towers on {min(count, len(cores))} cores")
    yield Row(f"{name}.processes", slowest, "s per step, one tower and one core each")
    yield Row(f"{name}.ratio", slowest / one["seconds"], "of the time of one process")
    yield Row(f"{name}.sent", several[0]["sent"] / _MEGABYTE, "MB per step and host, at the sockets")
    yield Row(f"{name}.counted", several[0]["counted"] / _MEGABYTE, "MB per step and host, by the graph")
    yield Row(f"{name}.segments", several[0]["segments"], "TCP segments with data per step and host, at the sockets")
    yield Row(f"{name}.messages", several[0]["messages"], "per step and host, by the graph")
    yield Row(f"{name}.collectives", several[0]["collectives"], "s of a step in which a collective is open, by a trace")


def _run(
    plans: Sequence[StepPlan], cores: Sequence[Sequence[int]], addresses: Sequence[str], warm_up: int, repeats: int
) -> list[dict[str, float]]:
    """Runs a step in each of several processes at the same time; returns what each measured."""
    processes = []
    for rank, (plan, own) in enumerate(zip(plans, cores, strict=True)):
        task = {
            "plan": {**asdict(plan), "options": {}},
            "addresses": list(addresses),
            "rank": rank,
            "warm_up": warm_up,
            "repeats": repeats,
            "cores": list(own),
        }
        command = [sys.executable, "-c", _STEP, json.dumps(task)]
        threads = {"TF_NUM_INTRAOP_THREADS": str(len(own)), "OMP_NUM_THREADS": str(len(own))}
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **threads}, text=True))
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise ProcessEndedError("a process of the part hosts ended with an error: see its lines above")
    return [json.loads(output.splitlines()[-1]) for output in outputs]
