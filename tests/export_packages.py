"""The packages of the extra `export`, for tests that need one of them.

Tests are skipped where it is missing, unless REQUIRE_EXPORT is set, as by `make test-export`: then they fail.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import pytest

REASON = "needs the extra export"


def skip_without_export(missing: str) -> None:
    """Skips a test, or fails it if REQUIRE_EXPORT is set, because a package is missing."""
    if os.environ.get("REQUIRE_EXPORT"):
        pytest.fail(f"REQUIRE_EXPORT is set, but {missing} is not installed: make test-export", pytrace=False)
    pytest.skip(f"{REASON}: {missing}", allow_module_level=True)


def export_package(name: str) -> Any:
    """Imports a package of the extra; see `skip_without_export`."""
    try:
        return import_module(name)
    except ImportError:
        skip_without_export(name)
