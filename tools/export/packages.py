"""Finds the packages of the extra `export`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable

from tools.errors import MissingPackageError


def is_installed(package: str) -> bool:
    """Returns whether a package can be imported, by its name in import statements."""
    return importlib.util.find_spec(package) is not None


def require_packages(packages: Iterable[str], needed_by: str) -> None:
    """Checks that packages are installed.

    Args:
        packages: by their names in import statements.
        needed_by: for the message, such as `--format onnx`.

    Raises:
        MissingPackageError: one of them is not.
    """
    missing = [package for package in packages if not is_installed(package)]
    if missing:
        raise MissingPackageError(
            f"{needed_by} needs {' and '.join(missing)}, which is not installed: pip install '.[export]'"
        )


def send_no_usage_data() -> None:
    """Stops OpenVINO and NNCF from reporting their use to a server; call it before either is imported."""
    # Both use the package openvino_telemetry if it can be imported, and work without it.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
