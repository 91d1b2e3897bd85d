"""Opens files that may turn out to be something else, such as a pipe that nobody writes to."""

from __future__ import annotations

import errno
import os
import stat


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
