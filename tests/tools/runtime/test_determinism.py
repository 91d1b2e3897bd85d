"""Runs that are equal to the last bit, where that is not promised; where it is, test_killed_run.py compares them."""

from __future__ import annotations

import pytest

from tools.errors import DeviceError
from tools.runtime.devices import require_determinism


def test_gpus_are_refused():
    with pytest.raises(DeviceError, match=r"--deterministic 1 .* /device:GPU:1 is a GPU: drop it, or add --device cpu"):
        require_determinism(["/device:GPU:1"])
