"""Tests that need a package of the extra `export` are skipped without it, and fail where it is required."""

from __future__ import annotations

import re

import pytest

from tests.export_packages import export_package
from tests.scripts.starting import ROOT


def test_a_missing_package_is_a_failure_where_it_is_required(monkeypatch):
    monkeypatch.delenv("REQUIRE_EXPORT", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs the extra export: no_such_package"):
        export_package("no_such_package")
    monkeypatch.setenv("REQUIRE_EXPORT", "1")
    with pytest.raises(pytest.fail.Exception, match="no_such_package is not installed: make test-export"):
        export_package("no_such_package")
    assert export_package("numpy").__name__ == "numpy"


def test_make_test_export_requires_them():
    recipe = (ROOT / "Makefile").read_text().partition("\ntest-export:")[2].partition("\n\n")[0]
    assert "EXTRAS=$(call with,export)" in recipe
    assert re.search(r"REQUIRE_EXPORT=1 .* tests/tools/export tests/scripts/test_examples\.py", recipe)
    assert "not slow" not in recipe
