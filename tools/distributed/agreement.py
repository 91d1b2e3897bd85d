"""Compares what the hosts of a run were started with, before the first step."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import tensorflow.compat.v1 as tf
from PIL import features

from tools.distributed.team import Team
from tools.errors import HostsError
from tools.flags.values import shown_value
from tools.runtime.hosts import Hosts

_ROOT = Path(__file__).resolve().parent.parent.parent
_PACKAGES = ("model", "database", "tools")
_SCRIPTS = ("train.py", "predict.py")
# Other distributions that compute weights or predictions.
_DISTRIBUTIONS = ("numpy", "pillow", "scipy", "tf-slim")
_LONGEST_VALUE = 60
_MOST_SHOWN = 3


def versions() -> dict[str, str]:
    """Returns versions of what computes the weights, by the words for messages."""
    return {
        "the version of Python": platform.python_version(),
        "the version of TensorFlow": tf.__version__,
        **{f"the version of {name}": _version(name) for name in _DISTRIBUTIONS},
        "the version of libjpeg": f"{features.version('libjpeg_turbo') or features.version('jpg')}",
        "the source code of this program": _source_checksum()[:8],
    }


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:  # its modules are from a distribution of another name
        return "unknown"


def _source_checksum() -> str:
    total = hashlib.sha256()
    for place in (*_PACKAGES, *_SCRIPTS):
        found = _ROOT / place
        for path in [found] if found.is_file() else sorted(found.rglob("*.py")):
            total.update(str(path.relative_to(_ROOT)).encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def agree(team: Team, subjects: Mapping[str, Any]) -> None:
    """Checks that all hosts were started in the same way.

    Args:
        team: this host among the others.
        subjects: JSON values that have to be equal, by the words for messages.

    Raises:
        HostsError: they differ; all hosts get the same message, which names two hosts and what differs.
    """
    what = "the comparison of what the hosts were started with"
    found = [json.loads(text) for text in team.gather(what, json.dumps(subjects).encode(), team.start_patience)]
    for rank, other in enumerate(found[1:], start=1):
        differing = [name for name in {**found[0], **other} if found[0].get(name) != other.get(name)]
        if differing:
            raise HostsError(_difference(team.hosts, rank, differing, [found[0], other]))


def _difference(hosts: Hosts, rank: int, differing: Sequence[str], values: Sequence[Mapping[str, Any]]) -> str:
    parts = [f"{name} ({' and '.join(_shown(each.get(name)) for each in values)})" for name in differing[:_MOST_SHOWN]]
    more = f" and {len(differing) - _MOST_SHOWN} more" if len(differing) > _MOST_SHOWN else ""
    return (
        f"{hosts.named(0)} and {hosts.named(rank)} differ in {', '.join(parts)}{more}: start all hosts with the same "
        "program, flags and data"
    )


def _shown(value: Any) -> str:
    shown = shown_value(value)
    return shown if len(shown) <= _LONGEST_VALUE else f"{shown[:_LONGEST_VALUE]}..."
