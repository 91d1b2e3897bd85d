"""Walks folders, through links too, without endless loops."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator


def walked(
    folder: str, on_error: Callable[[OSError], None], on_loop: Callable[[str], None]
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Works like `os.walk` with links, but skips links that lead back, which `os.walk` follows forty times or for ever.

    Args:
      folder: where to begin.
      on_error: called with the error if a folder cannot be read; the folder is then skipped.
      on_loop: called with the path of a link to one of its parent folders; the link is then skipped.

    Yields:
      The path of a folder, and the names of the folders and of the files in it, top down. Folders that the caller
      removes from the list are not entered.
    """
    above = {folder: _identity(folder)}
    for parent, folder_names, names in os.walk(folder, onerror=on_error, followlinks=True):
        entered = above.pop(parent)
        for name in list(folder_names):
            path = os.path.join(parent, name)
            identity = _identity(path)
            if entered & identity:
                on_loop(path)
                folder_names.remove(name)
            else:
                above[path] = entered | identity
        yield parent, folder_names, names


def _identity(folder: str) -> frozenset[tuple[int, int]]:
    """Returns the device and inode of a folder, equal however it is reached; empty if it no longer exists."""
    try:
        found = os.stat(folder)
    except OSError:
        return frozenset()
    return frozenset([(found.st_dev, found.st_ino)])


def is_folder(entry: os.DirEntry) -> bool:
    """Returns whether an entry is a folder or a link to one; a link that leads to itself is not."""
    try:
        return entry.is_dir()
    except OSError:
        return False
