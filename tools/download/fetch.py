"""Downloads a file by http or https; resumes interrupted downloads, and restarts if the server's file changed."""

from __future__ import annotations

import errno
import http.client
import logging
import os
import re
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from database.errors import in_one_line
from database.regular_files import file_checksum, writable_file
from tools.download.connection import LEAST_BYTES, SCHEMES, Watch, opened
from tools.download.partial import PartialFile, Version
from tools.errors import DownloadError, ServerError
from tools.runtime.progress import Progress

logger = logging.getLogger(__name__)

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
TIMEOUT = 30.0

# If no size is published: the archives with a published one have up to 2 GB.
MOST_BYTES = 4 << 30

_CHUNK = 1 << 18
# HTTP status codes of temporary errors.
_PASSING_STATUS = (408, 425, 429, 500, 502, 503, 504)
# More digits than those of 64 bits are no size.
_SIZE = re.compile(r"[0-9]{1,19}")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-[0-9]{1,19}/([0-9]{1,19}|\*)")
_LONGEST_SHOWN = 200


class _PassingFaultError(Exception):
    """A temporary error, after which another attempt may succeed."""


def fetch(
    url: str, path: str, size: int | None = None, *, pauses: Sequence[float] = PAUSES, timeout: float = TIMEOUT
) -> None:
    """Downloads a file to `<path>.part`, resumes an existing part, and renames it when it is complete.

    The rest of a file is requested with Range and If-Range (RFC 9110, 14.2 and 13.1.5).

    Args:
        url: http or https.
        path: of the file; its folder is created if it does not exist.
        size: published size in bytes, None if unknown.
        pauses: seconds before each further attempt; restarted whenever more bytes than ever before have arrived.
        timeout: seconds without a byte; twice as long may pass for the answer, or for `connection.LEAST_BYTES`.

    Raises:
        DownloadError: the address is invalid, not found or redirected to another scheme or an invalid address, the size
            differs from the published one or exceeds `MOST_BYTES`, or the disk is full.
        ServerError: the server cannot be reached, refuses the file, or all attempts failed.
    """
    if not _is_address(url):
        raise DownloadError(f"{url}: expected an address that begins with http or https")
    partial = PartialFile(path)
    with _writing_to(path):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    failed, furthest = 0, partial.arrived(url)[0]
    while True:
        try:
            _attempt(url, partial, size, timeout)
            break
        except _PassingFaultError as fault:
            arrived = partial.arrived(url)[0]
            failed, furthest = (0, arrived) if arrived > furthest else (failed + 1, furthest)
            if failed > len(pauses):
                raise ServerError(
                    f"{url}: {fault}, {failed} times in a row: run the same command again to resume from {partial.path}"
                ) from fault
            pause = pauses[max(failed - 1, 0)] if pauses else 0.0
            logger.warning("%s: %s; trying again in %g s", url, fault, pause)
            time.sleep(pause)
    with _writing_to(path):
        partial.finish(path)


def _is_address(url: str) -> bool:
    try:
        return urllib.parse.urlparse(url).scheme in SCHEMES
    except ValueError:
        return False


def _attempt(url: str, partial: PartialFile, published_size: int | None, timeout: float) -> None:
    """Sends one request for the file or the rest of it, and returns when the file is complete."""
    offset, version = partial.arrived(url)
    if version is not None and version.size == offset:
        return
    request = urllib.request.Request(url, headers={"User-Agent": "pspnet-tf-graph", "Accept-Encoding": "identity"})
    if version is not None:
        request.add_header("Range", f"bytes={offset}-")
        request.add_header("If-Range", str(version.condition))
    with Watch(2 * timeout) as watch, _answered(request, partial, timeout, watch) as response:
        offset, total = _offset_and_total(response, offset, version, partial)
        if None not in (total, published_size) and total != published_size:
            raise DownloadError(f"{url}: the server's file has {total} bytes, expected {published_size} as published")
        most = total or published_size or MOST_BYTES
        if most > (published_size or MOST_BYTES):
            raise DownloadError(f"{url}: the server's file has {most} bytes, expected at most {MOST_BYTES}")
        _require_space(partial.path, total, offset)
        with _writing_to(partial.path):
            if offset == 0:
                partial.begin(Version.of_response(url, response.headers, total))
            _receive(response, partial, offset, total, most, watch)


@contextmanager
def _answered(request: urllib.request.Request, partial: PartialFile, timeout: float, watch: Watch) -> Iterator[Any]:
    """Yields the response to a request; turns all errors on the way into exceptions of this module."""
    url = request.full_url
    try:
        response = opened(request, timeout, watch)
    except urllib.error.HTTPError as error:
        with error:
            _refused(url, error, partial)
    except urllib.error.URLError as error:
        reason = error.reason
        if isinstance(reason, socket.gaierror):
            raise ServerError(f"{url}: the host does not exist or cannot be reached ({reason.strerror})") from error
        if isinstance(reason, ConnectionRefusedError):
            raise ServerError(f"{url}: the host refuses connections") from error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise ServerError(f"{url}: the host's certificate is not valid ({reason.verify_message})") from error
        raise _PassingFaultError(_slow(watch) or f"no connection ({_shown(reason)})") from error
    except http.client.InvalidURL as error:
        raise _no_address(url, error) from error
    except (OSError, http.client.HTTPException) as error:
        raise _PassingFaultError(_slow(watch) or f"no answer ({_shown(error)})") from error
    except (ValueError, OverflowError) as error:  # a host that is none, or a port above 65535
        raise _no_address(url, error) from error
    with response:
        yield response


