"""The account of memory."""

from __future__ import annotations

import os
import resource
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tools.runtime import memory as memory_use


@pytest.fixture
def without_proc(monkeypatch):
    """A system that keeps no account as Linux does."""
    for name in ("_STATUS", "_CLEAR"):
        monkeypatch.setattr(memory_use, name, "/no/such/file")


def test_the_peak_is_what_was_needed_since_it_was_forgotten():
    before = memory_use.forget_peak()
    block = b"x" * 200_000_000
    del block
    assert 190e6 < memory_use.peak_resident_bytes() - before < 300e6
    assert memory_use.forget_peak() < before + 100e6


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_that_was_freed_in_pieces_is_given_back():
    pieces = [np.ones(12_000) for _ in range(1000)]  # below 128 kB, from where on the system has them back at once
    keeps_the_region = np.ones(12_000)
    pieces.clear()
    before = _resident()
    memory_use.return_free_memory()
    assert before - _resident() > 50e6
    assert keeps_the_region.all()


def test_a_system_whose_c_library_gives_memory_back_by_itself(monkeypatch):
    asked = []
    monkeypatch.setattr(memory_use.ctypes, "CDLL", lambda name: SimpleNamespace(asked=asked.append(name)))
    memory_use.return_free_memory()
    assert asked == [None]


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
@pytest.mark.usefixtures("without_proc")
def test_elsewhere_it_is_that_of_the_process(monkeypatch, platform, unit):
    monkeypatch.setattr(memory_use.sys, "platform", platform)
    expected = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    assert memory_use.forget_peak() == memory_use.peak_resident_bytes() == pytest.approx(expected, rel=0.1)


def test_devices_are_listed_beside_the_process(monkeypatch):
    accounts = {"CPU:0": 3, "GPU:1": 5, "GPU:3": 7}
    monkeypatch.setattr(tf.config.experimental, "get_memory_info", lambda name: {"peak": accounts[name]})
    job = "/job:localhost/replica:0/task:0/device:"
    peaks = memory_use.peak_memory([f"{job}CPU:0", f"{job}CPU:1", f"{job}GPU:1", "/device:GPU:3"])
    assert peaks.pop("process") > 1e7
    assert peaks == accounts


def _without_account(name: str) -> dict[str, int]:
    raise ValueError(f"Allocator stats not available for device '{name}'")


def test_devices_without_an_account_are_left_out(monkeypatch):
    monkeypatch.setattr(tf.config.experimental, "get_memory_info", _without_account)
    assert list(memory_use.peak_memory(["/device:CPU:0", "/device:GPU:0"])) == ["process"]


@pytest.mark.skipif(memory_use.tensor_bytes("CPU:0") is None, reason="TensorFlow without oneDNN")
def test_a_call_needs_its_tensors():
    with tf.Graph().as_default(), tf.Session() as session:
        variable = tf.get_variable("kept", [10_000_000], initializer=tf.zeros_initializer())
        size = tf.placeholder(tf.int32, [])
        total = tf.reduce_sum(tf.random.stateless_uniform(tf.stack([size]), [1, 2]))
        session.run(variable.initializer)
        for elements in (5_000_000, 20_000_000):
            needed = memory_use.peak_bytes_of_call(lambda n=elements: session.run(total, {size: n}))
            assert 4 * elements <= needed < 2 * 4 * elements  # the allocator rounds


def test_a_call_without_an_account_needs_what_the_process_takes(monkeypatch):
    monkeypatch.setattr(tf.config.experimental, "get_memory_info", _without_account)
    kept = b"x" * 50_000_000
    assert 95e6 < memory_use.peak_bytes_of_call(lambda: len(kept + kept)) < 160e6
