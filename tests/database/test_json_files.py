"""Tests JSON files, intact and damaged."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database.errors import JsonError
from database.json_files import parse_json, read_json


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"ä": [1, 2.5, null]}', encoding="utf-8")
    assert read_json(str(path)) == {"ä": [1, 2.5, None]}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"9" * 5000])
def test_what_is_no_json(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError):  # noqa: PT011 - of any wording
        read_json(str(path))


def test_the_mark_of_windows_and_keys_given_twice(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(str(path)) == [1]
    path.write_text('{"a": 1,\n"a": 2}')
    with pytest.raises(ValueError, match="^line 2: 'a' is already given in line 1: keep one$"):
        read_json(str(path))
    path.write_bytes(b"[1,\n\xe4]")
    with pytest.raises(ValueError, match="can't decode byte 0xe4"):
        read_json(str(path))


def test_a_pipe_is_not_waited_for(tmp_path):
    path = str(tmp_path / "a.json")
    os.mkfifo(path)
    with pytest.raises(OSError, match="a pipe or a device, expected a file"):
        read_json(path)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=4)),
    lambda values: st.one_of(st.lists(values, max_size=3), st.dictionaries(st.text(max_size=3), values, max_size=3)),
    max_leaves=8,
)


@given(VALUES, st.sampled_from([None, 1]))
def test_what_python_writes_is_read(value, indent):
    assert parse_json(json.dumps(value, indent=indent)) == value


@given(VALUES, VALUES, st.text(max_size=3), VALUES)
def test_repeated_keys_are_named_with_their_lines(first, second, key, between):
    """The key may also occur elsewhere, in other objects and as a value."""
    written = json.dumps(key)
    inner = f'{{{written}: {json.dumps(first)},\n"other key": {json.dumps([key, {key: between}])},\n{written}: '
    text = f'[{{{written}: 1}},\n{{"a": {inner}{json.dumps(second)}\n}}}}]'
    with pytest.raises(JsonError) as caught:
        parse_json(text)
    assert str(caught.value) == f"line 4: '{key}' is already given in line 2: keep one"
    assert caught.value.at("a.json") == f"a.json, line 4: '{key}' is already given in line 2: keep one"


def test_one_key_written_in_two_ways():
    with pytest.raises(JsonError, match="line 1: 'a' is already given in line 1"):
        parse_json('{"a": 1, "\\u0061": 2}')


def test_numbers_keep_their_spelling():
    assert parse_json("[1.50, 1e2, NaN, 7, true]", parse_number=str) == ["1.50", "1e2", "NaN", "7", True]
