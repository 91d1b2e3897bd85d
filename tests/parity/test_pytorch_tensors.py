"""Tensors of PyTorch's files are those that torch.load reads: every type, view and wrapper, in both formats."""

from __future__ import annotations

import argparse
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hostile.pytorch_structures import impossible_file
from tests.tools.convert.pytorch_files import pickled, storage, tensor, write, zip_bytes
from tools.convert.files import read_meta, read_weights
from tools.errors import WeightFileError

LEGACY = pytest.mark.parametrize("legacy", [False, True])
TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
         torch.uint8, torch.bool, torch.complex64, torch.complex128)  # fmt: skip
NEW_TYPES = (torch.uint16, torch.uint32, torch.uint64)


def expected(value: torch.Tensor) -> np.ndarray:
    value = value.detach()
    return (value.float() if value.is_floating_point() else value).numpy()


def saved(path, content, *, legacy: bool = False, **options) -> str:
    torch.save(content, path / "w.pth", _use_new_zipfile_serialization=not legacy, **options)
    return str(path / "w.pth")


def assert_as_pytorch(path: str, count: int, *, weights_only: bool = True) -> None:
    found, loaded = read_weights(path), torch.load(path, weights_only=weights_only)
    assert list(found) == list(loaded)
    assert len(found) == count
    for name, value in loaded.items():
        assert found[name].dtype == expected(value).dtype, name
        assert found[name].dtype.isnative
        np.testing.assert_array_equal(found[name], expected(value), err_msg=name)


def some(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    numbers = torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 50
    return (numbers.abs() if dtype in NEW_TYPES else numbers).to(dtype)


@LEGACY
def test_types(tmp_path, legacy):
    types = TYPES if legacy else TYPES + NEW_TYPES
    content = {str(dtype): some(dtype, 3, 4) for dtype in types}
    content["special"] = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45, 3.4e38])
    content["half of it"] = content["special"].bfloat16()
    assert_as_pytorch(saved(tmp_path, content, legacy=legacy), len(content))


@LEGACY
def test_views(tmp_path, legacy):
    base = some(torch.float32, 4, 3, 5, 6)
    halves = base.bfloat16()
    content = {
        "transposed": base.transpose(0, 2), "channels last": base.contiguous(memory_format=torch.channels_last),
        "part": base[1:3, :, ::2, 1], "no axes": base[0, 0, 0, 3], "empty": base[:0], "empty part": base[:, 3:],
        "expanded": base[:1, :, :, :1].expand(4, 3, 5, 2), "windows": base.flatten().unfold(0, 3, 2), "whole": base,
        "half": halves[1, 1].T, "flipped": base.flip(0), "none": torch.empty(0),
        "diagonal": base[:, :, 2, 2].diagonal(),
    }  # fmt: skip
    assert_as_pytorch(saved(tmp_path, content, legacy=legacy), len(content))


@LEGACY
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_views_at_random(tmp_path_factory, legacy, data):
    dtype = data.draw(st.sampled_from(TYPES))
    shape = data.draw(st.lists(st.integers(0, 4), max_size=5))
    value = some(dtype, *shape) if shape else some(dtype, 1)[0]
    for axis, size in enumerate(shape):
        first = data.draw(st.integers(0, size))
        step = data.draw(st.integers(1, 3))
        value = value[(slice(None),) * axis + (slice(first, data.draw(st.integers(first, size)), step),)]
    value = value.permute(data.draw(st.permutations(range(value.dim()))))
    folder = tmp_path_factory.mktemp("views")
    assert_as_pytorch(saved(folder, {"a": value, "b": value.reshape(-1)}, legacy=legacy), 2)


@LEGACY
@pytest.mark.filterwarnings("ignore:.*quantize")
def test_parameters_buffers_and_tensors_with_attributes(tmp_path, legacy):
    attributed, parameter = torch.ones(2), torch.nn.Parameter(torch.ones(2, 2))
    attributed.note, parameter.note = "more", 5
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    content = OrderedDict(
        network.state_dict(), attributed=attributed, parameter=parameter, buffer=torch.nn.Buffer(torch.ones(3)),
        plain=torch.nn.Parameter(torch.ones(2).half()), shared=network[0].weight[0],
    )  # fmt: skip
    path = saved(tmp_path, content, legacy=legacy)
    assert {name: array.shape for name, array in read_weights(path).items()} == {
        name: tuple(value.shape) for name, value in content.items()
    }
    for name, array in read_weights(path).items():
        np.testing.assert_array_equal(array, expected(content[name]))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@LEGACY
def test_protocols_of_pickle(tmp_path, protocol, legacy):
    content = {f"layer{index}": torch.full((2,), float(index)) for index in range(300)}
    path = saved(tmp_path, content, legacy=legacy, pickle_protocol=protocol)
    assert_as_pytorch(path, 300, weights_only=False)  # whose reader knows protocol 2 alone


def test_a_zip_without_checksums(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        path = saved(tmp_path, {"a": torch.ones(3)})
    finally:
        torch.serialization.set_crc32_options(True)
    assert_as_pytorch(path, 1)


def test_the_other_byte_order(tmp_path):
    content = {"a": tensor(storage(count=3), (3,), (1,)), "b": tensor(storage("1", "HalfStorage", 2), (2,), (1,)),
               "c": tensor(storage("2", "BFloat16Storage", 2), (2,), (1,)),
               "d": tensor(storage("3", "LongStorage", 2), (2,), (1,))}  # fmt: skip
    storages = {"0": np.array([1, 2, 3], ">f4").tobytes(), "1": np.array([1, 2], ">f2").tobytes(),
                "2": b"\x3f\xc0\xbf\x80", "3": np.array([1, 258], ">i8").tobytes()}  # fmt: skip
    members = {"w/byteorder": b"big", "w/version": b"3\n"}
    assert_as_pytorch(write(tmp_path / "w.pth", zip_bytes(pickled(content), storages, members)), 4)


def objects_of(module: str, name: str, monkeypatch) -> type:
    """A class that can be pickled under a name of another project."""
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:length]), types.ModuleType(".".join(parts[:length])))
    made = type(name, (), {"__module__": module, "__qualname__": name})
    setattr(sys.modules[module], name, made)
    return made


