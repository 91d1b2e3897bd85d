"""The account of memory."""

from __future__ import annotations

import resource

import pytest
import tensorflow.compat.v1 as tf

from tools import memory_use


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


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
@pytest.mark.usefixtures("without_proc")
def test_elsewhere_it_is_that_of_the_process(monkeypatch, platform, unit):
    monkeypatch.setattr(memory_use.sys, "platform", platform)
    expected = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    assert memory_use.forget_peak() == memory_use.peak_resident_bytes() == pytest.approx(expected, rel=0.1)


def test_gpus_are_listed_beside_the_host(monkeypatch):
    monkeypatch.setattr(
        tf.config.experimental, "get_memory_info", lambda name: {"peak": {"GPU:1": 5, "GPU:3": 7}[name]}
    )
    job = "/job:localhost/replica:0/task:0/device:"
    peaks = memory_use.peak_memory([f"{job}CPU:0", f"{job}GPU:1", "/device:GPU:3"])
    assert peaks.pop("host") > 1e7
    assert peaks == {"GPU:1": 5, "GPU:3": 7}
