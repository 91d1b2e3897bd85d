"""The locked versions: pinned, hashed, complete, and from no place in particular."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
LOCKS = {"dev.txt": ("dev",), "dev-parity.txt": ("dev", "parity")}

_PINNED = re.compile(r"([a-z0-9-]+)(?:\[[a-z,-]+\])?==([0-9][\w.!+-]*)(?: ; [^\\]+)? \\")
_HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
_REQUIRED = re.compile(r"([A-Za-z0-9._-]+)(?:\[[a-z,-]+\])?(.*)")


def pinned(name: str) -> dict[str, str]:
    """Versions by the names of packages; each is followed by hashes, and there is nothing else in the file."""
    versions: dict[str, str] = {}
    goes_on = False
    for line in (ROOT / "lock" / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        match = (_HASH if goes_on else _PINNED).fullmatch(line)
        assert match, f"{name}: {line}"
        if not goes_on:
            assert match[1] not in versions
            versions[match[1]] = match[2]
        goes_on = line.endswith("\\")
    assert not goes_on
    return versions


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


def allows(specifier: str, version: str) -> bool:
    """Whether a version is what pyproject.toml asks for; it uses `>=`, `<` and `==` alone."""
    for part in filter(None, specifier.split(",")):
        match = re.fullmatch(r"(>=|<|==)([\d.]+)", part.strip())
        assert match, specifier
        sign, bound, found = match[1], numbers(match[2]), numbers(version)
        if not {">=": found >= bound, "<": found < bound, "==": found[: len(bound)] == bound}[sign]:
            return False
    return True


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_is_pinned_with_hashes(name):
    assert len(pinned(name)) > 50


@pytest.mark.parametrize("name", LOCKS)
def test_no_place_is_named(name):
    text = (ROOT / "lock" / name).read_text(encoding="utf-8")
    assert not re.search(r"https?:|file:|://|--(extra-)?index-url|--find-links|--trusted-host|\.(org|com|io)\b", text)


@pytest.mark.parametrize(("name", "extras"), LOCKS.items())
def test_what_the_package_needs_is_locked_in_a_version_it_allows(name, extras):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    versions = pinned(name)
    for requirement in [
        *project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])
    ]:  # fmt: skip
        match = _REQUIRED.fullmatch(requirement)
        assert match
        package = re.sub(r"[-_.]+", "-", match[1]).lower()
        assert allows(match[2], versions[package]), f"{requirement}, and {name} has {versions[package]}: make lock"


def test_what_builds_the_package_is_locked():
    """It is installed without an environment of its own for the build, where no hash would be checked."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]
    assert build["requires"] == ["setuptools>=68"]
    assert allows(">=68", pinned("dev.txt")["setuptools"])


def test_versions_are_compared():
    assert allows(">=2.21,<2.22", "2.21.0")
    assert not allows(">=2.21,<2.22", "2.22.0")
    assert not allows(">=2.21,<2.22", "2.9")
    assert not allows("==2.13.0", "2.13.1")
    assert allows(">=11", "13.0.0")


def test_both_locks_agree():
    first, second = pinned("dev.txt"), pinned("dev-parity.txt")
    assert {name: second.get(name) for name in first} == first
