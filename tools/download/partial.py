"""Stores the partial file of a download with the version of the server's file, so that it can be resumed."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from database.atomic import written_atomically
from database.regular_files import writable_file


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
        """Returns the version of a response; weak ETags do not identify bytes and are ignored (RFC 9110, 8.8.1)."""
        etag = headers.get("ETag")
        strong = etag if etag and not etag.startswith("W/") else None
        return cls(url, size, strong, headers.get("Last-Modified"))

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
        with (
            written_atomically(self._version_path) as path,
            open(path, "w", encoding="utf-8", opener=writable_file) as file,
        ):
            json.dump(dataclasses.asdict(version), file)

    def arrived(self, url: str) -> tuple[int, Version | None]:
        """Returns the number of bytes so far and their version; `(0, None)` if they cannot be used."""
        try:
            with open(self._version_path, encoding="utf-8") as file:
                version = Version(**json.load(file))
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
