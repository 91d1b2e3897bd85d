"""Text that a terminal shows as it is, by Unicode's categories."""

from __future__ import annotations

import io
import logging
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.runtime.printable import PrintableFormatter, first_line, printable

# Control and format characters, surrogates, unassigned and private ones, line and paragraph separators.
OBEYED = ("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp")
ANYTHING = st.text(
    st.characters(codec=None) | st.sampled_from("\x1b\n\r\t\x9b\x7f\u202e\u2066\u200b\u2028\udcff\ud800")
)


@given(ANYTHING)
def test_nothing_is_left_that_a_terminal_obeys(text):
    shown = printable(text)
    assert not [character for character in shown if unicodedata.category(character) in OBEYED]
    assert printable(shown) == shown
    shown.encode("utf-8")


@given(st.text(st.characters(categories=["L", "N", "P", "S", "M"]) | st.just(" ")))
def test_letters_of_all_scripts_are_kept(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\r\nb\tc\x7f", "a\\r\\nb\\tc\\x7f"),
        ("\u202egnp.a", "\\u202egnp.a"),
        ("a\udcff\ud800", "a\\udcff\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("\u9053\u00e4\u00a0\u3000", "\u9053\u00e4\u00a0\u3000"),
    ],
)
def test_escapes(text, shown):
    assert printable(text) == shown


def test_kept_characters():
    assert printable("a\n\tb\r", keep="\n\t") == "a\n\tb\\r"


def logged(message: str, *arguments: object) -> str:
    """What a logger with the formatter writes, without the last line end."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PrintableFormatter("%(message)s"))
    logger = logging.Logger("a")
    logger.addHandler(handler)
    logger.info(message, *arguments)
    return stream.getvalue().removesuffix("\n")


def test_line_ends_are_kept_in_messages_and_escaped_in_arguments():
    assert logged("a:\n%s %d %g", "b\nerror: c\x1b", 3, 0.5) == "a:\nb\\nerror: c\\x1b 3 0.5"
    assert logged("a:\n%(x)s", {"x": OSError("b\nc")}) == "a:\nb\\nc"
    assert logged("%r %s", "b\n", None) == "'b\\\\n' None"
    assert logged("100%\x1b") == "100%\\x1b"


def test_other_handlers_get_the_record_as_it_is():
    record = logging.LogRecord("a", logging.INFO, "", 0, "%s", ("b\x1b",), None)
    assert PrintableFormatter().format(record) == "b\\x1b"
    assert record.getMessage() == "b\x1b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", "RuntimeError"),
        (" \n\n", "RuntimeError"),
        ("\n a fault \nmore", "a fault"),
        ("a" * 400, "a" * 300),
        ("\x1b", "\\x1b"),
    ],
)
def test_first_line_of_an_error(text, shown):
    assert first_line(RuntimeError(text)) == shown
