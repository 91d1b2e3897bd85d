"""Ports for the servers of a run."""

from __future__ import annotations

import socket

import pytest

from tools.errors import HostsError
from tools.runtime import ports
from tools.runtime.hosts import Hosts
from tools.runtime.ports import free_addresses


def test_ports_are_different_and_free():
    addresses = free_addresses(20)
    assert Hosts(tuple(addresses), 0).count == 20
    for address in addresses:
        host, _, port = address.partition(":")
        with socket.socket() as server:
            server.bind(("", int(port)))
        assert host == "127.0.0.1"
        assert 15000 <= int(port) < ports._first_outgoing()


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_ports_in_use_are_left_out(address, monkeypatch):
    """Also those that are taken on one interface only."""
    with socket.create_server((address, 0)) as server:
        taken = server.getsockname()[1]
        monkeypatch.setattr(ports.random, "sample", lambda candidates, count: [taken, 15999])
        monkeypatch.setattr(ports, "_MOST_TRIES", 2)
        try:
            assert free_addresses(1) == ["127.0.0.1:15999"]
        except HostsError:
            pytest.skip("port 15999 is in use")
        with pytest.raises(HostsError, match="1 of 2 ports are free"):
            free_addresses(2)
