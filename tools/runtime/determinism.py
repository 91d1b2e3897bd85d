"""Runs that end in the same bits."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tools.errors import DeviceError


def require_determinism(devices: Sequence[str]) -> None:
    """Has every operation of this process compute the same bits from the same input, or fail; there is no way back.

    What is beside that needed for runs that are equal is there without it: `cluster.session_config` turns off the
    rewriting that lets gradients be added in the order of arrival, and each random choice is a function of the seed and
    the number of the sample.

    Args:
        devices: of the towers, from `tools.runtime.devices.tower_devices`.

    Raises:
        DeviceError: there is a GPU among them, where none of this was tried.
    """
    if any("GPU" in device for device in devices):
        raise DeviceError(
            f"--deterministic 1 is promised on CPUs alone, and {devices[0]} is a GPU: drop it, or add --device cpu"
        )
    tf.config.experimental.enable_op_determinism()
