"""Finds the hosts of a run by the flags --hosts and --host_rank."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping

from tools.errors import HostsError
from tools.runtime.hosts import Hosts
from tools.runtime.slurm import slurm_hosts
from tools.runtime.tf_config import tf_config_hosts

logger = logging.getLogger(__name__)

# Values of --hosts that say where to find the addresses and the rank.
HOST_SOURCES: Mapping[str, Callable[[Mapping[str, str]], Hosts]] = {
    "slurm": slurm_hosts,
    "tf_config": tf_config_hosts,
}


def choose_hosts(
    hosts: str | tuple[str, ...] | None, rank: int | None, environment: Mapping[str, str] | None = None
) -> Hosts | None:
    """Finds the hosts of a run.

    Nothing is found that was not asked for: without --hosts, a run is of one host, also inside an allocation of Slurm.

    Args:
        hosts: of the flag --hosts: a key of `HOST_SOURCES`, addresses, or None.
        rank: of the flag --host_rank; None unless `hosts` has several addresses.
        environment: variables of the process; by default its own.

    Returns:
        The hosts; None if the run is of one host, which needs no server.

    Raises:
        HostsError: the environment does not describe the hosts, or the rank is that of no address.
    """
    if hosts is None:
        return None
    if isinstance(hosts, str):
        try:
            found = HOST_SOURCES[hosts](os.environ if environment is None else environment)
        except HostsError as error:
            raise HostsError(f"--hosts {hosts}: {error}") from error
    else:
        found = Hosts(hosts, rank or 0)
    if found.count == 1:
        shown = hosts if isinstance(hosts, str) else ",".join(hosts)
        logger.warning("--hosts %s is one host, %s: nothing is distributed", shown, found.address)
        return None
    return found
