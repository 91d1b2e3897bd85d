"""Finds the hosts of a run in the variables that Slurm's `srun` sets for each task."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

from tools.errors import HostsError
from tools.runtime.hosts import MOST_HOSTS, Hosts

# Ports are below those that Linux gives to outgoing connections, 32768 and more. Jobs whose numbers are near use
# different ones, and so do the steps of a job.
_FIRST_PORT = 12000
_PORTS_OF_STEP = 64
_STEPS_APART = 300
_JOBS_OF_STEP = 101

_LONGEST_SHOWN = 100
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", re.ASCII)
_TASKS = re.compile(r"([0-9]{1,9})(?:\(x([0-9]{1,9})\))?", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


def slurm_hosts(environment: Mapping[str, str]) -> Hosts:
    """Finds the hosts of the job step that this process is a task of; each task is a host of the run.

    Addresses are the names of the nodes, with ports that follow from the numbers of job and step; several tasks on one
    node have neighbouring ports.

    Args:
        environment: variables of the process.

    Raises:
        HostsError: the process is no task of `srun`, a variable is missing or malformed, or the ranks do not run from
            node to node; the message names the variable, what was found and what was expected.
    """
    if "SLURM_STEP_NODELIST" not in environment:
        if "SLURM_JOB_NODELIST" in environment:
            raise HostsError(
                "SLURM_STEP_NODELIST is not set although SLURM_JOB_NODELIST is: this process is no task of srun; start "
                "it with srun, as in srun python train.py --hosts slurm"
            )
        raise HostsError(
            "SLURM_STEP_NODELIST is not set: this process does not run under Slurm; start it with srun, or give "
            "--hosts the addresses"
        )
    nodes = expand_nodes(environment["SLURM_STEP_NODELIST"], "SLURM_STEP_NODELIST")
    count_name = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environment else "SLURM_NTASKS"
    count = _number(environment, count_name, MOST_HOSTS)
    tasks = _tasks_of_nodes(environment, nodes, count, count_name)
    rank = _number(environment, "SLURM_PROCID", MOST_HOSTS)
    if rank >= count:
        raise HostsError(f"SLURM_PROCID is {rank} and {count_name} is {count}: expected a number below it")
    places = [(node, local) for node, own in enumerate(tasks) for local in range(own)]
    _check_place(environment, places, rank)
    port = _first_port(environment)
    return Hosts(tuple(f"{nodes[node]}:{port + local}" for node, local in places), rank)


def expand_nodes(text: str, variable: str) -> tuple[str, ...]:
    """Lists the nodes of Slurm's notation, such as `node[01-03,07],gpu1`, in its order.

    Args:
        text: names separated by commas; brackets hold numbers and ranges of numbers, which keep leading zeros.
        variable: where the text is from, for messages.

    Raises:
        HostsError: the text is malformed, names no node, or names too many.
    """
    nodes: list[str] = []
    for name in _split_outside_brackets(text):
        try:
            nodes += itertools.islice(_expand(name), MOST_HOSTS + 1 - len(nodes))
        except ValueError as error:
            shown = text[:_LONGEST_SHOWN]
            raise HostsError(f"{variable} is '{shown}': expected nodes as in node[01-03,07],gpu1") from error
        if len(nodes) > MOST_HOSTS:
            raise HostsError(f"{variable} is '{text[:_LONGEST_SHOWN]}': more than {MOST_HOSTS} nodes")
    return tuple(nodes)


def _split_outside_brackets(text: str) -> list[str]:
    return re.split(r",(?![^\[]*\])", text)


def _expand(name: str) -> Iterator[str]:
    """Yields the nodes of a name with any number of brackets; raises ValueError if it is malformed."""
    *parts, last = _BRACKETS.split(name)  # text and content of brackets in turn
    if not name or any(bracket in text for text in (*parts[::2], last) for bracket in "[]"):
        raise ValueError(name)
    choices = [list(itertools.islice(_numbers(part), MOST_HOSTS + 1)) for part in parts[1::2]]
    for numbers in itertools.product(*choices):
        yield "".join(itertools.chain(*zip(parts[::2], numbers, strict=True), [last]))


def _numbers(text: str) -> Iterator[str]:
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        if match is None or int(match[1]) > int(match[2] or match[1]):
            raise ValueError(part)
        for number in range(int(match[1]), int(match[2] or match[1]) + 1):
            yield str(number).zfill(len(match[1]))


def _tasks_of_nodes(environment: Mapping[str, str], nodes: Sequence[str], count: int, count_name: str) -> list[int]:
    """Returns the number of tasks on each node."""
    name = "SLURM_STEP_TASKS_PER_NODE"
    text = environment.get(name)
    if text is None:  # as Slurm distributes them by default
        return [count // len(nodes) + (node < count % len(nodes)) for node in range(len(nodes))]
    tasks: list[int] = []
    for part in text.split(","):
        match = _TASKS.fullmatch(part)
        if match is None or int(match[2] or 1) > MOST_HOSTS:
            raise HostsError(f"{name} is '{text[:_LONGEST_SHOWN]}': expected numbers of tasks as in 2(x3),1")
        tasks += [int(match[1])] * int(match[2] or 1)
    if len(tasks) != len(nodes):
        raise HostsError(
            f"{name} is '{text[:_LONGEST_SHOWN]}', of {len(tasks)} nodes: expected {len(nodes)} as in "
            "SLURM_STEP_NODELIST"
        )
    if sum(tasks) != count:
        raise HostsError(
            f"{name} is '{text[:_LONGEST_SHOWN]}', {sum(tasks)} tasks in all: expected {count} as in {count_name}"
        )
    return tasks


def _check_place(environment: Mapping[str, str], places: Sequence[tuple[int, int]], rank: int) -> None:
    """Compares the node and the place on it with those that follow from the rank.

    Raises:
        HostsError: they differ, because the ranks are distributed in another order than from node to node.
    """
    for name, expected in zip(("SLURM_NODEID", "SLURM_LOCALID"), places[rank], strict=True):
        found = _number(environment, name, MOST_HOSTS)
        if found != expected:
            raise HostsError(
                f"{name} is {found} with SLURM_PROCID {rank}: expected {expected}, ranks that fill one node after the "
                "other; start with srun --distribution=block"
            )


def _first_port(environment: Mapping[str, str]) -> int:
    job = _number(environment, "SLURM_JOB_ID")
    step = _number(environment, "SLURM_STEP_ID") if "SLURM_STEP_ID" in environment else 0
    return _FIRST_PORT + (job + _JOBS_OF_STEP * step) % _STEPS_APART * _PORTS_OF_STEP


def _number(environment: Mapping[str, str], name: str, maximum: int | None = None) -> int:
    text = environment.get(name)
    if text is None:
        raise HostsError(f"{name} is not set: expected a number; start with srun, or give --hosts the addresses")
    if not _NUMBER.fullmatch(text) or (maximum is not None and int(text) > maximum):
        most = "" if maximum is None else f" of at most {maximum}"
        raise HostsError(f"{name} is '{text[:_LONGEST_SHOWN]}': expected a whole number{most}")
    return int(text)
