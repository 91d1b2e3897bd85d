"""Opens the decompressed bytes of a tar archive so that headers of an archive cannot exhaust memory or time.

Python's tarfile reads a long name or a pax header into memory, whatever its announced size, and follows negative sizes.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

from database.regular_files import regular_file
from tools.errors import ArchiveError

# Linux allows 4,096 bytes in a path; pax headers add times and attributes, some kilobytes each.
MOST_BYTES_OF_HEADER = 1 << 20
# 250,000 members (see `archives.MOST_MEMBERS`) with a pax header have 1.5 kB of headers each.
MOST_BYTES_OF_HEADERS = 384 << 20

_GZIP = b"\x1f\x8b"


class TarStream:
    """A readable file for `tarfile.open`; it ends with an ArchiveError where a limit is exceeded.

    Attributes:
        in_headers: whether the limits of headers hold; set to False before files are extracted.
    """

    def __init__(self, path: str, file: IO[bytes], most: int) -> None:
        """Reads from `file`; messages name `path`; no more than `most` decompressed bytes are read or skipped."""
        self._path = path
        self._file = file
        self._most = most
        self._of_headers = 0
        self.in_headers = True

    def read(self, size: int = -1) -> bytes:
        """Reads at most `size` bytes.

        Raises:
            ArchiveError: `size` is negative, or more than a header has; or headers have more bytes than expected.
        """
        if size < 0 or (self.in_headers and size > MOST_BYTES_OF_HEADER):
            found = "a negative size" if size < 0 else f"{size} bytes"
            raise ArchiveError(
                f"{self._path}: a header of the archive has {found}, expected at most {MOST_BYTES_OF_HEADER}: not "
                "unpacked"
            )
        content = self._file.read(size)
        if self.in_headers:
            self._of_headers += len(content)
            if self._of_headers > MOST_BYTES_OF_HEADERS:
                raise ArchiveError(
                    f"{self._path}: the headers of the archive have more than {MOST_BYTES_OF_HEADERS} bytes, more than "
                    "images or weights need: not unpacked"
                )
        return content

    def seek(self, position: int, whence: int = 0) -> int:
        """Goes to a byte of the decompressed archive.

        Raises:
            ArchiveError: it is before the beginning, or after the limit.
        """
        if whence != 0 or not 0 <= position <= self._most:
            raise ArchiveError(
                f"{self._path}: a header of the archive leads to byte {str(position)[:40]}, expected 0 to "
                f"{self._most}: not unpacked"
            )
        return self._file.seek(position)

    def tell(self) -> int:
        """Returns the position in the decompressed archive."""
        return self._file.tell()


@contextmanager
def opened_tar_stream(path: str, most: int) -> Iterator[TarStream]:
    """Opens a tar archive that may be compressed by gzip.

    Args:
        path: of the archive.
        most: limit of its decompressed size in bytes.

    Raises:
        OSError: the file cannot be opened, or is a pipe or a device.
    """
    with open(path, "rb", opener=regular_file) as file:
        is_compressed = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        if not is_compressed:
            yield TarStream(path, file, most)
            return
        with gzip.GzipFile(fileobj=file) as decompressed:
            yield TarStream(path, cast(IO[bytes], decompressed), most)
