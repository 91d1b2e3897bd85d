"""Makes checkpoints with special characters in their paths readable and writable for TensorFlow.

TensorFlow interprets the prefix of a checkpoint as a pattern (`[ ] * ? \\`) and has no escape for it that works with
both formats. It interprets `<scheme>://` as another file system, and expects UTF-8. A path with any of these is
replaced by a link in a temporary folder.
"""

from __future__ import annotations

import errno
import glob
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

# No characters of a pattern or a scheme, and no bytes other than UTF-8, which Python decodes as surrogates.
_PLAIN = re.compile(r"[^\[\]{}*?\\:\ud800-\udfff]*")
_OTHER_TEMPORARY_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")


@contextmanager
def readable_prefix(prefix: str) -> Iterator[str]:
    """Makes a checkpoint readable in a block, whatever characters its path has.

    Args:
        prefix: of the checkpoint, in either format.

    Yields:
        A prefix without special characters; it is valid until the block ends.

    Raises:
        OSError: no link can be created.
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
    """Makes a checkpoint writable in a block, whatever characters the path of its folder has.

    Args:
        prefix: of the checkpoint; its folder exists, and its name has no special characters.

    Yields:
        A prefix without special characters; it is valid until the block ends.

    Raises:
        OSError: no link can be created.
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
    """Creates a temporary folder without special characters in its path."""
    candidates = (tempfile.gettempdir(), *_OTHER_TEMPORARY_FOLDERS)
    plain = (path for path in candidates if _PLAIN.fullmatch(path) and os.access(path, os.W_OK | os.X_OK))
    parent = next(plain, None)
    if parent is None:
        raise OSError(errno.ENOENT, "no temporary folder without special characters in its path: set TMPDIR to one")
    return tempfile.TemporaryDirectory(prefix="checkpoint-", dir=parent)
