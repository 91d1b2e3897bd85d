"""Output to closed pipes, full devices, closed descriptors and encodings that lack characters."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scripts.starting import ROOT
from tools.console import run_script
from tools.runtime.standard_streams import (
    BYTES_OR_ESCAPES,
    GuardedStream,
    exit_code_after_output,
    guard_standard_streams,
)

FULL = "/dev/full"
needs_full_device = pytest.mark.skipif(not os.path.exists(FULL), reason="needs /dev/full")

# Prints, logs and draws a progress bar as the programs do, and leaves a file at the end.
PROGRAM = """
import logging, sys
from tools.console import run_script, set_up_logging
def main(arguments):
    from tqdm import tqdm
    for number in tqdm(range(int(arguments[0]))):
        print("stra\\u00dfe \\udcff", number)
        logging.getLogger("x").info("log of stra\\u00dfe \\udcff %d", number)
    open("file.txt", "w").close()
    if len(arguments) > 1:
        sys.exit(int(arguments[1]))
set_up_logging()
sys.exit(run_script(main, sys.argv[1:]))
"""


def run(shell: str, folder, **environment: str) -> subprocess.CompletedProcess:
    """Runs a line of bash in which P is the program above."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "CODE": PROGRAM, **environment}
    line = f'set -o pipefail; P() {{ "{sys.executable}" -c "$CODE" "$@"; }}; {shell}'
    return subprocess.run(["bash", "-c", line], cwd=folder, env=variables, capture_output=True, check=False)


@pytest.mark.parametrize(
    ("shell", "code"),
    [
        ("P 3000 | head -1", 0),
        ("P 3000 2>&1 >/dev/null | head -1", 0),
        ("P 3000 1 | head -1", 1),  # what the program found stays
        ("P 3 >&- 2>&- <&-", 0),
        pytest.param("P 3 >/dev/full", 2, marks=needs_full_device),
        pytest.param("P 3 2>/dev/full", 2, marks=needs_full_device),
        pytest.param("P 3 >/dev/full 2>&1", 2, marks=needs_full_device),
        pytest.param("P 3 1 >/dev/full", 1, marks=needs_full_device),
    ],
)
def test_broken_output_ends_no_program(shell, code, tmp_path):
    done = run(shell, tmp_path)
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    assert os.listdir(tmp_path) == ["file.txt"]
    errors = [line for line in done.stderr.decode().splitlines() if line.startswith("error: ")]
    assert len(errors) == (">/dev/full" in shell.split() and "2>&1" not in shell)
    assert all("standard output (/dev/full)" in line and "No space left on device" in line for line in errors)


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", b"stra\\xdfe \xff 0\n"),
        ("latin-1", b"stra\xdfe \xff 0\n"),
        ("utf-8:strict", b"stra\xc3\x9fe \xff 0\n"),
        ("ascii:replace", b"stra?e ? 0\n"),  # asked for
    ],
)
def test_characters_that_an_encoding_lacks_are_escaped(encoding, shown, tmp_path):
    done = run("P 1", tmp_path, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stdout) == (0, shown)
    assert b"\\udcff 0" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.fixture
def stream():
    """A function that opens a guarded stream on a descriptor, which is closed afterwards."""
    with ExitStack() as opened:

        def on(descriptor: int, **settings) -> GuardedStream:
            opened.callback(os.close, descriptor)
            stream = GuardedStream(descriptor, "utf-8", "strict", line_buffering=True, **settings)
            opened.callback(stream.close)
            return stream

        yield on


@pytest.mark.parametrize("write_through", [False, True])
def test_fault_is_kept_and_later_writes_are_tried(stream, write_through):
    read_end, write_end = os.pipe()
    guarded = stream(write_end, write_through=write_through)
    print("before", file=guarded)
    assert os.read(read_end, 100) == b"before\n"
    assert guarded.fault is None
    os.close(read_end)
    print("after", file=guarded)
    print("after", file=guarded)
    assert guarded.fault is not None
    assert guarded.fault.errno == errno.EPIPE
    assert guarded.reader_left


@needs_full_device
def test_full_device_is_a_fault_and_no_reader_that_left(stream):
    guarded = stream(os.open(FULL, os.O_WRONLY))
    print("x" * 100_000, file=guarded)
    assert guarded.fault is not None
    assert guarded.fault.errno == errno.ENOSPC
    assert not guarded.reader_left


def test_terminal_that_is_gone_is_a_reader_that_left(stream):
    main_end, terminal = os.openpty()
    guarded = stream(terminal)
    assert guarded.isatty()
    os.close(main_end)
    print("x", file=guarded)
    assert guarded.fault is not None
    assert guarded.reader_left


def test_pipe_that_does_not_block_is_waited_for(stream):
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    guarded = stream(write_end)
    text = "x" * 300_000  # more than fits into a pipe
    received = bytearray()

    def read_slowly() -> None:
        time.sleep(0.05)
        while len(received) <= len(text):
            received.extend(os.read(read_end, 65536))

    reader = threading.Thread(target=read_slowly)
    reader.start()
    print(text, file=guarded)
    reader.join()
    os.close(read_end)
    assert received.decode() == text + "\n"
    assert guarded.fault is None


@needs_full_device
@pytest.mark.parametrize(("code", "expected"), [(0, 2), (1, 1), (75, 75)])
def test_exit_code_after_lost_output(stream, monkeypatch, capsys, code, expected):
    monkeypatch.setattr(sys, "stdout", stream(os.open(FULL, os.O_WRONLY)))
    print("lost")
    assert exit_code_after_output(code) == expected
    assert "standard output" in capsys.readouterr().err


@needs_full_device
def test_help_that_nobody_can_read_is_a_fault(stream, monkeypatch):
    def main(arguments):
        print("usage")
        sys.exit(0)

    monkeypatch.setattr(sys, "stdout", stream(os.open(FULL, os.O_WRONLY)))
    with pytest.raises(SystemExit) as caught:
        run_script(main, [])
    assert caught.value.code == 2


@given(
    st.text(st.characters(exclude_categories=[])), st.sampled_from(["ascii", "latin-1", "cp1252", "utf-8", "utf-16"])
)
def test_any_text_is_encoded_and_what_the_encoding_has_comes_back(text, encoding):
    encoded = text.encode(encoding, BYTES_OR_ESCAPES)
    try:
        plain = text.encode(encoding)
    except UnicodeEncodeError:
        assert encoded
    else:
        assert encoded == plain


@given(st.binary())
def test_names_of_files_are_written_as_the_bytes_they_are(name):
    assert name.decode("utf-8", "surrogateescape").encode("utf-8", BYTES_OR_ESCAPES) == name


def test_other_errors_are_passed_on():
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("utf-8", BYTES_OR_ESCAPES)


def test_streams_that_are_replaced_already_stay(monkeypatch):
    replaced = io.StringIO()
    monkeypatch.setattr(sys, "stdout", replaced)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    guard_standard_streams()
    assert sys.stdout is replaced


def test_standard_input_that_has_been_read_is_unchanged(monkeypatch):
    begun, unread = (io.TextIOWrapper(io.BytesIO(content), "utf-8") for content in (b"a\nb\n", b"\xff\n"))
    assert begun.readline() == "a\n"
    for stream, errors in ((begun, "strict"), (unread, "surrogateescape")):
        monkeypatch.setattr(sys, "stdin", stream)
        guard_standard_streams()
        assert stream.errors == errors
    assert (begun.read(), unread.read()) == ("b\n", "\udcff\n")
