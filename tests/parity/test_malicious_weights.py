"""PyTorch's files and .safetensors that would run code, or lead a careless reader astray."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile

import pytest
import torch

from tests.security.canary import Canary
from tools.convert.files import read_meta, read_weights
from tools.errors import WeightFileError


@pytest.fixture
def canary(tmp_path) -> Canary:
    return Canary(tmp_path)


def pth_of(path, canary: Canary, *, legacy: bool = False) -> str:
    torch.save({"weight": torch.ones(1), "more": canary}, path, _use_new_zipfile_serialization=not legacy)
    return str(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_the_canary_sings_where_weights_are_loaded_carelessly(tmp_path, canary, legacy):
    torch.load(pth_of(tmp_path / "w.pth", canary, legacy=legacy), weights_only=False)
    assert canary.sang()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("ending", ["pth", "pt", "bin"])
def test_a_call_is_not_made_whatever_the_environment_says(tmp_path, canary, monkeypatch, ending, legacy):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path = pth_of(tmp_path / f"w.{ending}", canary, legacy=legacy)
    assert {name: array.tolist() for name, array in read_weights(path).items()} == {"weight": [1]}
    assert list(read_meta(path)) == []
    assert not canary.sang()


def test_a_zip_whose_pickle_is_a_call(tmp_path, canary):
    """As PyTorch lays it out, without anything that PyTorch writes beside the call."""
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/data.pkl", pickle.dumps(canary, protocol=2))
        archive.writestr("w/version", "3\n")
        archive.writestr("w/byteorder", "little")
    with pytest.raises(WeightFileError, match=f"w.pth: found an object of the class {os.mkdir.__module__}.mkdir, exp"):
        read_weights(str(path))
    assert not canary.sang()


def test_a_plain_pickle(tmp_path, canary):
    for ending in ("pth", "safetensors"):
        path = tmp_path / f"w.{ending}"
        path.write_bytes(pickle.dumps(canary))
        with pytest.raises(WeightFileError, match=f"w.{ending}: not a .* that can be read"):
            read_weights(str(path))
    assert not canary.sang()


def safetensors_of(path, header: object, data: bytes = b"", length: int | None = None) -> str:
    """A file with any header, and with any number in the place of its length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return str(path)


def tensor(**changes) -> dict:
    return {"weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


def test_the_header_that_others_are_changed_from(tmp_path):
    path = safetensors_of(tmp_path / "w.safetensors", tensor(), struct.pack("<2f", 1, 2))
    assert read_weights(path)["weight"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (tensor(data_offsets=[0, 1 << 60]), None),
        (tensor(data_offsets=[-8, 0]), None),
        (tensor(data_offsets=[8, 0]), None),
        (tensor(shape=[1 << 40, 1 << 40]), None),
        (tensor(shape=[-2]), None),
        (tensor(dtype="object"), None),
        (tensor(dtype="__import__('os').abort()"), None),
        ({"../../weight": tensor()["weight"] | {"data_offsets": [0, 8]}, **tensor()}, None),  # the same bytes twice
        ({"__metadata__": {"a": tensor()}, **tensor()}, None),
        ([tensor()], None),
        (b"{" * 10_000, None),
        (tensor(), 1 << 62),
        (tensor(), 0),
    ],
)
def test_odd_headers(tmp_path, header, length):
    path = safetensors_of(tmp_path / "w.safetensors", header, struct.pack("<2f", 1, 2), length)
    with pytest.raises(WeightFileError, match="not a .safetensors file that can be read") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)


def test_metadata_is_not_run(tmp_path, canary):
    header = {"__metadata__": {"format": canary.expression, "more": pickle.dumps(canary, 0).decode("latin1")}}
    path = safetensors_of(tmp_path / "w.safetensors", header | tensor(), struct.pack("<2f", 1, 2))
    try:
        assert read_weights(path)["weight"].tolist() == [1, 2]
    except WeightFileError as error:
        assert "safetensors" in str(error)  # noqa: PT017
    assert not canary.sang()
