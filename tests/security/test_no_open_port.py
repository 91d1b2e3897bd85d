"""What this package starts listens to nobody on the network."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import subprocess
import sys

import pytest

from tests.scripts.starting import ROOT

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

_LISTENING = "0A"


def address_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address that /proc/net/tcp and tcp6 write in words of four bytes, each in the processor's order."""
    words = [bytes.fromhex(text[start : start + 8]) for start in range(0, len(text), 8)]
    packed = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    return ipaddress.ip_address(packed)


def listening_addresses() -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Where this process waits for connections."""
    own = set()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            match = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(f"/proc/self/fd/{descriptor}"))
        except OSError:  # the one that lists the folder
            continue
        if match:
            own.add(match[1])
    found = []
    for table in ("tcp", "tcp6"):
        if os.path.exists(f"/proc/self/net/{table}"):
            with open(f"/proc/self/net/{table}", encoding="ascii") as file:
                rows = [line.split() for line in file][1:]
            found += [address_of(row[1].split(":")[0]) for row in rows if row[3] == _LISTENING and row[9] in own]
    return found


def test_addresses_as_the_system_writes_them():
    for text in ("127.0.0.1", "0.0.0.0", "10.1.2.3", "::1", "::", "2001:db8::7"):
        address = ipaddress.ip_address(text)
        words = [address.packed[start : start + 4] for start in range(0, len(address.packed), 4)]
        assert address_of("".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)) == address


def test_a_port_that_is_open_is_seen():
    before = listening_addresses()
    with socket.create_server(("127.0.0.2", 0)):
        assert set(listening_addresses()) - set(before) == {ipaddress.ip_address("127.0.0.2")}
    assert listening_addresses() == before


def run_two_towers() -> None:
    """Runs a session of two towers and prints where this process listens."""
    import tensorflow.compat.v1 as tf

    from tools.runtime import devices as runtime_devices

    devices = runtime_devices.tower_devices(2, "cpu")
    with tf.Graph().as_default() as graph:
        with tf.device(devices[1]):
            x = tf.add(tf.random.uniform([]), 1.0)
        with runtime_devices.open_session(graph, devices) as session:
            session.run(x)
            print("listens on", listening_addresses())


def test_sessions_of_several_towers_open_no_port():
    """They are of one process: no server of TensorFlow's is started, on any address."""
    program = "from tests.security.test_no_open_port import run_two_towers; run_two_towers()"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "listens on []\n"
