"""What is said of a machine on which TensorFlow sees no GPU."""

from __future__ import annotations

import os

import pytest
import tensorflow.compat.v1 as tf
from hypothesis import given
from hypothesis import strategies as st

from tools.runtime import gpu_presence
from tools.runtime.gpu_presence import Machine, device_files, finds_library, missing_libraries, this_machine, why_no_gpu

CARD = ("/dev/nvidia0", "/dev/nvidiactl")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"device_files": ()}, "no NVIDIA device"),
        ({"visible": "-1"}, "CUDA_VISIBLE_DEVICES='-1' hides all GPUs"),
        ({"visible": ""}, "CUDA_VISIBLE_DEVICES='' hides all GPUs"),
        ({"forbidden_files": CARD[:1], "has_driver_library": False}, "may not open /dev/nvidia0"),
        ({"built_with_cuda": False, "missing_libraries": ("libcudnn.so.9",)}, "built without CUDA: .* extra gpu"),
        ({"has_driver_library": False, "missing_libraries": ("libcudnn.so.9",)}, "libcuda.so.1 .*driver.*--gpus all"),
        ({"missing_libraries": ("libcudnn.so.9",)}, r"\(libcudnn.so.9\): install the extra gpu \(make setup EXTRAS="),
        ({"visible": "7"}, "CUDA_VISIBLE_DEVICES='7' may name no GPU"),
        ({}, "driver .*nvidia-smi"),
    ],
)
def test_the_first_thing_that_is_missing_is_named(found, words):
    with pytest.raises(ValueError, match=words):
        raise ValueError(why_no_gpu(Machine(**{"device_files": CARD, **found})))


@pytest.mark.parametrize("visible", ["", " ", "-1", "-1,0", "NoDevFiles", "none", "void", "x"])
def test_values_that_hide_all_gpus(visible):
    assert Machine(visible=visible).hides_gpus


@pytest.mark.parametrize("visible", [None, "0", "1,0", " 0", "0,-1", "GPU-8932f937", "MIG-GPU-1/0/0"])
def test_values_that_do_not(visible):
    assert not Machine(visible=visible).hides_gpus


@given(st.text())
def test_any_value_is_understood(visible):
    assert why_no_gpu(Machine(device_files=CARD, visible=visible))


def made(root, *paths):
    for path in paths:
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")


def test_device_files_are_found(tmp_path):
    assert device_files(str(tmp_path)) == ()
    made(tmp_path, "/dev/nvidia1", "/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-caps/x")
    assert device_files(str(tmp_path)) == tuple(
        str(tmp_path / "dev" / name) for name in ("nvidia0", "nvidia1", "nvidiactl")
    )


def test_windows_shows_any_gpu_as_one_file(tmp_path):
    made(tmp_path, "/dev/dxg")
    assert device_files(str(tmp_path)) == ()
    made(tmp_path, "/usr/lib/wsl/lib/libcuda.so.1")
    assert device_files(str(tmp_path)) == (str(tmp_path / "dev" / "dxg"),)


def test_libraries_are_those_of_packages_or_of_the_system():
    libraries = {"no.such.package": "libno_such.so.1", "json.decoder": "libno_such.so.2"}
    assert missing_libraries(libraries) == ("libno_such.so.1",)


def test_where_the_loader_looks(tmp_path):
    made(tmp_path, "/lib/libcuda.so.1")
    cache = tmp_path / "ld.so.cache"
    cache.write_bytes(b"glibc-ld.so.cache1.1\0libcudnn.so.9\0/usr/lib/libcudnn.so.9\0libcublasLt.so.12\0/l/libz.so.1\0")
    places = {"search_path": f":{tmp_path / 'no'}:{tmp_path / 'lib'}", "cache": str(cache)}
    found = {
        name: finds_library(name, **places)
        for name in ("libcuda.so.1", "libcudnn.so.9", "libz.so.1", "libcudnn.so", "z.so.1")
    }
    assert [name for name, is_there in found.items() if is_there] == ["libcuda.so.1", "libcudnn.so.9", "libz.so.1"]
    assert not finds_library("libcudnn.so.9", "", str(tmp_path / "no such cache"))


def test_this_machine_is_looked_at(monkeypatch):
    files = (os.devnull, "/dev/no_such_nvidia")
    monkeypatch.setattr(gpu_presence, "device_files", lambda: files)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    machine = this_machine()
    assert (machine.device_files, machine.forbidden_files, machine.visible) == (files, files[1:], "3")
    assert machine.built_with_cuda == tf.test.is_built_with_cuda()
