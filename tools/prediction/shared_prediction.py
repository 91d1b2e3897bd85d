"""Shares the images of a prediction out over several hosts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from database.layouts import Sample
from tools.checkpoints.reading import checkpoint_checksum
from tools.console import set_quiet
from tools.distributed.agreement import agree, versions
from tools.distributed.team import ALONE, Hosted, Team, start_team
from tools.flags.definition import flag_properties
from tools.flags.predict import PredictConfig
from tools.runtime.devices import CPU
from tools.runtime.hosts import Hosts

_OF_ONE_HOST = ("host_rank", "quiet", "max_pixels")


@contextmanager
def together(config: PredictConfig) -> Iterator[Hosted]:
    """Meets the other hosts of `--hosts`.

    Yields:
        This host among them; the only process without `--hosts`.

    Raises:
        HostsError: the server of this host cannot be started.
        LostHostError: another host does not start.
    """
    if config.host_count == 1:
        yield ALONE
        return
    assert isinstance(config.hosts, tuple)
    team = start_team(Hosts(config.hosts, config.host_rank or 0), [CPU], config.host_timeout)
    if not team.is_chief:
        set_quiet(True)
    yield team
    team.close()


def share_of_host(hosts: Hosted, config: PredictConfig, prefix: str, samples: Sequence[Sample]) -> Sequence[Sample]:
    """Returns every n-th sample of n hosts, after a check that all predict the same samples with the same weights.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        HostsError: the hosts differ.
    """
    if isinstance(hosts, Team):
        agree(hosts, _subjects(config, prefix, samples))
    return samples[hosts.rank :: hosts.count]


def _subjects(config: PredictConfig, prefix: str, samples: Sequence[Sample]) -> dict[str, Any]:
    may_differ = {name for name, is_path in flag_properties(PredictConfig, "is_path").items() if is_path}
    flags = dataclasses.asdict(config)
    return {
        **versions(),
        **{f"--{name}": value for name, value in flags.items() if name not in may_differ and name not in _OF_ONE_HOST},
        "the checkpoint": checkpoint_checksum(prefix)[:8],
        "the number of images": len(samples),
        "the list of images": hashlib.sha256(json.dumps([sample.name for sample in samples]).encode()).hexdigest()[:8],
    }
