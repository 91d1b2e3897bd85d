"""The plain values beside the tensors of PyTorch's files."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from safetensors.torch import save_file

from tools.convert.files import read_meta


def test_plain_values(tmp_path):
    content = {
        "meta": {"cfg": "a = 1", "epoch": 3, "lr": 0.5, "done": True, "none": None, "classes": ("road", "sky")},
        "state_dict": OrderedDict(weight=torch.ones(2)),
        "inner": {"list": [1, torch.ones(1), {"a": "b"}], 3: "not a name"},
    }
    torch.save(content, tmp_path / "w.pth")
    assert read_meta(str(tmp_path / "w.pth")) == {
        "meta": {"cfg": "a = 1", "epoch": 3, "lr": 0.5, "done": True, "classes": ["road", "sky"]},
        "state_dict": {},
        "inner": {"list": [1, None, {"a": "b"}]},
    }


def test_files_without_any(tmp_path):
    torch.save([1], tmp_path / "list.pth")
    save_file({"weight": torch.ones(2)}, tmp_path / "w.safetensors")
    np.save(tmp_path / "w.npy", {"weight": np.ones(2)}, allow_pickle=True)
    for name in ("list.pth", "w.safetensors", "w.npy"):
        assert read_meta(str(tmp_path / name)) == {}


def test_dictionaries_in_themselves(tmp_path):
    inner: dict = {"a": 1}
    inner["again"] = inner
    torch.save(inner, tmp_path / "w.pth")
    assert read_meta(str(tmp_path / "w.pth"))["again"]["again"]["a"] == 1


def test_values_in_each_other_many_times(tmp_path):
    value: list = [1]
    for _ in range(30):
        value = [value, value]
    torch.save({"meta": {"many": value, "cfg": "a = 1"}}, tmp_path / "w.pth")
    assert read_meta(str(tmp_path / "w.pth")) == {}
