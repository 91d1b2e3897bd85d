"""Weight files, and the folder that they are converted to."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def save(tmp_path):
    """Writes a dictionary of arrays, by whatever names, into a .npy file."""

    def write(weights, name="weights.npy") -> str:
        np.save(tmp_path / name, weights, allow_pickle=True)
        return str(tmp_path / name)

    return write


@pytest.fixture
def out(tmp_path) -> str:
    return str(tmp_path / "converted")
