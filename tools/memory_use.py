"""How much memory the process and its GPUs have needed."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence

import tensorflow.compat.v1 as tf

_STATUS = "/proc/self/status"
_CLEAR = "/proc/self/clear_refs"
_CLEAR_PEAK = "5"


def _status(key: str) -> int | None:
    """Bytes of a line of Linux's account of the process, None where there is none."""
    try:
        with open(_STATUS, encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines[key].split()[0]) * 1024
    except (OSError, KeyError):
        return None


def peak_resident_bytes() -> int:
    """The most memory the process has had at once, since its start or the last `forget_peak`."""
    peak = _status("VmHWM")
    if peak is not None:
        return peak
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak() -> int:
    """Lets the account of the peak begin anew, where the system can.

    Returns:
        Bytes: the peak from now on.
    """
    try:
        with open(_CLEAR, "w", encoding="ascii") as file:
            file.write(_CLEAR_PEAK)
    except OSError:
        pass
    return peak_resident_bytes()


def peak_memory(devices: Sequence[str]) -> dict[str, int]:
    """Bytes at the peak: of the process as `host`, and of each GPU among the devices by its name.

    Args:
        devices: of the towers, e.g. `/device:GPU:0`.
    """
    peaks = {"host": peak_resident_bytes()}
    for device in devices:
        if ":GPU:" in device:
            name = device.rpartition("device:")[2]
            peaks[name] = tf.config.experimental.get_memory_info(name)["peak"]
    return peaks
