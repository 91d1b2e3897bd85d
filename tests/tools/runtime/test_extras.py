"""Packages that are missing, and the extras that have them."""

from __future__ import annotations

import pytest

from tools.errors import MissingPackageError
from tools.runtime import extras
from tools.runtime.extras import extra_needed, require_packages


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(extras, "is_installed", lambda package: package != "tf2onnx")
    with pytest.raises(MissingPackageError) as caught:
        require_packages(("onnx", "tf2onnx"), "export", "--format onnx")
    for part in ("--format onnx needs the package tf2onnx, which", "pip install -e '.[export]'"):
        assert part in str(caught.value)
    require_packages(("onnx",), "export", "--format onnx")


def test_a_failing_import_is_named_with_its_extra():
    with pytest.raises(MissingPackageError) as caught, extra_needed("video", "a.mp4"):
        import no_such_package_at_all  # noqa: F401
    for part in ("a.mp4 needs the package no_such_package_at_all", "EXTRAS=dev,video"):
        assert part in str(caught.value)


def test_other_errors_pass():
    with pytest.raises(KeyError), extra_needed("video", "a.mp4"):
        raise KeyError("x")