def _no_address(url: str, error: Exception) -> DownloadError:
    return DownloadError(f"{url}: this address, or one that the server redirects to, is not valid ({_shown(error)})")


def _shown(said: Any) -> str:
    """Returns an error, a part of which may come from the server, as a part of one line."""
    text = in_one_line(said)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _slow(watch: Watch) -> str:
    """Describes why the connection was shut down; "" if it was not."""
    return f"less than {LEAST_BYTES} bytes came in {watch.seconds:g} s" if watch.has_ended else ""


def _refused(url: str, error: urllib.error.HTTPError, partial: PartialFile) -> NoReturn:
    """Raises the exception for an HTTP status other than success."""
    if error.code == 416:
        partial.discard()
        raise _PassingFaultError("the server's file has changed since the download began") from error
    if error.code in _PASSING_STATUS:
        raise _PassingFaultError(f"HTTP {error.code} {_shown(error.reason)}") from error
    if 300 <= error.code < 400:
        target = (error.headers.get("Location") if error.headers else None) or error.url
        raise ServerError(
            f"{url}: HTTP {error.code} redirects to {_shown(target)}: only http and https are followed, and no loops"
        ) from error
    raise ServerError(f"{url}: HTTP {error.code} {_shown(error.reason)}") from error


def _offset_and_total(
    response: Any, offset: int, version: Version | None, partial: PartialFile
) -> tuple[int, int | None]:
    """Returns the offset of a response's body in the file, and the size of the whole file."""
    length = response.headers.get("Content-Length", "")
    if response.status == 206 and version is not None:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        total = int(found[2]) if found and found[2] != "*" else version.size
        now = Version.of_response(version.url, response.headers, total)
        changed = total != version.size or now.condition not in (None, version.condition)
        if found is None or int(found[1]) != offset or changed:
            partial.discard()
            raise _PassingFaultError("the server's file has changed since the download began")
        logger.info("resumed after %d of %s bytes", offset, total)
        return offset, total
    if response.status != 200:
        raise DownloadError(f"{_shown(response.url)}: found HTTP {response.status}, expected the file")
    if version is not None:
        logger.info("restarted: the server's file has changed, or the server cannot resume downloads")
    return 0, int(length) if _SIZE.fullmatch(length) else None


def _require_space(path: str, total: int | None, offset: int) -> None:
    free = shutil.disk_usage(os.path.dirname(path) or ".").free
    if total is not None and total - offset > free:
        raise DownloadError(f"{path}: {total - offset} bytes are needed but {free} are free on this disk: free space")


def _receive(response: Any, partial: PartialFile, offset: int, total: int | None, most: int, watch: Watch) -> None:
    """Appends the body, up to `most` bytes of the whole file, to the partial file and shows the progress."""
    name = os.path.basename(partial.path).removesuffix(".part")
    progress = Progress(name, total, unit="B", initial=offset, is_bytes=True)
    arrived = offset
    with open(partial.path, "ab", opener=writable_file) as file, progress:
        while chunk := _next_chunk(response, watch):
            arrived += len(chunk)
            if arrived > most:
                partial.discard()
                raise DownloadError(f"{response.url}: the server sends more than {most} bytes, the size of the file")
            file.write(chunk)
            progress.update(len(chunk))
    if total is not None and arrived < total:
        raise _PassingFaultError(_slow(watch) or f"the connection ended after {arrived} of {total} bytes")
    if watch.has_ended:
        raise _PassingFaultError(_slow(watch))


def _next_chunk(response: Any, watch: Watch) -> bytes:
    try:
        chunk = response.read1(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _PassingFaultError(_slow(watch) or f"the connection broke ({_shown(error)})") from error
    watch.received(len(chunk))
    return chunk


@contextmanager
def _writing_to(path: str) -> Iterator[None]:
    """Turns errors in writing into DownloadError."""
    try:
        yield
    except OSError as error:
        is_full = error.errno == errno.ENOSPC
        advice = ": free space and run the same command again to resume" if is_full else ""
        raise DownloadError(f"{path}: the file cannot be written ({error.strerror or error}){advice}") from error


def difference(path: str, size: int | None, md5: str | None) -> str | None:
    """Describes how a file differs from the published one; None if it does not.

    Args:
        path: of the file.
        size: in bytes, None to skip this check.
        md5: hexadecimal, None to skip this check.

    Raises:
        DownloadError: the file cannot be read.
    """
    try:
        found_size = os.path.getsize(path)
        if size is not None and found_size != size:
            return f"the file has {found_size} bytes, expected {size} as published"
        if md5 is not None:
            found = file_checksum(path, "md5")
            if found != md5:
                return f"its MD5 is {found}, expected {md5} as published"
    except OSError as error:
        raise DownloadError(f"{path}: the file cannot be read ({error.strerror})") from error
    return None
