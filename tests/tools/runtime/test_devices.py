"""Devices of the towers, and sessions that keep to them."""

from __future__ import annotations

import dataclasses
import re
from types import SimpleNamespace

import pytest
import tensorflow.compat.v1 as tf

from tools.errors import DeviceError
from tools.runtime import devices as cluster
from tools.runtime.gpu_presence import Machine


@pytest.fixture
def gpus(monkeypatch):
    """A function that sets how many GPUs TensorFlow finds."""

    def found(number):
        devices = [SimpleNamespace(name=f"/physical_device:GPU:{i}", device_type="GPU") for i in range(number)]
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: devices if kind == "GPU" else [])

    return found


def test_towers_without_gpus_are_logical_cpus(gpus):
    gpus(0)
    assert cluster.tower_devices(3, "auto", Machine()) == ["/device:CPU:0", "/device:CPU:1", "/device:CPU:2"]


def test_towers_with_enough_gpus(gpus):
    gpus(4)
    assert cluster.tower_devices(2) == ["/device:GPU:0", "/device:GPU:1"]
    assert cluster.tower_devices(4)[-1] == "/device:GPU:3"


@pytest.mark.parametrize("device", ["auto", "gpu"])
def test_too_few_gpus_are_counted(gpus, device):
    gpus(2)
    with pytest.raises(DeviceError, match="--gpu_num 3 asks for 3 GPUs and 2 were found.*--device cpu") as caught:
        cluster.tower_devices(3, device)
    assert "\n" not in str(caught.value)


# A machine with a card of which TensorFlow sees nothing.
CARD = Machine(device_files=("/dev/nvidia0",), missing_libraries=("libcudnn.so.9",))


def test_a_gpu_that_tensorflow_does_not_see_stops_the_run(gpus):
    gpus(0)
    words = "/dev/nvidia0 .*TensorFlow sees none: .*libcudnn.so.9.*extra gpu.*; or add --device cpu"
    with pytest.raises(DeviceError, match=words) as caught:
        cluster.tower_devices(1, "auto", CARD)
    assert "\n" not in str(caught.value)


def test_evaluation_stops_for_it_too(gpus, monkeypatch):
    gpus(0)
    monkeypatch.setattr(cluster, "this_machine", lambda: CARD)
    with pytest.raises(DeviceError, match="/dev/nvidia0"):
        cluster.evaluation_devices(2)
    assert cluster.evaluation_devices(2, "cpu") == ["/device:CPU:0"]


def test_cpus_are_used_where_that_is_asked_for(gpus):
    gpus(0)
    assert cluster.tower_devices(2, "cpu", CARD) == ["/device:CPU:0", "/device:CPU:1"]
    hidden = dataclasses.replace(CARD, visible="-1")
    assert cluster.tower_devices(1, "auto", hidden) == ["/device:CPU:0"]
    gpus(2)
    assert cluster.tower_devices(2, "cpu") == ["/device:CPU:0", "/device:CPU:1"]
    assert cluster.evaluation_devices(2, "cpu") == ["/device:CPU:0"]


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (Machine(), "no NVIDIA device"),
        (CARD, "libcudnn.so.9"),
        (dataclasses.replace(CARD, visible=""), "CUDA_VISIBLE_DEVICES='' hides"),
    ],
)
def test_gpus_that_are_asked_for_and_not_there(gpus, machine, words):
    gpus(0)
    with pytest.raises(DeviceError, match=f"--device gpu finds no GPU: .*{words}"):
        cluster.tower_devices(1, "gpu", machine)


def test_runs_with_gpus_are_scored_on_them(gpus):
    gpus(3)
    for device in ("auto", "gpu"):
        assert cluster.evaluation_devices(2, device) == ["/device:GPU:0", "/device:GPU:1"]


@pytest.mark.parametrize(
    ("devices", "device", "machine", "words"),
    [
        (["/device:GPU:0", "/device:GPU:1"], "auto", CARD, "^/device:GPU:0, /device:GPU:1$"),
        (["/device:CPU:0"], "auto", Machine(), "^/device:CPU:0 .*no GPU was found: this machine has no NVIDIA device"),
        (["/device:CPU:0"], "cpu", CARD, "^/device:CPU:0 .*--device cpu"),
        (["/device:CPU:0"], "auto", dataclasses.replace(CARD, visible="-1"), "CUDA_VISIBLE_DEVICES='-1' hides"),
    ],
)
def test_why_the_devices_are_cpus_is_said(devices, device, machine, words):
    assert re.search(words, cluster.devices_in_words(devices, device, machine))


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
    words = rf"^{devices[-1]} is missing; the session has only /device:CPU:0: lower --gpu_num"
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


def test_soft_placement_only_with_gpus():
    on_cpu = cluster.session_config(["/device:CPU:0"])
    assert on_cpu.allow_soft_placement is False
    assert on_cpu.device_count["GPU"] == 0  # with --device cpu on a machine that has some
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
