"""Paths as TensorFlow takes them literally.

TensorFlow reads the prefix of a checkpoint as a pattern, in which `[ ] * ? \\` stand for other characters, and knows
no way to escape them that works for both formats. It takes `<scheme>://` for another file system, and expects UTF-8.
A path with any of these is reached through links in a temporary folder.
"""

from __future__ import annotations

import errno
import glob
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

# No character of a pattern, of a scheme, nor a byte that is not UTF-8, which Python reads as a surrogate.
_PLAIN = re.compile(r"[^\[\]{}*?\\:\ud800-\udfff]*")
_OTHER_TEMPORARY_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")


@contextmanager
def readable_prefix(prefix: str) -> Iterator[str]:
    """Lets a block read a checkpoint whatever characters are in its path.

    Args:
        prefix: of the checkpoint, of either format.

    Yields:
        A prefix that TensorFlow takes literally; it is valid until the block ends.

    Raises:
        OSError: no link can be made.
    """
    if _PLAIN.fullmatch(prefix):
        yield prefix
        return
    with _temporary_folder() as folder:
        plain = os.path.join(folder, "checkpoint")
        for path in (prefix, prefix + ".index", *glob.glob(glob.escape(prefix) + ".data-*")):
            if os.path.exists(path):
                os.symlink(os.path.abspath(path), plain + path.removeprefix(prefix))
        yield plain


@contextmanager
def writable_prefix(prefix: str) -> Iterator[str]:
    """Lets a block write a checkpoint whatever characters are in the path of its folder.

    Args:
        prefix: of the checkpoint; its folder exists, and the name in it is plain.

    Yields:
        A prefix that TensorFlow takes literally; it is valid until the block ends.

    Raises:
        OSError: no link can be made.
    """
    if _PLAIN.fullmatch(prefix):
        yield prefix
        return
    folder, name = os.path.split(os.path.abspath(prefix))
    with _temporary_folder() as temporary:
        link = os.path.join(temporary, "folder")
        os.symlink(folder, link)
        yield os.path.join(link, name)


def _temporary_folder() -> tempfile.TemporaryDirectory:
    """A new folder with a plain path."""
    candidates = (tempfile.gettempdir(), *_OTHER_TEMPORARY_FOLDERS)
    plain = (path for path in candidates if _PLAIN.fullmatch(path) and os.access(path, os.W_OK | os.X_OK))
    parent = next(plain, None)
    if parent is None:
        raise OSError(errno.ENOENT, "no temporary folder without special characters in its path: set TMPDIR to one")
    return tempfile.TemporaryDirectory(prefix="checkpoint-", dir=parent)
