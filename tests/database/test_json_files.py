"""JSON files, whole and damaged."""

from __future__ import annotations

import os

import pytest

from database.json_files import read_json


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


def test_a_pipe_is_not_waited_for(tmp_path):
    path = str(tmp_path / "a.json")
    os.mkfifo(path)
    with pytest.raises(OSError, match="a pipe or a device, expected a file"):
        read_json(path)
