"""Devices of the towers, and sessions that keep to them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import tensorflow.compat.v1 as tf

from tools import cluster
from tools.cluster import DeviceError


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


def test_weights_that_are_constants_are_not_copied_again_and_again():
    graph_options = cluster.session_config(["/device:CPU:0"], weights_are_constants=True).graph_options
    rewriting = graph_options.rewrite_options
    assert rewriting.constant_folding == rewriting.OFF
    assert rewriting.memory_optimization == rewriting.NO_MEM_OPT
    assert rewriting.remapping != rewriting.OFF  # fuses convolution, bias and ReLU
    assert graph_options.optimizer_options.opt_level == tf.OptimizerOptions.L0
    ordinary = cluster.session_config(["/device:CPU:0"]).graph_options.rewrite_options
    assert ordinary.constant_folding == ordinary.DEFAULT
