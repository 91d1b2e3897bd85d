"""Bars in a terminal, lines elsewhere."""

from __future__ import annotations

import ast
import dataclasses
import io
import logging
import os
import pty
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tools.console import set_quiet
from tools.runtime import progress
from tools.runtime.progress import Progress, counted, duration_text, shows_bars
from tools.training.progress import Figures, TrainingProgress

ROOT = Path(progress.__file__).parents[2]
FIGURES = Figures(100, 1.5, 0.25, 0.0125, 0.375, 0.01)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _without_the_variable(monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)


@contextmanager
def standard_error(stream: io.StringIO) -> Iterator[io.StringIO]:
    """A stream as standard error, to which the log goes too, within a test: pytest sets its own before each."""
    handler = logging.StreamHandler(stream)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        patch.setattr(logging.root, "handlers", [handler])
        level = logging.root.level
        logging.root.setLevel(logging.INFO)  # not by the attribute: loggers remember what they are enabled for
        yield stream
        logging.root.setLevel(level)
        assert logging.root.handlers == [handler]


@contextmanager
def no_terminal(lines: list[str]) -> Iterator[None]:
    """Adds to the list what was written to standard error, which is no terminal."""
    with standard_error(io.StringIO()) as stream:
        yield
    assert "\r" not in stream.getvalue()
    lines += stream.getvalue().splitlines()


def test_duration():
    found = {seconds: duration_text(seconds) for seconds in (0.4, 59.6, 125, 3599, 3600, 12000)}
    assert found == {
        0.4: "0:00 min", 59.6: "1:00 min", 125: "2:05 min", 3599: "59:59 min", 3600: "1:00 h", 12000: "3:20 h"
    }  # fmt: skip


def test_no_progress_is_shown_where_only_warnings_are_logged():
    with standard_error(Terminal()) as terminal:
        set_quiet(True)
        assert not shows_bars()
        assert list(counted("ab", "letters", 2, "img")) == ["a", "b"]
        logging.warning("warning")
    assert terminal.getvalue() == "warning\n"


def test_items_are_those_given():
    with no_terminal(lines := []):
        assert list(counted(iter("abc"), "letters", 3, "img")) == ["a", "b", "c"]
        assert list(counted([], "none", 0, "img")) == []
    assert lines == ["letters: 3 of 3 img in 0:00 min"]


def lines_of(
    title: str, total: int | None, count: int, seconds: Iterator[int], amount: int = 1, **options
) -> list[str]:
    with no_terminal(lines := []), Progress(title, total, clock=lambda: next(seconds), **options) as shown:
        for _ in range(count):
            shown.update(amount)
    return lines


def test_few_lines_of_many_items():
    lines = lines_of("all", 1000, 1000, iter(range(0, 10000, 2)), unit="img")
    assert lines[0] == "all: 100 of 1000 img after 3:20 min, 30:00 min left"
    assert [line.split()[1] for line in lines] == [str(n) for n in range(100, 1001, 100)]
    assert lines[-1] == "all: 1000 of 1000 img in 33:22 min"


def test_lines_are_some_time_apart():
    lines = lines_of("some", 20, 20, iter(range(1000)), unit="img")
    assert [line.split()[1] for line in lines] == ["10", "20"]


def test_total_that_is_not_known():
    lines = lines_of("file", None, 4, iter(range(0, 1000, 50)), 1 << 20, unit="B", is_bytes=True)
    assert lines == ["file: 2.00MB after 1:40 min", "file: 4.00MB after 3:20 min", "file: 4.00MB in 4:10 min"]


def test_what_was_there_before_does_not_count_towards_the_time_left():
    seconds = iter((0, 60, 120))
    lines = lines_of("file", 4 << 30, 1, seconds, 1 << 30, unit="B", initial=2 << 30, is_bytes=True)
    assert lines[0] == "file: 3.00GB of 4.00GB after 1:00 min, 1:00 min left"


def test_line_where_an_error_ends_it():
    def fail() -> None:
        with Progress("some", 3, unit="img") as shown:
            shown.update()
            raise ValueError("x")

    with no_terminal(lines := []), pytest.raises(ValueError, match="x"):
        fail()
    assert lines == ["some: 1 of 3 img in 0:00 min"]


@pytest.mark.parametrize("value", ["1", "true"])
def test_bars_can_be_turned_off(monkeypatch, value):
    with standard_error(Terminal()) as terminal:
        assert shows_bars()
        monkeypatch.setenv("TQDM_DISABLE", value)
        assert not shows_bars()
        assert list(counted("ab", "letters", 2, "img")) == ["a", "b"]
    assert terminal.getvalue() == "letters: 2 of 2 img in 0:00 min\n"


