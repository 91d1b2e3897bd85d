"""Opens files that may turn out to be something else: a pipe that nobody writes to, or a link to another file."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from contextlib import suppress

_FOUND_DEVICE = "a pipe or a device, expected a file"
_FOUND_LINK = "a link, expected a file"
_FOUND_NAMES = "a file with other names (hard links), which would change as well"

# A file of text or JSON: an index of the TFRecords of a million images has 200 MB. Parsed, it needs ten times as much.
MOST_BYTES_OF_TEXT = 256 << 20


def regular_file(path: str, flags: int) -> int:
    """Opens only regular files, without waiting, as an opener: `open(path, opener=regular_file)`.

    Opening a named pipe would block until somebody writes to it, and a device may never end. Folders are left to
    `open`, which rejects them.

    Returns:
      A file descriptor.

    Raises:
      OSError: the path cannot be opened, or is a pipe or a device.
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, _FOUND_DEVICE, path)


def read_regular_file(path: str, most: int = MOST_BYTES_OF_TEXT) -> bytes:
    """Reads a file that is not expected to be large.

    Raises:
      OSError: the path cannot be opened, is a pipe, a device or a folder, or has more than `most` bytes.
    """
    with open(path, "rb", opener=regular_file) as file:
        content = file.read(most + 1) if os.fstat(file.fileno()).st_size <= most else None
    if content is None or len(content) > most:
        raise OSError(errno.EFBIG, f"more than {most} bytes, the largest that is read", path)
    return content


def file_checksum(path: str, algorithm: str = "sha256") -> str:
    """Returns the checksum of a file, hexadecimal; `algorithm` as in `hashlib`.

    Raises:
      OSError: the path cannot be opened or read, or is a pipe or a device.
    """
    with open(path, "rb", opener=regular_file) as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def writable_file(path: str, flags: int) -> int:
    """Opens or creates only regular files for writing, as an opener: `open(path, "w", opener=writable_file)`.

    A link at the path is not followed, because its target would be overwritten, and a file with other names (hard
    links) is rejected. Links among the folders of the path are followed. A file is emptied only after these checks.

    Returns:
      A file descriptor.

    Raises:
      OSError: the path cannot be opened, or is a link, a pipe or a device, or the file has several names.
    """
    _refuse_special(path)  # opening some devices has effects
    try:
        descriptor = os.open(path, flags & ~os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, _FOUND_LINK, path) from error
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, _FOUND_DEVICE, path)
        if found.st_nlink > 1:
            raise OSError(errno.EMLINK, _FOUND_NAMES, path)
        if flags & os.O_TRUNC and found.st_size:
            os.ftruncate(descriptor, 0)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _refuse_special(path: str) -> None:
    with suppress(FileNotFoundError):
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            raise OSError(errno.ELOOP, _FOUND_LINK, path)
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise OSError(errno.EINVAL, _FOUND_DEVICE, path)


def copy_file(source: str, target: str) -> None:
    """Copies the content of a file; the target is created or replaced as by `writable_file`.

    Raises:
      OSError: a file cannot be opened, read or written, or is a pipe or a device, or the target is a link.
    """
    with open(source, "rb", opener=regular_file) as read, open(target, "wb", opener=writable_file) as written:
        shutil.copyfileobj(read, written)
