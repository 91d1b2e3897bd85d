"""What has arrived of a file, and of which state of the server's file it is, so that the rest can be asked for."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from database.atomic import written_atomically


@dataclass(frozen=True)
class Version:
    """What tells one state of a file on a server from another.

    Attributes:
        url: its address.
        size: bytes of the whole file, None where the server does not say.
        etag: a strong one, None without.
        last_modified: as the server writes it, None without.
    """

    url: str
    size: int | None
    etag: str | None
    last_modified: str | None

    @classmethod
    def of_response(cls, url: str, headers: Mapping[str, str], size: int | None) -> Version:
        """The state that a response is of; a weak ETag does not tell bytes apart (RFC 9110, 8.8.1)."""
        etag = headers.get("ETag")
        strong = etag if etag and not etag.startswith("W/") else None
        return cls(url, size, strong, headers.get("Last-Modified"))

    @property
    def condition(self) -> str | None:
        """What to send as If-Range; None where the rest of the file cannot be asked for safely."""
        return self.etag or self.last_modified


class PartialFile:
    """<path>.part, what has arrived so far, and <path>.part.json, the state of the server's file that it is of."""

    def __init__(self, path: str) -> None:
        self.path = f"{path}.part"
        self._version_path = f"{self.path}.json"

    def begin(self, version: Version) -> None:
        """Empties the file and notes which state of the server's file it is to hold.

        Raises:
            OSError: a file cannot be written.
        """
        with open(self.path, "wb"):  # emptied first, so that the note is never of other bytes
            pass
        with written_atomically(self._version_path) as path, open(path, "w", encoding="utf-8") as file:
            json.dump(dataclasses.asdict(version), file)

    def arrived(self, url: str) -> tuple[int, Version | None]:
        """How many bytes of a file are there, and of which state of it; `(0, None)` where they are of no use."""
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
        """Gives the file, which is whole, its name.

        Raises:
            OSError: it cannot be renamed.
        """
        os.replace(self.path, path)
        self.discard()

    def discard(self) -> None:
        """Removes what has arrived."""
        for path in (self._version_path, self.path):
            with suppress(OSError):
                os.unlink(path)