def test_standard_error_that_is_absent_or_closed_is_no_terminal(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    closed = Terminal()
    monkeypatch.setattr(sys, "stderr", closed)
    assert shows_bars()
    monkeypatch.setattr(Terminal, "isatty", io.StringIO.isatty)
    closed.close()
    assert not shows_bars()
    monkeypatch.setattr(sys, "stderr", None)
    assert not shows_bars()


def test_bar_in_a_terminal_with_log_lines_of_their_own():
    """Two bars, of which one is shown within the other, as in scoring."""
    with standard_error(Terminal()) as terminal:
        for letter in counted("ab", "outer", 2, "img"):
            for _ in counted("xy", "inner", 2, "img"):
                logging.warning("line %s", letter)
    shown = terminal.getvalue()
    assert re.search(r"outer: 100%\|.*\| 2/2 \[", shown)
    assert re.search(r"inner: 100%\|.*\| 2/2 \[", shown)
    # Each begins where a bar was wiped out, or on a new line.
    assert len(re.findall(r"(?:\r|\n|\x1b\[A)line [ab]\n", shown)) == 4


def test_terminal_that_is_closed_in_between(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    master, slave = pty.openpty()
    stream = os.fdopen(slave, "w")
    monkeypatch.setattr(sys, "stderr", stream)
    taken = 0
    with Progress("all", 100, unit="img") as shown:
        for taken in range(1, 101):
            if taken == 50:
                os.close(master)
            shown.update()
            logging.warning("line")
    assert taken == 100
    with suppress(OSError):
        stream.close()


@pytest.mark.parametrize(
    ("figures", "seconds", "expected"),
    [
        (FIGURES, 0.5, "step 100 of 30000, loss 1.5000, auxiliary loss 0.2500, weight decay 0.0125, batch "
         "mIoU % 37.50, lr 0.01, 0.50 s/step, 8.00 img/s, 4:09 h left"),
        (Figures(100, 1.5, None, 0.0125, 0.375, 0.01, 3), float("inf"), "step 100 of 30000, loss 1.5000, "
         "weight decay 0.0125, batch mIoU % 37.50, lr 0.01, 3 steps skipped"),
    ],
)  # fmt: skip
def test_line_of_a_step(figures, seconds, expected):
    with no_terminal(lines := []):
        shown = TrainingProgress(0, 30000, 4)
        shown.step_taken(99, seconds, None)
        shown.step_taken(100, seconds, figures)
        shown.step_taken(101, seconds, figures)  # whose figures were not computed
        shown.close()
    assert lines == [expected]


@pytest.mark.parametrize(("first", "figures", "expected"), [
    (0, None, ["step 1 of 30000 took 45.0 s, as it also builds kernels",
               "step 2 of 30000, 4.50 s/step, 0.89 img/s, 37:29 h left"]),
    (100, None, ["step 101 of 30000 took 45.0 s, as it also builds kernels",
                 "step 102 of 30000, 4.50 s/step, 0.89 img/s, 37:22 h left"]),
    (99, FIGURES, ["step 101 of 30000, 4.50 s/step, 0.89 img/s, 37:22 h left"]),  # the first line has the figures
])  # fmt: skip
def test_the_first_steps_have_lines_before_the_first_figures(first, figures, expected):
    times = iter([1000.0, 1045.0])
    with no_terminal(lines := []):
        shown = TrainingProgress(first, 30000, 4, clock=lambda: next(times))
        for step, seconds in ((1, float("inf")), (2, 4.5), (3, 4.5)):
            shown.step_taken(first + step, seconds, figures)
        shown.close()
    assert [line for line in lines if "loss" not in line] == expected


def test_bar_of_training():
    with standard_error(Terminal()) as terminal:
        shown = TrainingProgress(7, 9, 4)
        shown.step_taken(8, float("inf"), None)
        shown.step_taken(9, 0.5, FIGURES)
        shown.close()
    last = terminal.getvalue().split("\r")[-1]
    assert re.search(r"train: 100%\|.*\| 9/9, 0\.50 s/step", last)  # tqdm's own speed and time left are not there
    assert "0.50 s/step, 8.00 img/s, 0:00 min left, loss 1.500 batch mIoU % 37.50 lr 0.01" in last


def test_everybody_shows_progress_in_this_way():
    users = set()
    for path in ROOT.rglob("*.py"):
        if not {".venv", "tests"} & set(path.relative_to(ROOT).parts):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
                if any(name.split(".")[0] == "tqdm" for name in names):
                    users.add(str(path.relative_to(ROOT)))
    assert users == {"tools/runtime/progress.py"}


def test_decay_that_is_not_in_the_loss_says_so():
    decoupled = dataclasses.replace(FIGURES, has_decoupled_decay=True)
    assert "weight decay 0.0125 (not in the loss), " in decoupled.text()
    assert "weight decay 0.0125, " in FIGURES.text()
