"""The Dockerfile, which is not built here: what it names exists, and its command line is understood."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from tools.flags.parsing import parse_flags
from tools.serve.flags import ServeConfig

ROOT = Path(__file__).resolve().parents[3]
LINES = (ROOT / "examples" / "serve" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def words_after(instruction: str) -> list[list[str]]:
    return [line.split()[1:] for line in LINES if line.startswith(f"{instruction} ")]


def test_what_is_copied_exists_and_is_all_that_is_installed():
    copied = {name for *sources, _ in words_after("COPY") for name in sources}
    assert all((ROOT / name).exists() for name in copied)
    modules = {f"{name}.py" for name in PROJECT["tool"]["setuptools"]["py-modules"]}
    packages = {name.rstrip("*") for name in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert copied == modules | packages | {"pyproject.toml", PROJECT["project"]["readme"]}


def test_the_extra_and_the_files_of_the_page_are_installed():
    assert ["pip", "install", "--no-cache-dir", "'.[serve]'"] in words_after("RUN")
    assert "serve" in PROJECT["project"]["optional-dependencies"]
    assert PROJECT["tool"]["setuptools"]["package-data"]["tools.serve"] == ["assets/*"]


def test_the_command_line_is_understood():
    [entry] = [json.loads(line.removeprefix("ENTRYPOINT ")) for line in LINES if line.startswith("ENTRYPOINT ")]
    assert entry[:3] == ["python", "-m", "tools.serve"]
    config = parse_flags(ServeConfig, entry[3:], "")
    assert not config.is_local
    [[port]] = words_after("EXPOSE")
    assert int(port) == config.port
    assert any(f"127.0.0.1:{config.port}/healthz" in line for line in LINES)
    assert words_after("USER") == [["1000:1000"]]
