"""Walking of folders, through links too, and never in circles."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator


def walked(
    folder: str, on_error: Callable[[OSError], None], on_loop: Callable[[str], None]
) -> Iterator[tuple[str, list[str], list[str]]]:
    """As `os.walk` through links, which by itself follows one that leads back forty times, and two for ever.

    Args:
      folder: where to begin.
      on_error: called with what a folder cannot be read for; it is passed over then.
      on_loop: called with the path of a link to a folder that it lies in; it is passed over then.

    Yields:
      Path of a folder and the names of the folders and of the files in it, from the top. Names taken from the list of
      folders are not entered.
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
    """What tells the folder from all others, however it is reached; nothing if it has gone."""
    try:
        found = os.stat(folder)
    except OSError:
        return frozenset()
    return frozenset([(found.st_dev, found.st_ino)])
