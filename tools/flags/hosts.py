"""Flags for runs on several hosts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tools.errors import FlagError, HostsError
from tools.flags.definition import Need, flag
from tools.flags.limits import MOST_STEPS
from tools.flags.values import shown_value
from tools.runtime.chosen_hosts import HOST_SOURCES
from tools.runtime.hosts import MOST_HOSTS, parse_addresses

_LONGEST_TIMEOUT = 86400.0
_SOURCES = " or ".join(HOST_SOURCES)

_NEEDS_HOSTS = Need(lambda config: config.hosts is not None, "on one host: add --hosts")
_NEEDS_ADDRESSES = Need(
    lambda config: not isinstance(config.hosts, str),
    lambda config: f"with --hosts {config.hosts}, which finds the rank too: give --hosts the addresses",
)


def host_addresses(text: str) -> str | tuple[str, ...]:
    """Parses `slurm`, `tf_config`, or addresses `host:port` separated by commas.

    Raises:
        ValueError: an address is malformed or repeated; the message says which.
    """
    source = text.strip().lower().replace("-", "_")
    if source in HOST_SOURCES:
        return source
    try:
        return parse_addresses(text)
    except HostsError as error:
        raise ValueError(f"{_SOURCES}, nor a list of addresses: {error}") from error


@dataclass(frozen=True, kw_only=True)
class HostFlags:
    """Hosts of a run, of training and of prediction."""

    hosts: str | tuple[str, ...] | None = flag(
        None,
        "addresses of the processes that share the work, equal on all of them: host:port of each, in the order of "
        "their ranks; or slurm or tf_config: found in the variables of srun, or in TF_CONFIG",
        host_addresses,
        group="hosts",
        metavar="ADDRESS,...",
        unset="one process",
        resume="free",
        scoring="read",
    )
    host_rank: int | None = flag(
        None,
        "rank of this process: 0 for the first address of --hosts, 1 for the second; 0 writes the files of the run",
        int,
        group="hosts",
        metavar="RANK",
        minimum=0,
        maximum=MOST_HOSTS - 1,
        resume="free",
        scoring="read",
        needs=(_NEEDS_HOSTS, _NEEDS_ADDRESSES),
    )
    host_timeout: float = flag(
        60.0,
        "seconds without progress of the other hosts after which this one ends with exit code 75",
        group="hosts",
        metavar="SECONDS",
        minimum=1,
        maximum=_LONGEST_TIMEOUT,
        resume="free",
        needs=_NEEDS_HOSTS,
    )


@dataclass(frozen=True, kw_only=True)
class TrainingHostFlags(HostFlags):
    """Hosts of a training."""

    check_hosts: int = flag(
        1000,
        "steps between comparisons of the weights of all hosts, which have to be equal in every bit; also after the "
        "first step and before a snapshot; 0: never",
        group="hosts",
        metavar="STEPS",
        minimum=0,
        maximum=MOST_STEPS,
        resume="free",
        needs=_NEEDS_HOSTS,
    )
    snapshot_on: str = flag(
        "chief",
        "hosts that write snapshots: the one of rank 0, or all, each to its own disk",
        group="hosts",
        choices=("chief", "all"),
        resume="free",
        needs=_NEEDS_HOSTS,
    )


def check_host_rank(config: Any) -> None:
    """Checks the rank against the addresses.

    Args:
        config: flags with `hosts` and `host_rank`.

    Raises:
        FlagError: there are several addresses and no rank, or the rank is that of no address.
    """
    addresses, rank = config.hosts, config.host_rank
    if not isinstance(addresses, tuple):
        return
    last = len(addresses) - 1
    if rank is None and last:
        raise FlagError(
            f"--hosts {_shortened(addresses)} needs --host_rank, another one on each host: 0 on {addresses[0]}, 1 on "
            f"{addresses[1]}{'' if last == 1 else f', up to {last}'}"
        )
    if rank is not None and rank > last:
        raise FlagError(
            f"--host_rank {rank} is none of the {last + 1} of --hosts {_shortened(addresses)}: give 0 to {last}"
        )


def _shortened(addresses: tuple[str, ...]) -> str:
    return shown_value(addresses if len(addresses) <= 3 else (*addresses[:2], "..."))
