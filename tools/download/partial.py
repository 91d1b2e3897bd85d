"""Stores the partial file of a download with the version of the server's file, so that it can be resumed."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from database.atomic import text_written_atomically
from database.json_files import read_json
from database.regular_files import writable_file

# An entity tag and a date as they may be sent back in a header: RFC 9110, 8.8.3, and ASCII on one line.
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]{0,1000}"')
_DATE = re.compile(r"[\x20-\x7e]{1,100}")


@dataclass(frozen=True)
class Version:
    """Identifies a version of a file on a server.

    Attributes:
        url: its address.
        size: bytes of the whole file, None if unknown.
        etag: a strong ETag, None without one.
        last_modified: as sent by the server, None without one.
    """

    url: str
    size: int | None
    etag: str | None
    last_modified: str | None

    @classmethod
    def of_response(cls, url: str, headers: Mapping[str, str], size: int | None) -> Version:
        """Returns the version of a response.

        Weak ETags do not identify bytes and are ignored (RFC 9110, 8.8.1), as are values with line breaks.
        """
        etag, date = headers.get("ETag", ""), headers.get("Last-Modified", "")
        return cls(url, size, etag if _STRONG_ETAG.fullmatch(etag) else None, date if _DATE.fullmatch(date) else None)

    @classmethod
    def read(cls, path: str) -> Version:
        """Reads a version that `PartialFile.begin` wrote.

        Raises:
            OSError: the file cannot be read, or is a pipe or a device.
            ValueError, TypeError: it is not a version, or its values cannot be sent to a server.
        """
        version = cls(**read_json(path))
        size, etag, date = version.size, version.etag, version.last_modified
        is_valid = (
            isinstance(version.url, str)
            and (size is None or (type(size) is int and size >= 0))
            and (etag is None or _STRONG_ETAG.fullmatch(etag))
            and (date is None or _DATE.fullmatch(date))
        )
        if not is_valid:
            raise ValueError("a value is not as it was written")
        return version

    @property
    def condition(self) -> str | None:
        """The value of If-Range; None if the rest of the file cannot be requested safely."""
        return self.etag or self.last_modified


class PartialFile:
    """<path>.part, the bytes so far, and <path>.part.json, the version of the server's file."""

    def __init__(self, path: str) -> None:
        self.path = f"{path}.part"
        self._version_path = f"{self.path}.json"

    def begin(self, version: Version) -> None:
        """Empties the file and writes the version of the server's file.

        Raises:
            OSError: a file cannot be written.
        """
        with open(self.path, "wb", opener=writable_file):  # first, so that the version never describes other bytes
            pass
        with text_written_atomically(self._version_path) as file:
            json.dump(dataclasses.asdict(version), file)

    def arrived(self, url: str) -> tuple[int, Version | None]:
        """Returns the number of bytes so far and their version; `(0, None)` if they cannot be used."""
        try:
            version = Version.read(self._version_path)
            size = os.path.getsize(self.path)
        except (OSError, ValueError, TypeError):
            return 0, None
        too_long = version.size is not None and size > version.size
        if version.url != url or version.condition is None or too_long or size == 0:
            return 0, None
        return size, version

    def finish(self, path: str) -> None:
        """Renames the complete file.

        Raises:
            OSError: it cannot be renamed.
        """
        os.replace(self.path, path)
        self.discard()

    def discard(self) -> None:
        """Deletes the partial file and its version."""
        for path in (self._version_path, self.path):
            with suppress(OSError):
                os.unlink(path)
