"""Output of several processes: whole lines, the rank before each, and files."""

from __future__ import annotations

import os

import pytest

from tools.errors import OutputError
from tools.launch.output import RankLines, RankLog


def test_lines_get_the_rank(capsys):
    lines = RankLines("[1] ", "stdout")
    lines.feed(b"one\ntw")
    assert capsys.readouterr().out == "[1] one\n"
    lines.feed(b"o\n\nthree")
    assert capsys.readouterr().out == "[1] two\n[1] \n"
    lines.feed(b"", final=True)
    assert capsys.readouterr().out == "[1] three\n"


def test_both_streams(capsys):
    RankLines("[0] ", "stderr").feed(b"x\n")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "[0] x\n")


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_characters_and_line_ends_that_are_cut_in_two(capsys, size):
    lines, data = RankLines("", "stdout"), "a\u00e4\u20ac\r\nb\rc\n".encode()
    for start in range(0, len(data), size):
        lines.feed(data[start : start + size])
    lines.feed(b"", final=True)
    assert capsys.readouterr().out == "a\u00e4\u20ac\nb\nc\n"


def test_what_a_terminal_would_obey_is_escaped(capsys):
    RankLines("[0] ", "stdout").feed(b"a\x1b[31mb\xff\tc\n")
    assert capsys.readouterr().out == "[0] a\\x1b[31mb\\xff\tc\n"


def test_a_line_without_end_is_shown_in_pieces(capsys):
    lines = RankLines("", "stdout")
    for _ in range(5):
        lines.feed(b"x" * (1 << 15))
    assert "\n" in capsys.readouterr().out


def test_files_are_appended_to(tmp_path, capsys):
    folder = str(tmp_path / "logs" / "run")
    for start in range(2):
        with RankLog(folder, 3) as log:
            RankLines("[3] ", "stdout", log).feed(f"line {start}\n".encode())
    assert os.listdir(folder) == ["rank-3.log"]
    assert (tmp_path / "logs" / "run" / "rank-3.log").read_text() == "line 0\nline 1\n"
    assert capsys.readouterr().out == "[3] line 0\n[3] line 1\n"


def test_a_file_that_cannot_be_opened(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"--logs .*rank-0.log cannot be written"):
        RankLog(str(tmp_path / "file"), 0)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_does_not_end_the_run(tmp_path, caplog, capsys):
    log = RankLog(str(tmp_path), 0)
    log._file.close()
    log._file = open("/dev/full", "a")  # noqa: SIM115
    lines = RankLines("", "stdout", log)
    lines.feed(b"one\n")
    lines.feed(b"two\n")
    assert [message for message in caplog.messages if "cannot be written" in message] == caplog.messages
    assert len(caplog.messages) == 1
    assert capsys.readouterr().out == "one\ntwo\n"
