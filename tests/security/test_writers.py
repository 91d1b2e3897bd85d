"""Everything that is opened for writing is opened by one function, which follows no links."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.benchmark.__main__ import write_json
from tools.checkpoints.files import write_manifest
from tools.download.partial import PartialFile, Version
from tools.prediction.result_names import ResultNames
from tools.runs.lock import run_lock
from tools.training.summaries import SummaryWriter

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = sorted(
    path for package in ("database", "model", "tools") for path in (ROOT / package).rglob("*.py")
) + [ROOT / f"{script}.py" for script in ("train", "predict", "inference")]  # fmt: skip

OPENER = "writable_file"
WRITE_FLAGS = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND", "O_TRUNC"}
# Functions that open a path for writing themselves; `copy_file` and `open(..., opener=writable_file)` replace them.
PATH_WRITERS = {"write_text", "write_bytes", "copyfile", "copytree", "copy2", "touch", "mkstemp", "mknod",
                "NamedTemporaryFile", "savez", "savetxt", "tofile"}  # fmt: skip
# Calls that are right as they are, by file: the openers, and the null device in place of a closed standard stream.
ALLOWED = {
    "database/regular_files.py": {
        "os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)",
        "os.open(path, flags & ~os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 438)",
    },
    # It runs before anything is installed, with the standard library only; a new file follows no link.
    "tools/setup/virtual_environment.py": {"open(path, 'xb')"},
    "tools/runtime/standard_streams.py": {"os.open(os.devnull, os.O_RDWR)"},
}


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _mode(call: ast.Call) -> str | None:
    """The mode of a call of `open`; None if it is no constant."""
    given = next((word.value for word in call.keywords if word.arg == "mode"), None)
    if given is None:
        given = call.args[1] if len(call.args) > 1 else ast.Constant("r")
    return given.value if isinstance(given, ast.Constant) and isinstance(given.value, str) else None


def _is_unguarded(call: ast.Call) -> bool:
    """Whether a call opens a path for writing, or may do so, without the opener."""
    name, text = _name(call), ast.unparse(call)
    if text.startswith("os.open("):
        flags = ast.unparse(call.args[1])
        return any(flag in flags for flag in WRITE_FLAGS) or "os.O_RDONLY" not in flags
    if isinstance(call.func, ast.Name) and name == "open":
        mode = _mode(call)
        writes = mode is None or bool(set(mode) & set("wax+"))
        opener = next((ast.unparse(word.value) for word in call.keywords if word.arg == "opener"), None)
        return writes and opener != OPENER
    if text.startswith("os.fdopen("):
        return False  # the descriptor was opened before
    return isinstance(call.func, ast.Attribute) and (name in PATH_WRITERS or text.startswith("shutil.copy("))


def unguarded(source: str) -> Iterator[tuple[int, str]]:
    """Yields the line and the text of each call that opens a path for writing without the opener."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _is_unguarded(node):
            yield node.lineno, ast.unparse(node)


def test_the_sources_open_for_writing_with_the_opener_only():
    found = []
    for path in SOURCES:
        name = str(path.relative_to(ROOT))
        for line, text in unguarded(path.read_text(encoding="utf-8")):
            if text not in ALLOWED.get(name, ()):
                found.append(f"{name}, line {line}: {text}")
    assert found == []


def test_the_exceptions_are_still_there():
    for name, calls in ALLOWED.items():
        assert {text for _, text in unguarded((ROOT / name).read_text(encoding="utf-8"))} == calls


@pytest.mark.parametrize(
    "call",
    [
        'open(path, "w")', 'open(path, mode="ab")', 'open(path, "r+")', 'open(path, "xb")', "open(path, mode)",
        'open(path, "w", opener=other)', "os.open(path, os.O_RDWR | os.O_CREAT)", "os.open(path, os.O_WRONLY)",
        "os.open(path, flags)", "Path(path).write_text(x)", "shutil.copyfile(a, b)", "shutil.copy(a, b)",
    ],
)  # fmt: skip
def test_the_search_finds(call):
    assert [text for _, text in unguarded(call.replace('"', "'"))] == [call.replace('"', "'")]


@pytest.mark.parametrize(
    "call",
    ["open(path)", "open(path, 'rb')", "open(path, 'w', opener=writable_file)", "os.open(path, os.O_RDONLY)",
     "image.copy_from(x)", "write_text(path, text)", "copy.copy(x)"],
)  # fmt: skip
def test_the_search_skips(call):
    assert list(unguarded(call)) == []


def _lock(path: str) -> None:
    with run_lock(str(Path(path).parent)):
        pass


def _append_to_curves(path: str) -> None:
    SummaryWriter(str(Path(path).parent), path, None).close()


def _keep_name(path: str) -> None:
    names = ResultNames(path)
    names.keep(names.name("street.png"))


@pytest.mark.parametrize(
    ("name", "write", "is_refused"),
    [
        ("lock", _lock, True),
        ("file.zip.part", lambda path: PartialFile(path.removesuffix(".part")).begin(Version("", 1, "e", None)), True),
        ("images.jsonl", _keep_name, True),
        ("model.ckpt-1.manifest.json", lambda path: write_manifest(path.removesuffix(".manifest.json")), True),
        ("rows.json", lambda path: write_json([], path), True),
        ("training.csv", _append_to_curves, False),  # replaced by a new file
    ],
)
def test_a_planted_link_is_not_followed(tmp_path, name, write, is_refused):
    target, link = tmp_path / "target", tmp_path / "folder" / name
    target.write_text("untouched")
    link.parent.mkdir()
    link.symlink_to(target)
    if is_refused:
        with pytest.raises((OSError, ValueError), match="a link, expected a file") as caught:
            write(str(link))
        assert name in str(caught.value)
    else:
        write(str(link))
    assert link.is_symlink() == is_refused
    assert target.read_text() == "untouched"
