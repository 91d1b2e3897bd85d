"""The worked examples of docs/extending.md: their edits are made in a copy of the sources, and their checks run."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripts.starting import ROOT

DOCUMENT = ROOT / "docs" / "extending.md"
_FENCE = re.compile(r"^```python\n# ([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples() -> dict[str, list[tuple[str, str]]]:
    """By heading, the blocks of a section: what the first line says, and the code below it."""
    sections = re.split(r"^## ", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    found = {section.split("\n", 1)[0]: _FENCE.findall(section) for section in sections}
    return {heading: blocks for heading, blocks in found.items() if blocks}


def definition(source: str, name: str) -> ast.stmt:
    """The statement that defines a name at the top level of a module.

    Raises:
        ValueError: there is not exactly one.
    """
    found = [node for node in ast.parse(source).body if name in _defined(node)]
    if len(found) != 1:
        raise ValueError(f"{name} is defined {len(found)} times")
    return found[0]


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign):
        return [node.target.id] if isinstance(node.target, ast.Name) else []
    return [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else []


def edited(source: str, place: str, code: str) -> str:
    """The source of a module with the code of a block in it.

    Args:
        source: of the module.
        place: `at the end`, `in NAME` for rows of a table or fields of a class, or `before NAME`.
        code: whole lines.
    """
    if place == "at the end":
        return f"{source}\n\n{code}"
    verb, name = place.split()
    lines = source.splitlines(keepends=True)
    node = definition(source, name)
    if verb == "before":
        return "".join([*lines[: node.lineno - 1], code, "\n\n", *lines[node.lineno - 1 :]])
    assert verb == "in"
    if isinstance(node, ast.ClassDef):
        return "".join([*lines[: node.end_lineno], code, *lines[node.end_lineno :]])
    assert isinstance(node, ast.Assign | ast.AnnAssign)
    table = node.value
    if isinstance(table, ast.DictComp):
        table = table.generators[0].iter
    row, column = table.end_lineno - 1, table.end_col_offset - 1
    before = "".join(lines[:row]) + lines[row][:column]
    separator = "" if before.rstrip().endswith(",") else ", "
    return f"{before}{separator}\n{code}{lines[row][column:]}{''.join(lines[row + 1 :])}"


def copy_sources(folder: Path) -> None:
    """Copies the packages, without what running them has left."""
    for package in ("model", "database", "tools"):
        for path in (ROOT / package).rglob("*.py"):
            copy = folder / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def test_there_is_an_example_of_each():
    assert list(examples()) == ["A dataset", "An encoder", "A decoder", "A loss", "A flag"]
    for blocks in examples().values():
        assert [place for place, _ in blocks].count("check") == 1
        assert blocks[-1][0] == "check"


def test_every_block_of_code_is_run():
    fences = re.findall(r"^```\w+", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert fences == ["```python"] * sum(map(len, examples().values()))


# Their training runs take ten seconds each.
_LONG = ("An encoder", "A loss")


@pytest.mark.parametrize(
    "heading", [pytest.param(name, marks=pytest.mark.slow if name in _LONG else ()) for name in examples()]
)
def test_example_works(heading, tmp_path):
    copy_sources(tmp_path)
    *edits, (_, check) = examples()[heading]
    assert edits
    for where, code in edits:
        path, place = where.split(", ")
        module = tmp_path / path
        module.write_text(edited(module.read_text(encoding="utf-8"), place, code), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_an_example_without_its_edits_fails(tmp_path):
    copy_sources(tmp_path)
    _, check = examples()["A dataset"][-1]
    done = subprocess.run([sys.executable, "-c", check], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "dataset 'Forest' is unknown" in done.stderr


def test_places_of_edits():
    source = 'A = ("a", "b")\nB: dict = {\n    1: 2,\n}\n\n\ndef f():\n    return 1\n\n\nC = 3\n'
    assert ast.literal_eval(edited(source, "in A", '"c",\n').split("B")[0].partition("= ")[2]) == ("a", "b", "c")
    assert "    1: 2,\n\n    3: 4,\n}" in edited(source, "in B", "    3: 4,\n")
    assert edited(source, "before f", "D = 4\n") == source.replace("def f", "D = 4\n\n\ndef f")
    assert edited(source, "at the end", "D = 4\n") == source + "\n\nD = 4\n"
    with pytest.raises(ValueError, match="E is defined 0 times"):
        edited(source, "in E", "")
