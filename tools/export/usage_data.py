"""Keeps OpenVINO and NNCF from sending usage data."""

from __future__ import annotations

import sys


def send_no_usage_data() -> None:
    """Stops OpenVINO and NNCF from reporting their use to a server; call it before either is imported."""
    # Both use the package openvino_telemetry if it can be imported, and work without it.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
