"""Standard output and error whose faults end no program: a closed pipe, a full device, characters they cannot show."""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import Any

_DESCRIPTORS = {"stdout": 1, "stderr": 2}
_NAMES = {"stdout": "standard output", "stderr": "standard error"}
_EXIT_OUTPUT_LOST = 2

# What the writer of a pipe or socket is told when its reader has left.
_READER_LEFT = {errno.EPIPE, errno.ECONNRESET}

# The name of the error handler that is registered below.
BYTES_OR_ESCAPES = "bytes_or_escapes"


def _bytes_or_escapes(error: UnicodeError) -> tuple[str | bytes, int]:
    """Handles characters that an encoding does not have.

    Returns:
        The bytes that `surrogateescape` made of a file's name as they were, every other character as an escape, e.g.
        `\\xdf`; and where to go on.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    if "a".encode(error.encoding) != b"a":  # UTF-16: single bytes would shift what follows
        return codecs.backslashreplace_errors(error)
    characters = error.object[error.start : error.end]
    return b"".join(
        bytes([ord(character) - 0xDC00])
        if "\udc80" <= character <= "\udcff"
        else character.encode("ascii", "backslashreplace")
        for character in characters
    ), error.end


codecs.register_error(BYTES_OR_ESCAPES, _bytes_or_escapes)


class _UnfailingFile(io.FileIO):
    """A descriptor to which every write succeeds; what could not be written is lost, and the first fault is kept."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.fault: OSError | None = None
        self.was_terminal = os.isatty(descriptor)

    def write(self, data: Any) -> int:
        """Writes all bytes, waiting where the descriptor is one that does not block."""
        rest = whole = memoryview(data).cast("B")
        while rest:
            try:
                written = super().write(rest)
            except OSError as error:
                self.fault = self.fault or error
                break
            if written is None:
                select.select([], [self.fileno()], [])
            else:
                rest = rest[written:]
        return len(whole)


class GuardedStream(io.TextIOWrapper):
    """A text stream on a descriptor that raises nothing when it is written to.

    Attributes:
        fault: the first error of writing, None if there was none.
        reader_left: whether that is the end of who reads: a closed pipe, or a terminal that is gone.
    """

    def __init__(
        self, descriptor: int, encoding: str, errors: str, *, line_buffering: bool, write_through: bool = False
    ) -> None:
        """Opens the stream.

        Args:
            descriptor: stays open when the stream is closed.
            encoding, errors, line_buffering: see `io.TextIOWrapper`.
            write_through: without any buffer.
        """
        self._file = _UnfailingFile(descriptor)
        buffer = self._file if write_through else io.BufferedWriter(self._file)
        super().__init__(
            buffer,
            encoding=encoding,
            errors=errors,
            line_buffering=line_buffering,
            write_through=write_through,
        )

    @property
    def fault(self) -> OSError | None:
        return self._file.fault

    @property
    def reader_left(self) -> bool:
        return self.fault is not None and (self.fault.errno in _READER_LEFT or self._file.was_terminal)


def guard_standard_streams() -> None:
    """Replaces standard output and error by streams that raise nothing, and reads the bytes of names on standard input.

    Descriptors that were closed (`>&-`) become those of the null device, so that no file which is opened later takes
    their number and receives what is printed. Streams that somebody else has replaced stay as they are.
    """
    _open_closed_descriptors()
    for name, descriptor in _DESCRIPTORS.items():
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, GuardedStream(descriptor, "utf-8", "backslashreplace", line_buffering=True))
        elif type(stream) is io.TextIOWrapper and stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _guarded(stream, descriptor))
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  for as long as the program runs
    if isinstance(sys.stdin, io.TextIOWrapper):
        with suppress(io.UnsupportedOperation):  # something has read from it before
            sys.stdin.reconfigure(errors="surrogateescape")  # names of files are bytes, not always text


def _guarded(stream: io.TextIOWrapper, descriptor: int) -> GuardedStream:
    fails_on_characters = stream.errors in (None, "strict", "surrogateescape")
    return GuardedStream(
        descriptor,
        stream.encoding,
        BYTES_OR_ESCAPES if fails_on_characters else str(stream.errors),
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _open_closed_descriptors() -> None:
    for descriptor in (0, *_DESCRIPTORS.values()):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)


def exit_code_after_output(code: int) -> int:
    """Flushes the guarded streams at the end of a program, and says in one line if any of its output was lost.

    Args:
        code: exit code of what the program did.

    Returns:
        2 where that was 0 and a device took no more, e.g. a full disk; otherwise `code`. A reader that has left, as
        `head` does, has all that it wanted.
    """
    for name in _DESCRIPTORS:
        stream = getattr(sys, name)
        if isinstance(stream, GuardedStream):
            stream.flush()
            if stream.fault is not None and not stream.reader_left:
                print(f"error: {_lost(name, stream.fault)}", file=sys.stderr)
                code = code or _EXIT_OUTPUT_LOST
    return code


def _lost(name: str, fault: OSError) -> str:
    try:
        device = f" ({os.readlink(f'/proc/self/fd/{_DESCRIPTORS[name]}')})"
    except OSError:
        device = ""
    return (
        f"{_NAMES[name]}{device} cannot be written ({fault.strerror}), and lines printed there are lost: make room, or "
        "send it elsewhere; files that the program wrote itself are whole"
    )
