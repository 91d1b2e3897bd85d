"""Opens files that may turn out to be something else, such as a pipe that nobody writes to."""

from __future__ import annotations

import errno
import os
import stat

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
    raise OSError(errno.EINVAL, "a pipe or a device, expected a file", path)


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