@LEGACY
def test_training_checkpoints_of_mmengine(tmp_path, legacy, monkeypatch):
    history = objects_of("mmengine.logging.history_buffer", "HistoryBuffer", monkeypatch)()
    history._log_history = np.arange(5.0)
    history._statistics_methods = OrderedDict(mean=print)
    network = torch.nn.Conv2d(2, 3, 1)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    network(torch.ones(1, 2, 2, 2)).sum().backward()
    optimizer.step()
    meta = {"cfg": "crop_size = (512, 1024)\n", "iter": 40, "seed": 5, "dataset_meta": {"classes": ("road", "sky")}}
    content = {"meta": meta, "state_dict": network.state_dict(), "optimizer": optimizer.state_dict(),
               "message_hub": {"log_scalars": {"train/lr": history}, "resumed_keys": {}}}  # fmt: skip
    path = saved(tmp_path, content, legacy=legacy)
    with pytest.raises(Exception, match="HistoryBuffer"):  # what PyTorch refuses
        torch.load(path, weights_only=True)
    found = read_weights(path)
    assert list(found) == ["weight", "bias"]
    np.testing.assert_array_equal(found["weight"], network.weight.detach().numpy())
    assert read_meta(path)["meta"] == {**meta, "dataset_meta": {"classes": ["road", "sky"]}}


@LEGACY
def test_dictionaries_with_a_namespace(tmp_path, legacy):
    content = {"model": {"a": torch.ones(2)}, "args": argparse.Namespace(lr=0.1), "device": torch.device("cpu"),
               "dtype": torch.float16, "size": torch.Size([1]), "best": np.float64(0.5), "n": np.int64(3)}  # fmt: skip
    path = saved(tmp_path, content, legacy=legacy)
    np.testing.assert_array_equal(read_weights(path)["a"], [1, 1])
    assert read_meta(path) == {"model": {}, "best": 0.5, "n": 3}


def _nested() -> torch.Tensor:
    return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])


@pytest.mark.filterwarnings("ignore")  # of prototypes of PyTorch
@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: torch.eye(3).to_sparse(), "made by PyTorch's _rebuild_sparse_tensor"),
        (lambda: torch.eye(3).to_sparse_csr(), "made by PyTorch's _rebuild_sparse"),
        (lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "made by PyTorch's _rebuild_qtensor"),
        (lambda: torch.ones(3, device="meta"), "made by PyTorch's _rebuild_meta_tensor_no_storage"),
        (_nested, "made by PyTorch's _rebuild_nested_tensor"),
        (lambda: torch.ones(3).to(torch.float8_e4m3fn), "of the type torch.float8_e4m3fn, expected numbers"),
        (lambda: torch._neg_view(torch.ones(3)), "conjugated or negated"),
        (lambda: torch.ones(3, dtype=torch.complex64).conj(), "conjugated or negated"),
    ],
)
def test_tensors_that_are_no_dense_numbers(tmp_path, build, words):
    path = saved(tmp_path, {"conv1.weight": build()})
    with pytest.raises(WeightFileError, match=f"w.pth: the tensor 'conv1.weight' is {words}"):
        read_weights(path)


def test_an_expanded_tensor_of_gigabytes(tmp_path):
    path = saved(tmp_path, {f"a{index}": torch.ones(1).expand(1 << 28) for index in range(8)})
    with pytest.raises(WeightFileError, match="w.pth: its tensors have 8589934592 bytes, more than 1048576"):
        read_weights(path)


def test_a_script_is_refused(tmp_path):
    torch.jit.trace(torch.nn.Conv2d(1, 1, 1), torch.ones(1, 1, 2, 2)).save(str(tmp_path / "w.pth"))
    with pytest.raises(WeightFileError, match="it is a TorchScript archive: load it with torch.jit.load"):
        read_weights(str(tmp_path / "w.pth"))


def flat(value, name="", depth=0) -> dict:
    """Returns the tensors in dictionaries and lists by their joined names; a value may contain itself."""
    if isinstance(value, torch.Tensor):
        return {name: value}
    if depth > 10 or not isinstance(value, (dict, list, tuple)):
        return {}
    found = {}
    for key, element in value.items() if isinstance(value, dict) else enumerate(value):
        found |= flat(element, f"{name}/{key}" if name else str(key), depth + 1)
    return found


def test_what_is_read_of_odd_files_is_what_pytorch_reads(tmp_path):
    """Where PyTorch reads a file too, in which a tensor may be outside of its storage or twice there."""
    rng = np.random.default_rng(0)
    compared = 0
    for _ in range(400):
        path = write(tmp_path / "w.pth", impossible_file(rng))
        try:
            found = read_weights(path)
        except WeightFileError:
            continue
        try:
            loaded = torch.load(path, weights_only=True)
        except Exception:
            continue
        while not found.keys() <= flat(loaded).keys():
            loaded = loaded["state_dict" if "state_dict" in loaded else "model"]
        tensors = flat(loaded)
        for name, array in found.items():
            compared += 1
            np.testing.assert_array_equal(array, expected(tensors[name]))
    assert compared > 20, compared
