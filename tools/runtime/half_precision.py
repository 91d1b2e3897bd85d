"""Chooses half precision if the hardware supports it, and disables AMX instructions that do not work."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import tensorflow.compat.v1 as tf

logger = logging.getLogger(__name__)

# The first compute capability of NVIDIA's GPUs with bfloat16 multiplication (Ampere).
_FIRST_GPU_WITH_BFLOAT16 = (8, 0)
# Names in Linux of the x86 instructions for it.
_CPU_FLAGS_OF_BFLOAT16 = {"avx512_bf16", "amx_bf16"}

# oneDNN's switch, and the widest instruction set without AMX tiles.
_ISA_VARIABLE = "ONEDNN_MAX_CPU_ISA"
_WITHOUT_AMX = "AVX512_CORE_FP16"
_PROBE = (
    "import tensorflow.compat.v1 as tf\n"
    "with tf.Graph().as_default(), tf.Session() as session:\n"
    "    x = tf.cast(tf.random.normal([64, 64]), tf.bfloat16)\n"
    "    session.run(tf.matmul(x, x))\n"
)


def chosen_float_type(float_type: str, device: str = "auto") -> str:
    """Resolves the precision `auto`: bfloat16 if the hardware multiplies it, otherwise float32.

    Args:
        float_type: `auto`, or a key of `pspnet_mg.FLOAT_TYPES`, which is returned unchanged.
        device: `cpu` computes on the processor even if there are GPUs; see `tools.runtime.devices`.
    """
    if float_type != "auto":
        return float_type
    name, native = _first_device_multiplies_bfloat16(device)
    chosen = "bf16" if native else "32"
    logger.info(
        "--float_type auto: %s, as %s %s bfloat16", chosen, name, "multiplies" if native else "does not multiply"
    )
    return chosen


def _first_device_multiplies_bfloat16(device: str) -> tuple[str, bool]:
    gpus = [] if device == "cpu" else tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        capability = details.get("compute_capability", (0, 0))
        return details.get("device_name", "the GPU"), capability >= _FIRST_GPU_WITH_BFLOAT16
    return "the processor", not _CPU_FLAGS_OF_BFLOAT16.isdisjoint(_cpu_flags())


def avoid_faulty_amx() -> bool:
    """Disables AMX in this process if the processor announces it but cannot run it.

    Some virtual machines pass the AMX feature bits on and hide the tile sizes; oneDNN's half-precision matrix products
    then end the process with SIGILL. A child process tests this. Call before the first operation in half precision.

    Returns:
        Whether AMX was disabled.
    """
    if _ISA_VARIABLE in os.environ or "amx_bf16" not in _cpu_flags():
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


def _cpu_flags() -> set[str]:
    """Reads the flags in /proc/cpuinfo; an empty set if it does not exist."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as cpuinfo:
            return {flag for line in cpuinfo if line.startswith("flags") for flag in line.partition(":")[2].split()}
    except OSError:
        return set()
