"""Tower devices, and sessions that have them."""

from __future__ import annotations

import logging

import tensorflow.compat.v1 as tf

logger = logging.getLogger(__name__)

CPU = "/device:CPU:0"


class DeviceError(ValueError):
    """The machine does not have the devices asked for."""


def tower_devices(num_towers: int) -> list[str]:
    """The device of each tower: GPUs on a machine that has any, logical CPU devices on one that has none.

    Raises:
        DeviceError: a machine with GPUs, but fewer than `num_towers`.
    """
    num_gpus = len(tf.config.list_physical_devices("GPU"))
    if num_gpus >= num_towers:
        return [f"/device:GPU:{index}" for index in range(num_towers)]
    if num_gpus:
        raise DeviceError(
            f"--gpu_num {num_towers} asks for {num_towers} GPUs and {num_gpus} were found: lower --gpu_num, or make "
            "more visible with CUDA_VISIBLE_DEVICES"
        )
    logger.info("no GPU was found: %d tower(s) on %d logical CPU device(s)", num_towers, num_towers)
    return [f"/device:CPU:{index}" for index in range(num_towers)]


def evaluation_devices(num_towers: int) -> list[str]:
    """The devices on which a run with so many towers scores its snapshots: its GPUs, or one CPU, which has all cores.

    Raises:
        DeviceError: see `tower_devices`.
    """
    return tower_devices(num_towers if tf.config.list_physical_devices("GPU") else 1)


# Rewrites of a graph that do nothing for one whose weights are constants but copy them, hundreds of megabytes, again
# and again. Fusing convolutions with what follows them and laying them out for the device stay.
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
    """A configuration under which an operation runs where it was placed, and on the CPU to the same bits every time.

    Soft placement is on with GPUs only, whose presence `open_session` checks: it moves to the CPU the few
    operations that have no GPU kernel. Without GPUs it would move a tower silently, and is off.

    The memory optimizer is off on any device, because it turns sums of gradients into accumulations in the order of
    arrival. On GPUs that alone does not make runs equal: cuDNN's gradients of filters add in any order too.

    Args:
        devices: of the towers, from `tower_devices`.
        weights_are_constants: rewrite the graph only where that is worth a copy of all weights.
    """
    has_gpus = any("GPU" in device for device in devices)
    config = tf.ConfigProto(allow_soft_placement=has_gpus)
    config.gpu_options.allow_growth = True
    if not has_gpus:
        config.device_count["CPU"] = 1 + max(tf.DeviceSpec.from_string(device).device_index for device in devices)
    rewriting = config.graph_options.rewrite_options
    rewriting.memory_optimization = rewriting.NO_MEM_OPT
    if weights_are_constants:
        rewriting.meta_optimizer_iterations = rewriting.ONE
        config.graph_options.optimizer_options.opt_level = tf.OptimizerOptions.L0
        for rewrite in _REWRITES_OF_NO_USE_TO_CONSTANTS:
            setattr(rewriting, rewrite, rewriting.OFF)
    return config


def open_session(graph: tf.Graph, devices: list[str], *, weights_are_constants: bool = False) -> tf.Session:
    """A session on a graph, with every device that its towers were placed on; close it after use.

    Args:
        graph: to run.
        devices: of the towers, from `tower_devices`.
        weights_are_constants: see `session_config`.

    Raises:
        DeviceError: TensorFlow could not set up one of the devices.
    """
    session = tf.Session(graph=graph, config=session_config(devices, weights_are_constants=weights_are_constants))
    found = [device.name[device.name.index("/device:") :] for device in session.list_devices()]
    missing = [device for device in devices if device not in found]
    if missing:
        session.close()
        raise DeviceError(
            f"{missing[0]} was asked for and the session has only {', '.join(found)}: lower --gpu_num, or find out "
            "why TensorFlow cannot use the device (its driver, CUDA_VISIBLE_DEVICES)"
        )
    return session
