"""Standard output and error that never raise: on a closed pipe, a full device, or characters they cannot encode."""

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

# Errors of writing to a pipe or socket whose reader has left.
_READER_LEFT = {errno.EPIPE, errno.ECONNRESET}

# The name of the error handler that is registered below.
BYTES_OR_ESCAPES = "bytes_or_escapes"


def _bytes_or_escapes(error: UnicodeError) -> tuple[str | bytes, int]:
    """Handles characters that an encoding does not have.

    Returns:
        The original bytes of file names that `surrogateescape` decoded, and every other character as an escape, e.g.
        `\\xdf`; and the position to continue at.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    if "a".encode(error.encoding) != b"a":  # UTF-16: single bytes would shift the rest
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
    """A descriptor to which every write succeeds: bytes that cannot be written are lost; the first error is kept."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.fault: OSError | None = None
        self.was_terminal = os.isatty(descriptor)

    def write(self, data: Any) -> int:
        """Writes all bytes, and waits if the descriptor does not block."""
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
    """A text stream on a descriptor that does not raise when it is written to.

    Attributes:
        fault: the first error in writing, None if there was none.
        reader_left: whether the error means that the reader has left: a closed pipe, or a closed terminal.
    """

    def __init__(
        self, descriptor: int, encoding: str, errors: str, *, line_buffering: bool, write_through: bool = False
    ) -> None:
        """Opens the stream.

        Args:
            descriptor: stays open when the stream is closed.
            encoding, errors, line_buffering: see `io.TextIOWrapper`.
            write_through: whether to write without a buffer.
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
    """Replaces standard output and error by streams that do not raise, and decodes any bytes on standard input.

    Closed descriptors (`>&-`) are opened on the null device, so that no file that is opened later gets their number and
    receives the output. Streams that other code has replaced stay unchanged.
    """
    _open_closed_descriptors()
    for name, descriptor in _DESCRIPTORS.items():
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, GuardedStream(descriptor, "utf-8", "backslashreplace", line_buffering=True))
        elif type(stream) is io.TextIOWrapper and stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _guarded(stream, descriptor))
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  open until the program ends
    if isinstance(sys.stdin, io.TextIOWrapper):
        with suppress(io.UnsupportedOperation):  # it was read from before
            sys.stdin.reconfigure(errors="surrogateescape")  # file names are bytes, not always text


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
            opened = os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)


def exit_code_after_output(code: int) -> int:
    """Flushes the guarded streams at the end of a program, and prints one line if any output was lost.

    Args:
        code: exit code of the program.

    Returns:
        2 if the code was 0 and output was lost, e.g. on a full disk; otherwise `code`. Output to a reader that has
        left, such as `head`, does not count as lost.
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
