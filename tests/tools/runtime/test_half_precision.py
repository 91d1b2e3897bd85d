"""The choice of a precision, and the check of AMX."""

from __future__ import annotations

import io
import os
import signal
import subprocess
from types import SimpleNamespace

import pytest
import tensorflow.compat.v1 as tf

from tools.runtime import half_precision

ISA_VARIABLE = "ONEDNN_MAX_CPU_ISA"


@pytest.fixture
def probe(monkeypatch):
    """A function that sets what the processor announces and how the probing process ends; collects its calls."""
    monkeypatch.setenv(ISA_VARIABLE, "")  # recorded, so that whatever the test sets is undone
    monkeypatch.delenv(ISA_VARIABLE)
    calls = []

    def prepare(cpuinfo, return_code):
        def run(command, **options):
            calls.append(command)
            return subprocess.CompletedProcess(command, return_code)

        def read_cpuinfo(path, **options):
            assert path == "/proc/cpuinfo"
            if isinstance(cpuinfo, Exception):
                raise cpuinfo
            return io.StringIO(cpuinfo)

        monkeypatch.setattr(half_precision.subprocess, "run", run)
        monkeypatch.setattr(half_precision, "open", read_cpuinfo, raising=False)
        return calls

    return prepare


ANNOUNCED = "flags : fpu sse2 avx512f amx_bf16 amx_tile\n"
NOT_ANNOUNCED = "flags : fpu sse2 avx512f\n"


def test_faulty_amx_is_turned_off(probe):
    calls = probe(ANNOUNCED, -signal.SIGILL)
    assert half_precision.avoid_faulty_amx() is True
    assert os.environ[ISA_VARIABLE] == "AVX512_CORE_FP16"
    assert half_precision.avoid_faulty_amx() is False
    assert len(calls) == 1  # known from then on


@pytest.mark.parametrize(
    ("cpuinfo", "return_code", "probes"),
    [
        (ANNOUNCED, 0, 1),
        (ANNOUNCED, 1, 1),  # failed for another reason than the processor
        (NOT_ANNOUNCED, -signal.SIGILL, 0),
        (OSError("no /proc"), -signal.SIGILL, 0),
    ],
)
def test_amx_is_not_disabled(probe, cpuinfo, return_code, probes):
    calls = probe(cpuinfo, return_code)
    assert half_precision.avoid_faulty_amx() is False
    assert ISA_VARIABLE not in os.environ
    assert len(calls) == probes


def test_the_users_own_setting_stays(probe, monkeypatch):
    calls = probe(ANNOUNCED, -signal.SIGILL)
    monkeypatch.setenv(ISA_VARIABLE, "AVX2")
    assert half_precision.avoid_faulty_amx() is False
    assert os.environ[ISA_VARIABLE] == "AVX2"
    assert calls == []


@pytest.mark.parametrize("float_type", ["32", "16", "bf16"])
def test_a_precision_that_is_named_is_taken(float_type, caplog):
    assert half_precision.chosen_float_type(float_type) == float_type
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("flags", "expected", "words"),
    [
        ("fpu avx512f avx512_bf16", "bf16", "bf16, as the processor multiplies bfloat16"),
        ("fpu avx512f amx_bf16 amx_tile", "bf16", "multiplies"),
        ("fpu avx2", "32", "32, as the processor does not multiply bfloat16"),
    ],
)
def test_auto_follows_the_processor(probe, monkeypatch, caplog, flags, expected, words):
    probe(f"model name : a CPU\nflags\t: {flags}\n", 0)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])
    caplog.set_level("INFO")
    assert half_precision.chosen_float_type("auto") == expected
    assert words in caplog.text


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"compute_capability": (8, 0), "device_name": "NVIDIA A100"}, "bf16"),
        ({"compute_capability": (7, 5)}, "32"),
        ({}, "32"),
    ],
)
def test_auto_follows_the_first_gpu(monkeypatch, details, expected):
    gpus = [SimpleNamespace(name="/physical_device:GPU:0")]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: gpus)
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: details)
    assert half_precision.chosen_float_type("auto") == expected


def test_the_processor_decides_where_it_computes_although_there_are_gpus(probe, monkeypatch, caplog):
    probe("model name : a CPU\nflags\t: fpu avx512_bf16\n", 0)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [SimpleNamespace(name="GPU:0")])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: {})
    caplog.set_level("INFO")
    assert half_precision.chosen_float_type("auto", "cpu") == "bf16"
    assert "as the processor multiplies" in caplog.text
    assert half_precision.chosen_float_type("auto", "auto") == "32"
