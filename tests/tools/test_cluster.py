"""Devices of the towers, sessions that keep to them, and the check of AMX."""

from __future__ import annotations

import io
import os
import signal
import subprocess
from types import SimpleNamespace

import pytest
import tensorflow.compat.v1 as tf

from tools import cluster
from tools.cluster import DeviceError

ISA_VARIABLE = "ONEDNN_MAX_CPU_ISA"


@pytest.fixture
def gpus(monkeypatch):
    """A function that sets how many GPUs TensorFlow finds."""

    def found(number):
        devices = [SimpleNamespace(name=f"/physical_device:GPU:{i}", device_type="GPU") for i in range(number)]
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: devices if kind == "GPU" else [])

    return found


def test_towers_without_gpus_are_logical_cpus(gpus):
    gpus(0)
    assert cluster.tower_devices(3) == ["/device:CPU:0", "/device:CPU:1", "/device:CPU:2"]


def test_towers_with_enough_gpus(gpus):
    gpus(4)
    assert cluster.tower_devices(2) == ["/device:GPU:0", "/device:GPU:1"]
    assert cluster.tower_devices(4)[-1] == "/device:GPU:3"


def test_too_few_gpus_are_counted(gpus):
    gpus(2)
    with pytest.raises(DeviceError, match="--gpu_num 3 asks for 3 GPUs and 2 were found") as caught:
        cluster.tower_devices(3)
    assert "\n" not in str(caught.value)


def test_session_has_the_devices_and_runs_operations_where_they_were_placed():
    devices = ["/device:CPU:0", "/device:CPU:1", "/device:CPU:2"]
    with tf.Graph().as_default():
        placed = []
        for device in devices:
            with tf.device(device):
                placed.append(tf.random.uniform([]) + 1.0)
        with tf.Session(config=cluster.session_config(devices)) as session:
            cpus = [device.name for device in session.list_devices() if device.device_type == "CPU"]
            assert [name.rsplit("/", 1)[1] for name in cpus] == [
                "device:CPU:0",
                "device:CPU:1",
                "device:CPU:2",
            ]
            metadata = tf.RunMetadata()
            options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
            session.run(placed, options=options, run_metadata=metadata)
    used = {stats.device.rsplit("/", 1)[1] for stats in metadata.step_stats.dev_stats if stats.node_stats}
    assert {"device:CPU:0", "device:CPU:1", "device:CPU:2"} <= used


def test_session_has_a_device_for_every_tower():
    devices = cluster.tower_devices(2)
    with tf.Graph().as_default() as graph:
        with tf.device(devices[1]):
            x = tf.add(tf.random.uniform([]), 1.0)
        with cluster.open_session(graph, devices) as session:
            assert session.run(x) >= 1


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="needs a machine without GPUs")
@pytest.mark.parametrize("devices", [["/device:GPU:0"], ["/device:CPU:0", "/device:GPU:3"]])
def test_device_that_tensorflow_cannot_set_up_is_named(devices):
    words = rf"^{devices[-1]} was asked for and the session has only /device:CPU:0: lower --gpu_num"
    with pytest.raises(DeviceError, match=words) as caught:
        cluster.open_session(tf.Graph(), devices)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", ["/device:CPU:0", "/device:GPU:0"])
def test_sums_are_not_rearranged_on_any_device(device):
    rewriting = cluster.session_config([device]).graph_options.rewrite_options
    assert rewriting.memory_optimization == rewriting.NO_MEM_OPT


def test_operation_on_a_missing_device_is_refused():
    devices = ["/device:CPU:0", "/device:CPU:1"]
    with tf.Graph().as_default():
        with tf.device("/device:CPU:3"):
            x = tf.random.uniform([])
        with (
            tf.Session(config=cluster.session_config(devices)) as session,
            pytest.raises(tf.errors.InvalidArgumentError, match="CPU:3"),
        ):
            session.run(x)


def test_soft_placement_is_for_gpus_alone():
    assert cluster.session_config(["/device:CPU:0"]).allow_soft_placement is False
    config = cluster.session_config(["/device:GPU:0", "/device:GPU:1"])
    assert config.allow_soft_placement is True
    assert config.gpu_options.allow_growth is True
    assert dict(config.device_count) == {}


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

        monkeypatch.setattr(cluster.subprocess, "run", run)
        monkeypatch.setattr(cluster, "open", read_cpuinfo, raising=False)
        return calls

    return prepare


ANNOUNCED = "flags : fpu sse2 avx512f amx_bf16 amx_tile\n"
NOT_ANNOUNCED = "flags : fpu sse2 avx512f\n"


def test_faulty_amx_is_turned_off(probe):
    calls = probe(ANNOUNCED, -signal.SIGILL)
    assert cluster.avoid_faulty_amx() is True
    assert os.environ[ISA_VARIABLE] == "AVX512_CORE_FP16"
    assert cluster.avoid_faulty_amx() is False
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
def test_amx_is_left_alone(probe, cpuinfo, return_code, probes):
    calls = probe(cpuinfo, return_code)
    assert cluster.avoid_faulty_amx() is False
    assert ISA_VARIABLE not in os.environ
    assert len(calls) == probes


def test_the_users_own_setting_stays(probe, monkeypatch):
    calls = probe(ANNOUNCED, -signal.SIGILL)
    monkeypatch.setenv(ISA_VARIABLE, "AVX2")
    assert cluster.avoid_faulty_amx() is False
    assert os.environ[ISA_VARIABLE] == "AVX2"
    assert calls == []
