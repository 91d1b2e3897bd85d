"""The hosts of a run: the address of each process's server, and which of them this process is; without TensorFlow."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tools.errors import HostsError

MOST_HOSTS = 1024
LARGEST_PORT = 65535

_EXAMPLE = "host1:2222,host2:2222"
_EXAMPLE_PORT = 2222
_LONGEST_SHOWN = 80
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?")
_PORT = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True)
class Hosts:
    """The processes of a run, in the order of their ranks; several of them may be on one machine.

    Attributes:
        addresses: `host:port` of the server of each process, equal in all processes; an IPv6 address is in brackets.
        rank: index of this process.
    """

    addresses: tuple[str, ...]
    rank: int

    def __post_init__(self) -> None:
        """Checks the addresses and the rank.

        Raises:
            HostsError: an address is malformed or given twice, or the rank is that of no address.
        """
        object.__setattr__(self, "addresses", checked_addresses(self.addresses))
        if not 0 <= self.rank < self.count:
            ranks = "the rank of one host is 0" if self.count == 1 else f"the ranks are 0 to {self.count - 1}"
            raise HostsError(f"rank {self.rank} is none of {self.count} hosts: {ranks}")

    @property
    def count(self) -> int:
        """Returns the number of processes."""
        return len(self.addresses)

    @property
    def is_chief(self) -> bool:
        """Whether this process writes what exists once in a run."""
        return self.rank == 0

    @property
    def address(self) -> str:
        """Returns the address of this process."""
        return self.addresses[self.rank]

    def named(self, rank: int) -> str:
        """Describes a process for messages, such as `host 1 (host2:2222)`."""
        return f"host {rank} ({self.addresses[rank]})"


def parse_addresses(text: str) -> tuple[str, ...]:
    """Parses addresses `host:port`, separated by commas.

    Raises:
        HostsError: see `checked_addresses`; or there is none.
    """
    return checked_addresses([part for part in map(str.strip, text.split(",")) if part])


def checked_addresses(addresses: Sequence[str]) -> tuple[str, ...]:
    """Returns addresses in one spelling: names in lower case, ports without leading zeros.

    Raises:
        HostsError: there is no address or there are too many, one is malformed, or two are equal.
    """
    if not addresses:
        raise HostsError(f"there is no address: give one for each host, such as {_EXAMPLE}")
    if len(addresses) > MOST_HOSTS:
        raise HostsError(f"there are {len(addresses)} addresses, more than {MOST_HOSTS}")
    checked = tuple(map(_checked_address, addresses))
    address, times = Counter(checked).most_common(1)[0]
    if times > 1:
        raise HostsError(f"'{address}' is given {times} times: give each process another port, or another host")
    return checked


def _checked_address(address: str) -> str:
    shown = address if len(address) <= _LONGEST_SHOWN else f"{address[:_LONGEST_SHOWN]}..."
    host, colon, port = address.rpartition(":")
    if _is_ipv6(address):
        raise HostsError(f"'{shown}' is an IPv6 address without brackets and port: write [{address}]:{_EXAMPLE_PORT}")
    if not colon or address.endswith("]"):
        raise HostsError(f"'{shown}' has no port: write {shown}:{_EXAMPLE_PORT}")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise HostsError(f"'{shown}' is not host:port: write a name or address, a colon and a port, as in {_EXAMPLE}")
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= LARGEST_PORT:
        raise HostsError(f"'{shown}' has the port '{port[:_LONGEST_SHOWN]}': expected 1 to {LARGEST_PORT}")
    if host.startswith("[") or host.endswith("]"):
        if not _is_ipv6(host[1:-1]):
            raise HostsError(f"'{shown}' has no IPv6 address in its brackets: write it as in [fd00::1]:{_EXAMPLE_PORT}")
        host = f"[{ipaddress.IPv6Address(host[1:-1])}]"
    elif not _NAME.fullmatch(host):
        raise HostsError(f"'{shown}' has no name or address before its port: write it as in {_EXAMPLE}")
    return f"{host.lower()}:{int(port)}"


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
