"""Damaged .pth and .safetensors files: read, or refused in one line that names the file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.hostile.damage import damaged
from tests.hostile.loaders import outcome

TENSORS = {"conv1.weight": torch.ones(2, 3), "fc.bias": torch.zeros(4)}


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_damaged_weights(tmp_path, name):
    path = tmp_path / name
    if name == "w.pth":
        torch.save({"state_dict": TENSORS}, path)
    else:
        save_file(TENSORS, str(path))
    whole = path.read_bytes()
    assert set(outcome("weights", path)) == set(TENSORS)
    cut_off = [whole[:length] for length in (0, 1, 8, len(whole) // 2, len(whole) - 1)]
    rng = np.random.default_rng(0)
    for number, content in enumerate([*cut_off, *(damaged(whole, rng) for _ in range(100))]):
        path.write_bytes(content)
        found = outcome("weights", path)
        assert isinstance(found, str) or number >= len(cut_off)
