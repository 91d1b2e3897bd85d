"""Shows the output of several processes line by line, with the rank before each line, and keeps it in files."""

from __future__ import annotations

import codecs
import io
import logging
import os
import sys
from types import TracebackType
from typing import IO, TextIO

from database.regular_files import writable_file
from tools.errors import OutputError
from tools.runtime.printable import printable

logger = logging.getLogger(__name__)

# A line without an end is shown in pieces.
_LONGEST_LINE = 1 << 16


class RankLog:
    """The file with the output of one process, over all its starts. Use as a context manager, or close."""

    def __init__(self, folder: str, rank: int) -> None:
        """Opens the file to append to it, and creates the folder.

        Raises:
            OutputError: the file cannot be opened.
        """
        self.path = os.path.join(folder, f"rank-{rank}.log")
        try:
            os.makedirs(folder, exist_ok=True)
            self._file: IO[str] | None = open(  # noqa: SIM115  closed by `close`
                self.path, "a", encoding="utf-8", errors="backslashreplace", opener=writable_file
            )
        except OSError as error:
            raise OutputError(f"--logs {folder}: {self.path} cannot be written ({error.strerror})") from error

    def write(self, line: str) -> None:
        """Writes a line; after an error, a warning is logged once and nothing more is written."""
        if self._file is None:
            return
        try:
            self._file.write(f"{line}\n")
            self._file.flush()
        except OSError as error:
            logger.warning("%s cannot be written (%s): its further lines are only shown", self.path, error.strerror)
            self._file = None

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> RankLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        self.close()


class RankLines:
    """Cuts one output stream of a process into lines and shows them."""

    def __init__(self, prefix: str, stream_name: str, log: RankLog | None = None) -> None:
        """Takes where the lines go.

        Args:
            prefix: before each line.
            stream_name: `stdout` or `stderr` of this process.
            log: the file of the process; its lines have no prefix.
        """
        self._prefix = prefix
        self._stream_name = stream_name
        self._log = log
        decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._decoder = io.IncrementalNewlineDecoder(decoder, translate=True)
        self._rest = ""

    def feed(self, data: bytes, *, final: bool = False) -> None:
        """Shows the lines that are complete; with `final`, also one without an end."""
        *lines, self._rest = (self._rest + self._decoder.decode(data, final=final)).split("\n")
        while len(self._rest) > _LONGEST_LINE:
            lines.append(self._rest[:_LONGEST_LINE])
            self._rest = self._rest[_LONGEST_LINE:]
        if final and self._rest:
            lines.append(self._rest)
            self._rest = ""
        stream: TextIO = getattr(sys, self._stream_name)
        for line in lines:
            shown = printable(line, keep="\t")
            stream.write(f"{self._prefix}{shown}\n")
            if self._log is not None:
                self._log.write(shown)
        if lines:
            stream.flush()
