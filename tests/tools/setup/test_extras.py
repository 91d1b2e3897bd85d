"""Extras of `make setup`: unknown names, and packages that are missing."""

from __future__ import annotations

import importlib.metadata

import pytest

from tools.setup.extras import main, missing_packages


@pytest.mark.parametrize("more", [[], ["--named"]])
def test_an_unknown_extra(more, capsys):
    assert main(["dev,openvino", *more]) == 2
    error = capsys.readouterr().err
    assert "EXTRAS=dev,openvino: 'openvino' is none of " in error
    assert "export" in error


def test_what_is_installed_is_not_missing(capsys):
    assert missing_packages(["dev"]) == []
    assert main(["dev"]) == 0
    assert capsys.readouterr().err == ""


def test_a_package_that_was_removed(monkeypatch, capsys):
    version = importlib.metadata.version

    def without_pytest(name: str) -> str:
        if name == "pytest":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without_pytest)
    assert missing_packages(["dev"]) == ["pytest"]
    assert missing_packages(["gpu"]) == []
    assert main(["dev"]) == 1
    assert "setup: pytest is missing" in capsys.readouterr().err
    assert main(["dev", "--named"]) == 0
