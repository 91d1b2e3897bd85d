"""How much memory the process and its GPUs have needed."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from collections.abc import Callable, Sequence

import tensorflow.compat.v1 as tf

_STATUS = "/proc/self/status"
_CLEAR = "/proc/self/clear_refs"
_CLEAR_PEAK = "5"
_HOST = "CPU:0"


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
    """Lets the account of the process's peak begin anew, where the system can.

    Returns:
        Bytes: the peak from now on.
    """
    try:
        with open(_CLEAR, "w", encoding="ascii") as file:
            file.write(_CLEAR_PEAK)
    except OSError:
        pass
    return peak_resident_bytes()


def free_closed_sessions() -> None:
    """Frees the graphs, sessions and weights of networks that are closed and that nothing refers to any more.

    They refer to each other in circles and are few objects of Python, so that its collector comes to them only after
    several more networks have been built.
    """
    gc.collect()
    return_free_memory()


def return_free_memory() -> None:
    """Gives memory that was freed back to the system, where the C library is one that otherwise keeps it (glibc).

    It keeps what many threads have freed in pieces, for as long as a later piece of the same region is in use.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def tensor_bytes(device: str) -> dict[str, int] | None:
    """Bytes of tensors by the account of a device's allocator: `current`, and `peak` since it was last forgotten.

    Logical CPU devices share an allocator. None where it keeps no account, as that of CPUs without oneDNN.

    Args:
        device: e.g. `GPU:0`.
    """
    try:
        return tf.config.experimental.get_memory_info(device)
    except ValueError:
        return None


def peak_bytes_of_call(function: Callable[[], object]) -> int:
    """Memory that a call needs on the host while it runs, above what is in use before and after.

    Counts tensors; where there is no account of them, all memory of the process.

    Args:
        function: has been called before, so that what a first call leaves behind is there.
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
    """Bytes at the peak: of the process as `process`, and of the tensors on `CPU:0` and each GPU among the devices.

    Devices whose allocator keeps no account are left out.

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
