"""Keeps the SHA-256 of each download, and compares it when the file is downloaded again.

<parent folder of the result>/<name>.download.json
"""

from __future__ import annotations

import json
import logging
import os
import re
import urllib.parse

from database.atomic import text_written_atomically
from database.errors import in_one_line
from database.json_files import read_json
from database.regular_files import file_checksum
from tools.download.sources import Source
from tools.errors import DownloadError

logger = logging.getLogger(__name__)

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FIELD = "sha256"


def checksum_path(source: Source, place: str) -> str:
    """Returns the path of the file with the checksum of a source that is unpacked to `place`."""
    return os.path.join(os.path.dirname(os.path.abspath(place)), f"{source.name}.download.json")


def warn_of_no_checksum(source: Source) -> None:
    """Logs a warning if the publisher gives no checksum of the archive."""
    if source.md5 is None:
        is_secure = urllib.parse.urlparse(source.url).scheme == "https"
        logger.warning(
            "%s: no checksum of this file is published%s: compare its SHA-256 below with that of another copy",
            source.name,
            "" if is_secure else ", and it comes over http, where anybody on the way can change it",
        )


def sha256_of(archive: str) -> str:
    """Returns the SHA-256 of a file, hexadecimal.

    Raises:
        DownloadError: the file cannot be read.
    """
    try:
        return file_checksum(archive)
    except OSError as error:
        raise DownloadError(f"{archive}: the file cannot be read ({error.strerror})") from error


def difference_from_before(found: str, path: str) -> str | None:
    """Describes how the SHA-256 of an archive differs from that of the earlier download; None if it does not.

    Args:
        found: of the archive.
        path: of the file that `keep` wrote; None is returned if it does not exist.

    Raises:
        DownloadError: that file cannot be read.
    """
    try:
        kept = read_json(path)[_FIELD]
        if not _SHA256.fullmatch(kept):
            raise ValueError(f"'{_FIELD}' is no SHA-256")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DownloadError(
            f"{path}: not the checksum of a download ({in_one_line(error)}): remove it to accept any file"
        ) from error
    if kept == found:
        return None
    return f"its SHA-256 is {found}, but was {kept} at the download before, by {path}"


def keep(source: Source, archive: str, sha256: str, path: str) -> None:
    """Writes address, size and SHA-256 of an archive to a file, atomically.

    Raises:
        DownloadError: the file cannot be written.
    """
    values = {"url": source.url, "size": os.path.getsize(archive), _FIELD: sha256}
    try:
        with text_written_atomically(path) as file:
            json.dump(values, file, indent=1)
    except OSError as error:
        raise DownloadError(f"{path}: the checksum cannot be written ({error.strerror})") from error
