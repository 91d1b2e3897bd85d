"""Weight files that PyTorch and safetensors wrote."""

from __future__ import annotations

import os
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tools.convert.files import read_weights
from tools.errors import WeightFileError

TENSORS = OrderedDict(
    weight=torch.arange(6.0).reshape(2, 3),
    half=torch.tensor([0.5, -2.0], dtype=torch.float16),
    bfloat=torch.tensor([0.5, -2.0], dtype=torch.bfloat16),
    double=torch.tensor([0.1], dtype=torch.float64),
    count=torch.tensor(7),
)


def assert_same(weights):
    assert set(weights) == set(TENSORS)
    for name, tensor in TENSORS.items():
        expected = tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy()
        assert weights[name].dtype == expected.dtype
        np.testing.assert_array_equal(weights[name], expected)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("ending", ["pth", "pt", "bin"])
def test_state_dict(tmp_path, ending, legacy):
    path = tmp_path / f"model.{ending}"
    torch.save(TENSORS, path, _use_new_zipfile_serialization=not legacy)
    assert_same(read_weights(str(path)))


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net"])
def test_state_dict_in_a_training_checkpoint(tmp_path, key):
    torch.save({"epoch": 3, "optimizer": {"lr": torch.ones(1)}, key: TENSORS, "meta": {}}, tmp_path / "model.pth")
    assert_same(read_weights(str(tmp_path / "model.pth")))


def test_state_dict_of_data_parallel(tmp_path):
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in TENSORS.items()}}, tmp_path / "model.pth")
    assert_same(read_weights(str(tmp_path / "model.pth")))


def test_parameters_keep_no_graph(tmp_path):
    torch.save({"weight": torch.nn.Parameter(torch.ones(2))}, tmp_path / "model.pth")
    np.testing.assert_array_equal(read_weights(str(tmp_path / "model.pth"))["weight"], [1, 1])


def test_safetensors(tmp_path):
    save_file(TENSORS, tmp_path / "model.safetensors")
    assert_same(read_weights(str(tmp_path / "model.safetensors")))


@pytest.mark.parametrize("name", ["model.safetensors", "model.pth"])
def test_pytorch_is_not_needed(tmp_path, monkeypatch, name):
    save = save_file if name == "model.safetensors" else torch.save
    save(TENSORS, tmp_path / name)
    monkeypatch.delitem(sys.modules, "safetensors.torch")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert_same(read_weights(str(tmp_path / name)))


def test_safetensors_of_other_types(tmp_path):
    save_file({"a": torch.ones(2, dtype=torch.float8_e4m3fn)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightFileError, match="model.safetensors: the tensor 'a' is of the type F8_E4M3, expected one"):
        read_weights(str(tmp_path / "model.safetensors"))


class _Calls:
    def __init__(self, function, *arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call


@pytest.mark.parametrize("legacy", [False, True])
def test_call_is_skipped_and_not_made(tmp_path, legacy):
    mark, path = tmp_path / "was here", tmp_path / "model.pth"
    content = {"weight": torch.ones(1), "more": _Calls(os.mkdir, str(mark))}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    assert read_weights(str(path))["weight"].tolist() == [1]
    assert not mark.exists()


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("legacy", [False, True])
def test_whole_module_is_refused(tmp_path, legacy):
    torch.save(torch.nn.Conv2d(1, 1, 1), tmp_path / "model.pth", _use_new_zipfile_serialization=not legacy)
    words = (
        r"model.pth: found an object of the class torch.nn.modules.conv.Conv2d, .*torch.save\(network.state_dict\(\)"
    )
    with pytest.raises(WeightFileError, match=words):
        read_weights(str(tmp_path / "model.pth"))


@pytest.mark.parametrize(("content", "kind"), [(torch.ones(1), "Tensor"), ([torch.ones(1)], "list")])
def test_no_state_dict(tmp_path, content, kind):
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(WeightFileError, match=f"model.pth: found a {kind}, expected a state_dict"):
        read_weights(str(tmp_path / "model.pth"))


def test_state_dict_without_tensors(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "model.pth")
    with pytest.raises(WeightFileError, match="model.pth: found no tensors"):
        read_weights(str(tmp_path / "model.pth"))


@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights", b"\x00" * 200, b"PK\x03\x04" + b"\x00" * 50])
def test_damaged_file(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    # Of some kinds it is said what they are, by their first bytes.
    known = {b"": "this is an empty file", b"PK": "this is an archive"}
    words = f"{name}: {known.get(content[:2], 'not a .* that can be read')}"
    with pytest.raises(WeightFileError, match=words) as caught:
        read_weights(str(tmp_path / name))
    assert "\n" not in str(caught.value)
