"""Devices of towers, and sessions on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow
import tensorflow.compat.v1 as tf

from tools.errors import DeviceError
from tools.runtime.gpu_presence import Machine, this_machine, why_no_gpu

CPU = "/device:CPU:0"


def tower_devices(num_towers: int, device: str = "auto", machine: Machine | None = None) -> list[str]:
    """Returns the device of each tower: GPUs if the machine has any, otherwise logical CPU devices.

    Args:
        num_towers: number of towers.
        device: `auto`, `cpu` for CPU devices on any machine, or `gpu` for GPUs only.
        machine: description of GPUs that TensorFlow does not see; by default of this machine.

    Raises:
        DeviceError: there are GPUs, but fewer than `num_towers`; or TensorFlow does not see an NVIDIA device that
            CUDA_VISIBLE_DEVICES does not hide; or `gpu` without GPUs.
    """
    if device == "cpu":
        return _cpu_devices(num_towers)
    num_gpus = _number_of_gpus()
    if num_gpus >= num_towers:
        return [f"/device:GPU:{index}" for index in range(num_towers)]
    if num_gpus:
        raise DeviceError(
            f"--gpu_num {num_towers} asks for {num_towers} GPUs and {num_gpus} were found: lower --gpu_num, make more "
            "visible with CUDA_VISIBLE_DEVICES, or add --device cpu"
        )
    machine = machine or this_machine()
    if device == "gpu":
        raise DeviceError(f"--device gpu finds no GPU: {why_no_gpu(machine)}; without --device gpu, the CPU is used")
    if machine.device_files and not machine.hides_gpus:
        raise DeviceError(
            f"{machine.device_files[0]} shows an NVIDIA GPU and TensorFlow sees none: {why_no_gpu(machine)}; or add "
            "--device cpu (in every program: CUDA_VISIBLE_DEVICES=-1) to compute on CPUs"
        )
    return _cpu_devices(num_towers)


def _cpu_devices(number: int) -> list[str]:
    return [f"/device:CPU:{index}" for index in range(number)]


def _number_of_gpus() -> int:
    return len(tf.config.list_physical_devices("GPU"))


def evaluation_devices(num_towers: int, device: str = "auto") -> list[str]:
    """Returns the devices on which a run scores its snapshots: its GPUs, or one CPU device, which uses all cores.

    Args:
        num_towers: number of towers of the run.
        device: see `tower_devices`.

    Raises:
        DeviceError: see `tower_devices`.
    """
    return tower_devices(1 if device == "cpu" or not _number_of_gpus() else num_towers, device)


def require_determinism(devices: Sequence[str]) -> None:
    """Makes every operation of this process bitwise reproducible, or fail (CPU only). This cannot be undone.

    No other switch is needed: `session_config` disables the rewriting that sums gradients in the order of their
    arrival, and every random choice is a function of the seed and the number of the sample.

    Args:
        devices: of the towers, from `tower_devices`.

    Raises:
        DeviceError: one of them is a GPU, where reproducibility was never tested.
    """
    if any("GPU" in device for device in devices):
        raise DeviceError(
            f"--deterministic 1 is only supported on CPUs, and {devices[0]} is a GPU: drop it, or add --device cpu"
        )
    tensorflow.config.experimental.enable_op_determinism()  # not in compat.v1


def devices_in_words(devices: Sequence[str], device: str = "auto", machine: Machine | None = None) -> str:
    """Formats the devices of the towers, with the reason if they are CPUs.

    Args:
        devices, device, machine: see `tower_devices`.
    """
    names = ", ".join(devices)
    if any("GPU" in name for name in devices):
        return names
    reason = "--device cpu" if device == "cpu" else f"no GPU was found: {why_no_gpu(machine or this_machine())}"
    return f"{names} (logical CPU devices; {reason})"


# Rewrites that only copy the weights of a graph with constant weights, hundreds of megabytes, many times. Fusing
# convolutions with the operations after them, and their layout for the device, stay enabled.
_REWRITES_OF_NO_USE_TO_CONSTANTS = (
    "arithmetic_optimization",
    "common_subgraph_elimination",
    "constant_folding",
    "dependency_optimization",
    "function_optimization",
    "implementation_selector",
    "loop_optimization",
    "shape_optimization",
)


def session_config(devices: list[str], *, weights_are_constants: bool = False) -> tf.ConfigProto:
    """Returns a configuration that keeps operations on their devices, with bitwise-reproducible results on the CPU.

    Soft placement is enabled only with GPUs, whose presence `open_session` checks: it moves the few operations without
    a GPU kernel to the CPU. Without GPUs it would move a tower silently, and is disabled; GPUs that the machine has are
    then hidden from the session, and none of their memory is allocated.

    The memory optimizer is disabled on all devices, because it turns sums of gradients into accumulations in the order
    of arrival. On GPUs this is not sufficient for equal runs: cuDNN's filter gradients also add in any order.

    Args:
        devices: of the towers, from `tower_devices`.
        weights_are_constants: apply only the rewrites that are worth a copy of all weights.
    """
    has_gpus = any("GPU" in device for device in devices)
    config = tf.ConfigProto(allow_soft_placement=has_gpus)
    config.gpu_options.allow_growth = True
    if not has_gpus:
        config.device_count["GPU"] = 0
        config.device_count["CPU"] = 1 + max(tf.DeviceSpec.from_string(device).device_index for device in devices)
    rewriting = config.graph_options.rewrite_options
    rewriting.memory_optimization = rewriting.NO_MEM_OPT
    if weights_are_constants:
        rewriting.meta_optimizer_iterations = rewriting.ONE
        config.graph_options.optimizer_options.opt_level = tf.OptimizerOptions.L0
        for rewrite in _REWRITES_OF_NO_USE_TO_CONSTANTS:
            setattr(rewriting, rewrite, rewriting.OFF)
    return config


@dataclass(frozen=True)
class SessionServer:
    """The server of a host that trains together with others.

    Attributes:
        server: runs until the process ends.
        config: of the server and its sessions.
    """

    server: tf.distribute.Server
    config: tf.ConfigProto

    @property
    def target(self) -> str:
        """Returns the address for sessions of this process."""
        return self.server.target


def open_session(
    graph: tf.Graph,
    devices: list[str],
    *,
    weights_are_constants: bool = False,
    server: SessionServer | None = None,
) -> tf.Session:
    """Opens a session on a graph, with every device of its towers; close it after use.

    Args:
        graph: to run.
        devices: of the towers, from `tower_devices`.
        weights_are_constants: see `session_config`.
        server: of a graph with collectives between hosts; None for a session that other processes cannot reach.

    Raises:
        DeviceError: TensorFlow could not set up one of the devices.
    """
    if server is None:
        session = tf.Session(graph=graph, config=session_config(devices, weights_are_constants=weights_are_constants))
    else:
        session = tf.Session(server.target, graph=graph, config=server.config)
    found = [device.name[device.name.index("/device:") :] for device in session.list_devices()]
    missing = [device for device in devices if device not in found]
    if missing:
        session.close()
        raise DeviceError(
            f"{missing[0]} is missing; the session has only {', '.join(found)}: lower --gpu_num, or find out "
            "why TensorFlow cannot use the device (its driver, CUDA_VISIBLE_DEVICES)"
        )
    return session
