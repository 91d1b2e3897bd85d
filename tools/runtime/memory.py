"""Measures and frees the memory of the process and its GPUs."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from collections.abc import Callable, Sequence

import tensorflow.compat.v1 as tf

from database.regular_files import writable_file

_STATUS = "/proc/self/status"
_CLEAR = "/proc/self/clear_refs"
_CLEAR_PEAK = "5"
_HOST = "CPU:0"


def _status(key: str) -> int | None:
    """Returns the bytes in a line of /proc/self/status; None without such a line."""
    try:
        with open(_STATUS, encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines[key].split()[0]) * 1024
    except (OSError, KeyError):
        return None


def peak_resident_bytes() -> int:
    """Returns the peak memory of the process in bytes, since its start or the last `forget_peak`."""
    peak = _status("VmHWM")
    if peak is not None:
        return peak
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak() -> int:
    """Resets the peak memory of the process, if the system can.

    Returns:
        The new peak, bytes.
    """
    try:
        with open(_CLEAR, "w", encoding="ascii", opener=writable_file) as file:
            file.write(_CLEAR_PEAK)
    except OSError:
        pass
    return peak_resident_bytes()


def free_closed_sessions() -> None:
    """Frees the graphs, sessions and weights of closed networks that are no longer referenced.

    They form reference cycles of few Python objects, so that the garbage collector would free them only after several
    more networks have been built.
    """
    gc.collect()
    return_free_memory()


def return_free_memory() -> None:
    """Returns freed memory to the system, if the C library keeps it (glibc).

    glibc keeps memory that many threads freed in pieces while a later piece of the same region is in use.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def tensor_bytes(device: str) -> dict[str, int] | None:
    """Returns the tensor bytes of a device's allocator: `current`, and `peak` since the last reset.

    Logical CPU devices share an allocator. None if the allocator has no statistics, as on CPUs without oneDNN.

    Args:
        device: e.g. `GPU:0`.
    """
    try:
        return tf.config.experimental.get_memory_info(device)
    except ValueError:
        return None


def peak_bytes_of_call(function: Callable[[], object]) -> int:
    """Measures the host memory of a call in bytes: its peak above the memory in use before it.

    Counts tensors; if the allocator has no statistics, all memory of the process.

    Args:
        function: was called before, so that memory which its first call allocates permanently is not counted.
    """
    if tensor_bytes(_HOST) is None:
        before = forget_peak()
        function()
        return peak_resident_bytes() - before
    tf.config.experimental.reset_memory_stats(_HOST)
    before = tf.config.experimental.get_memory_info(_HOST)["current"]
    function()
    return tf.config.experimental.get_memory_info(_HOST)["peak"] - before


def peak_memory(devices: Sequence[str]) -> dict[str, int]:
    """Returns peak memory in bytes: of the process as `process`, and of tensors on `CPU:0` and each GPU of the devices.

    Devices whose allocator has no statistics are skipped.

    Args:
        devices: of a session, e.g. `/device:GPU:0`.
    """
    peaks = {"process": peak_resident_bytes()}
    for device in devices:
        name = device.rpartition("device:")[2]
        if name == _HOST or name.startswith("GPU:"):
            account = tensor_bytes(name)
            if account is not None:
                peaks[name] = account["peak"]
    return peaks
