"""Weight files as flat dictionaries of arrays, and files that are refused; PyTorch's are in tests/parity."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tests.tools.convert.pytorch_files import of_array, pickled, write, zip_bytes
from tools.convert import files
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


@pytest.mark.parametrize("name", ["weights", "model.ckpt", "weights.caffemodel"])
def test_other_kinds_of_files(tmp_path, name):
    with pytest.raises(WeightFileError, match=r"expected a file that ends in \.pth, .*\.safetensors, \.npy"):
        read_weights(str(tmp_path / name))


@pytest.mark.parametrize("name", ["weights.npy", "weights.pth", "weights.safetensors", "weights.h5"])
def test_missing_file(tmp_path, name):
    with pytest.raises(WeightFileError, match=f"{name}: the file does not exist"):
        read_weights(str(tmp_path / name))


def test_nothing_but_text(tmp_path):
    with pytest.raises(WeightFileError, match="w.npy: found no tensors"):
        read_weights(save(tmp_path / "w.npy", {"a": "text", "b": {"c": []}}))


def test_file_that_is_no_dictionary(tmp_path):
    with pytest.raises(WeightFileError, match="w.npy: holds an array of float32, expected a dictionary"):
        read_weights(save(tmp_path / "w.npy", np.ones(2, np.float32)))


def test_package_that_is_not_installed(tmp_path, monkeypatch):
    (tmp_path / "w.safetensors").write_bytes(b"1234")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(WeightFileError, match=r"w.safetensors: .*package safetensors .*: install the extra `convert`$"):
        read_weights(str(tmp_path / "w.safetensors"))


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin"])
def test_pytorch_is_not_needed(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "torch", None)
    numbers = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = write(tmp_path / name, zip_bytes(pickled({"a": of_array(numbers)}), {"0": numbers.tobytes()}))
    np.testing.assert_array_equal(read_weights(path)["a"], numbers)


def repeated(value, times: int, build=lambda value: [value, value]):
    """A value in itself, which a pickle writes once per level."""
    for _ in range(times):
        value = build(value)
    return value


@pytest.mark.parametrize("build", [lambda value: [value, value], lambda value: {"a": value, "b": value}])
def test_a_small_file_of_repeated_lists(tmp_path, build):
    path = save(tmp_path / "w.npy", {"a": repeated([1], 60, build)})
    with pytest.raises(WeightFileError, match="w.npy: repeats lists, more than [0-9]+ values in all"):
        read_weights(path)


def test_lists_that_contain_themselves_or_are_nested_deeply(tmp_path):
    endless: dict = {}
    endless["a"] = endless
    for content in (endless, {"a": repeated(1, 110, lambda value: [value])}):
        with pytest.raises(WeightFileError, match="w.npy: is nested more than 100 levels deep"):
            read_weights(save(tmp_path / "w.npy", content))
    assert list(read_weights(save(tmp_path / "w.npy", {"a": repeated(1, 90, lambda value: [value])})))


def test_one_array_under_many_names(tmp_path):
    array = np.ones(1 << 17, np.float32)
    path = save(tmp_path / "w.npy", {f"a{index}": array for index in range(20)})
    with pytest.raises(WeightFileError, match=r"w.npy: its tensors have 10485760 bytes, .*'a0' of shape \[131072\]"):
        read_weights(path)
    assert len(read_weights(save(tmp_path / "w.npy", {f"a{index}": array for index in range(12)}))) == 12


def test_names_and_their_number_have_limits(tmp_path, monkeypatch):
    with pytest.raises(WeightFileError, match="w.npy: the name 'x{100}...' has 501 characters, expected at most 500"):
        read_weights(save(tmp_path / "w.npy", {"x" * 250: {"y" * 250: 1.0}}))
    monkeypatch.setattr(files, "_MOST_TENSORS", 2)
    with pytest.raises(WeightFileError, match="w.npy: holds more than 2 tensors"):
        read_weights(save(tmp_path / "w.npy", {"a": [1.0, 2.0, 3.0]}))


def test_an_integer_that_no_array_holds(tmp_path):
    with pytest.raises(WeightFileError, match="w.npy: holds an integer of more than 64 bits"):
        read_weights(save(tmp_path / "w.npy", {"a": 1 << 64}))
    assert read_weights(save(tmp_path / "w.npy", {"a": (1 << 64) - 1}))["a"] == (1 << 64) - 1


def test_numbers_that_are_too_large_for_float32_are_infinite(tmp_path):
    assert np.isinf(read_weights(save(tmp_path / "w.npy", {"a": np.array([1e300])}))["a"]).all()
