"""Finds the hosts of a run in the variable TF_CONFIG, which TensorFlow's own programs read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from database.errors import JsonError
from database.json_files import parse_json
from tools.errors import HostsError
from tools.runtime.hosts import Hosts

_VARIABLE = "TF_CONFIG"
_EXPECTED = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
_CHIEF, _WORKER = "chief", "worker"
_LONGEST_SHOWN = 100


def tf_config_hosts(environment: Mapping[str, str]) -> Hosts:
    """Finds the hosts in `TF_CONFIG`: the chief, if there is one, then the workers.

    Args:
        environment: variables of the process.

    Raises:
        HostsError: the variable is missing or malformed, or has tasks other than a chief and workers; the message says
            what was found and what was expected.
    """
    text = environment.get(_VARIABLE)
    if text is None:
        raise HostsError(f"{_VARIABLE} is not set: expected {_EXPECTED}")
    try:
        read = parse_json(text)
    except JsonError as error:
        raise _malformed(f"{error}") from error
    cluster, task = _part(read, "cluster"), _part(read, "task")
    # Some platforms list all kinds of tasks, also those that a run has none of.
    others = sorted(name for name, tasks in cluster.items() if name not in (_CHIEF, _WORKER) and tasks not in ([], {}))
    if others:
        raise _malformed(f"the cluster has the job '{others[0][:_LONGEST_SHOWN]}', and only chief and worker take part")
    jobs = {name: _addresses(cluster, name) for name in (_CHIEF, _WORKER)}
    if len(jobs[_CHIEF]) > 1:
        raise _malformed(f"the cluster has {len(jobs[_CHIEF])} chiefs")
    kind, index = task.get("type"), task.get("index", 0)
    if not isinstance(kind, str) or kind not in jobs:
        raise _malformed(f"the type of the task is {_shown(kind)}, and only chief and worker take part")
    if isinstance(index, str) and index.isascii() and index.isdecimal():
        index = int(index[:_LONGEST_SHOWN])  # some programs write it as a text
    if type(index) is not int or not 0 <= index < len(jobs[kind]):
        raise _malformed(f"the index of the task is {_shown(index)}, and the cluster has {len(jobs[kind])} of {kind}")
    rank = index + (len(jobs[_CHIEF]) if kind == _WORKER else 0)
    try:
        return Hosts((*jobs[_CHIEF], *jobs[_WORKER]), rank)
    except HostsError as error:
        raise HostsError(f"{_VARIABLE}: {error}") from error


def _part(read: Any, name: str) -> Mapping[str, Any]:
    part = read.get(name) if isinstance(read, dict) else None
    if not isinstance(part, dict):
        raise _malformed(f"it has no '{name}'")
    return part


def _addresses(cluster: Mapping[str, Any], name: str) -> list[str]:
    addresses = cluster.get(name, [])
    if addresses == {}:
        return []
    if not isinstance(addresses, list) or not all(isinstance(address, str) for address in addresses):
        raise _malformed(f"'{name}' is {_shown(addresses)}, not a list of addresses")
    return addresses


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}..."


def _malformed(found: str) -> HostsError:
    return HostsError(f"{_VARIABLE}: {found}: expected {_EXPECTED}")
