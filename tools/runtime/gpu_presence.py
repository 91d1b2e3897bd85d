"""Detects NVIDIA GPUs, and the reason why TensorFlow does not see them."""

from __future__ import annotations

import glob
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow.compat.v1 as tf

_DEVICE_FILES = ("/dev/nvidia[0-9]*", "/dev/nvidiactl")
# Windows' subsystem for Linux shows any GPU as this file, and provides the library if the GPU is NVIDIA's.
_WINDOWS_DEVICE, _WINDOWS_LIBRARY = "/dev/dxg", "/usr/lib/wsl/lib/libcuda.so.1"
_DRIVER_LIBRARY = "libcuda.so.1"
_LOADER_CACHE = "/etc/ld.so.cache"
_VISIBLE = "CUDA_VISIBLE_DEVICES"

# The libraries of CUDA 12 that TensorFlow loads, by their package in the extra `gpu`.
_CUDA_LIBRARIES = {
    "nvidia.cuda_runtime": "libcudart.so.12",
    "nvidia.cublas": "libcublas.so.12",
    "nvidia.cudnn": "libcudnn.so.9",
    "nvidia.cufft": "libcufft.so.11",
    "nvidia.cusolver": "libcusolver.so.11",
    "nvidia.cusparse": "libcusparse.so.12",
}


@dataclass(frozen=True)
class Machine:
    """Facts about a machine that explain why TensorFlow sees no NVIDIA GPU.

    Attributes:
        device_files: of the driver, e.g. `/dev/nvidia0`; empty on a machine without an NVIDIA GPU.
        forbidden_files: those that this process may not open.
        built_with_cuda: whether TensorFlow was built with CUDA.
        has_driver_library: whether the loader finds `libcuda.so.1`.
        missing_libraries: libraries of CUDA that neither the extra `gpu` nor the system provides.
        visible: the value of CUDA_VISIBLE_DEVICES, None if it is not set.
    """

    device_files: tuple[str, ...] = ()
    forbidden_files: tuple[str, ...] = ()
    built_with_cuda: bool = True
    has_driver_library: bool = True
    missing_libraries: tuple[str, ...] = ()
    visible: str | None = None

    @property
    def hides_gpus(self) -> bool:
        """Whether CUDA_VISIBLE_DEVICES hides all GPUs, as '' and -1 do; CUDA stops at the first invalid name."""
        if self.visible is None:
            return False
        first = self.visible.split(",")[0].strip()
        return not (first.isdecimal() or first.startswith(("GPU-", "MIG-")))


def this_machine() -> Machine:
    """Inspects this machine."""
    files = device_files()
    return Machine(
        device_files=files,
        forbidden_files=tuple(path for path in files if not os.access(path, os.R_OK | os.W_OK)),
        built_with_cuda=tf.test.is_built_with_cuda(),
        has_driver_library=finds_library(_DRIVER_LIBRARY),
        missing_libraries=missing_libraries(_CUDA_LIBRARIES),
        visible=os.environ.get(_VISIBLE),
    )


def device_files(root: str = "/") -> tuple[str, ...]:
    """Returns the device files of NVIDIA's GPUs and their driver, below a root folder."""
    paths = [path for pattern in _DEVICE_FILES for path in sorted(glob.glob(_below(root, pattern)))]
    if os.path.exists(_below(root, _WINDOWS_DEVICE)) and os.path.exists(_below(root, _WINDOWS_LIBRARY)):
        paths.append(_below(root, _WINDOWS_DEVICE))
    return tuple(paths)


def _below(root: str, path: str) -> str:
    return os.path.join(root, path.lstrip("/"))


def missing_libraries(libraries: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the libraries whose Python package is not installed and that the system's loader does not find.

    Args:
        libraries: file name by package.
    """
    return tuple(name for package, name in libraries.items() if not (_is_installed(package) or finds_library(name)))


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # the parent package is missing
        return False


def finds_library(name: str, search_path: str | None = None, cache: str = _LOADER_CACHE) -> bool:
    """Checks whether the system's loader finds a library.

    Args:
        name: e.g. `libcuda.so.1`.
        search_path: folders separated by colons; by default LD_LIBRARY_PATH.
        cache: the loader's list of libraries, names or paths that end in a zero byte.
    """
    folders = os.environ.get("LD_LIBRARY_PATH", "") if search_path is None else search_path
    if any(os.path.exists(os.path.join(folder, name)) for folder in folders.split(":") if folder):
        return True
    try:
        with open(cache, "rb") as file:
            listed = file.read()
    except OSError:
        return False
    return any(before + name.encode() + b"\0" in listed for before in (b"\0", b"/"))


def why_no_gpu(machine: Machine) -> str:
    """Explains why TensorFlow sees no GPU on a machine, and what to do. The text has no full stop."""
    if not machine.device_files:
        return "this machine has no NVIDIA device (/dev/nvidia*)"
    if machine.hides_gpus:
        return f"{_VISIBLE}='{machine.visible}' hides all GPUs"
    if machine.forbidden_files:
        return (
            f"this process may not open {machine.forbidden_files[0]}: have the scheduler give the job a GPU, or the "
            "administrator the permission"
        )
    if not machine.built_with_cuda:
        return "this TensorFlow is built without CUDA: install the extra gpu (make setup EXTRAS=dev,gpu)"
    if not machine.has_driver_library:
        return (
            f"the driver's library {_DRIVER_LIBRARY} is not found: install NVIDIA's driver, or start the container "
            "with --gpus all"
        )
    if machine.missing_libraries:
        return (
            f"the CUDA libraries are not found ({', '.join(machine.missing_libraries)}): install the extra gpu "
            "(make setup EXTRAS=dev,gpu)"
        )
    if machine.visible is not None:
        return f"{_VISIBLE}='{machine.visible}' may name no GPU of this machine: compare it with nvidia-smi -L"
    return "NVIDIA's driver does not answer or is too old: see nvidia-smi, and the log lines of TensorFlow above"
