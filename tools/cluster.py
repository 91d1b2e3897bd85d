"""Tower devices, session configuration, and whether the processor's fast paths can be trusted."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import tensorflow.compat.v1 as tf

logger = logging.getLogger(__name__)

CPU = "/device:CPU:0"

# oneDNN's own switch, and the widest instruction set without AMX tiles.
_ISA_VARIABLE = "ONEDNN_MAX_CPU_ISA"
_WITHOUT_AMX = "AVX512_CORE_FP16"
_AMX_FLAG = "amx_bf16"
_PROBE = (
    "import tensorflow.compat.v1 as tf\n"
    "with tf.Graph().as_default(), tf.Session() as session:\n"
    "    x = tf.cast(tf.random.normal([64, 64]), tf.bfloat16)\n"
    "    session.run(tf.matmul(x, x))\n"
)


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


def session_config(devices: list[str]) -> tf.ConfigProto:
    """A configuration under which an operation runs where it was placed, and on the CPU to the same bits every time.

    Soft placement is on with GPUs only, whose presence `open_session` checks: it moves to the CPU the few
    operations that have no GPU kernel. Without GPUs it would move a tower silently, and is off.

    The memory optimizer is off on any device, because it turns sums of gradients into accumulations in the order of
    arrival. On GPUs that alone does not make runs equal: cuDNN's gradients of filters add in any order too.
    """
    has_gpus = any("GPU" in device for device in devices)
    config = tf.ConfigProto(allow_soft_placement=has_gpus)
    config.gpu_options.allow_growth = True
    if not has_gpus:
        config.device_count["CPU"] = len(devices)
    config.graph_options.rewrite_options.memory_optimization = config.graph_options.rewrite_options.NO_MEM_OPT
    return config


def open_session(graph: tf.Graph, devices: list[str]) -> tf.Session:
    """A session on a graph, with every device that its towers were placed on; close it after use.

    Args:
        graph: to run.
        devices: of the towers, from `tower_devices`.

    Raises:
        DeviceError: TensorFlow could not set up one of the devices.
    """
    session = tf.Session(graph=graph, config=session_config(devices))
    found = [device.name[device.name.index("/device:") :] for device in session.list_devices()]
    missing = [device for device in devices if device not in found]
    if missing:
        session.close()
        raise DeviceError(
            f"{missing[0]} was asked for and the session has only {', '.join(found)}: lower --gpu_num, or find out "
            "why TensorFlow cannot use the device (its driver, CUDA_VISIBLE_DEVICES)"
        )
    return session


def avoid_faulty_amx() -> bool:
    """Turns AMX off in this process where the processor announces it but cannot run it.

    Some virtual machines pass the AMX feature bits on and hide the tile sizes; oneDNN's half-precision matrix
    products then end the process with SIGILL. A child process finds out. Call before the first operation runs
    in half precision.

    Returns:
        Whether AMX was turned off.
    """
    if _ISA_VARIABLE in os.environ or not _announces_amx():
        return False
    probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, check=False)
    if probe.returncode >= 0:
        return False
    os.environ[_ISA_VARIABLE] = _WITHOUT_AMX
    logger.warning(
        "this machine announces AMX and cannot run it: half precision runs without (%s=%s)",
        _ISA_VARIABLE,
        _WITHOUT_AMX,
    )
    return True


def _announces_amx() -> bool:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as cpuinfo:
            return _AMX_FLAG in cpuinfo.read()
    except OSError:
        return False
