"""Weight files as flat dictionaries of arrays, and files that are refused; PyTorch's are in tests/parity."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tools.convert.files import read_weights
from tools.errors import WeightFileError


def save(path, content) -> str:
    np.save(path, content, allow_pickle=True)
    return str(path)


def test_nested_dictionaries_and_lists(tmp_path):
    content = {
        "conv1": {"weights": np.ones((1, 2)), "name": "text"},
        "fc": [np.zeros(3, np.float16), 2.5],
        "count": np.int64(7),
    }
    weights = read_weights(save(tmp_path / "w.npy", content))
    assert {name: array.shape for name, array in weights.items()} == {
        "conv1/weights": (1, 2), "fc/0": (3,), "fc/1": (), "count": (),
    }  # fmt: skip
    assert weights["conv1/weights"].dtype == weights["fc/0"].dtype == weights["fc/1"].dtype == np.float32
    assert weights["count"].dtype == np.int64
    assert weights["fc/1"] == 2.5


def test_prefix_of_data_parallel(tmp_path):
    path = save(tmp_path / "w.npy", {"module.conv1.weight": np.ones(1), "module.module.bias": np.ones(1)})
    assert set(read_weights(path)) == {"conv1.weight", "module.bias"}
    path = save(tmp_path / "w.npy", {"module.conv1.weight": np.ones(1), "bias": np.ones(1)})
    assert set(read_weights(path)) == {"module.conv1.weight", "bias"}


@pytest.mark.parametrize("name", ["weights.h5", "weights", "model.ckpt", "weights.caffemodel"])
def test_other_kinds_of_files(tmp_path, name):
    with pytest.raises(WeightFileError, match=r"expected a file that ends in \.pth, .*\.safetensors, \.npy"):
        read_weights(str(tmp_path / name))


@pytest.mark.parametrize("name", ["weights.npy", "weights.pth", "weights.safetensors"])
def test_missing_file(tmp_path, name):
    with pytest.raises(WeightFileError, match=f"{name}: the file does not exist"):
        read_weights(str(tmp_path / name))


def test_nothing_but_text(tmp_path):
    with pytest.raises(WeightFileError, match="w.npy: found no tensors"):
        read_weights(save(tmp_path / "w.npy", {"a": "text", "b": {"c": []}}))


def test_file_that_is_no_dictionary(tmp_path):
    with pytest.raises(WeightFileError, match="w.npy: holds an array of float32, expected a dictionary"):
        read_weights(save(tmp_path / "w.npy", np.ones(2, np.float32)))


@pytest.mark.parametrize(("name", "package"), [("w.pth", "torch"), ("w.pt", "torch"), ("w.safetensors", "safetensors")])
def test_package_that_is_not_installed(tmp_path, monkeypatch, name, package):
    (tmp_path / name).write_bytes(b"1234")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(WeightFileError, match=rf"{name}: .*the package {package} .*: install the extra `convert`$"):
        read_weights(str(tmp_path / name))
