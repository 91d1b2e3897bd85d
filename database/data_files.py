"""Finds the images and labels below a folder, and counts the other files."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence

from database.counts import number_of
from database.errors import DatasetError
from database.folders import walked
from database.image_suffixes import has_image_suffix

logger = logging.getLogger(__name__)

# Files and folders that systems and programs create, such as thumbnails, besides those whose name begins with a dot.
_NO_DATA = frozenset(
    ("__macosx", "@eadir", "@recycle", "#recycle", "$recycle.bin", "system volume information", "lost+found",
     "~snapshot", "#snapshot", "@recently-snapshot", "@tmp", "thumbs.db", "ehthumbs.db", "desktop.ini", "__pycache__")
)  # fmt: skip
_MOST_SHOWN = 4


def is_no_data(name: str) -> bool:
    """Returns whether a name shows that a file or folder is not data: hidden, or made by a system or a program."""
    return name.startswith(".") or name.lower() in _NO_DATA


def files_below(folder: str, suffixes: Sequence[str] | None = None) -> dict[str, str]:
    """Finds the images below a folder: relative path without suffix -> path, in a fixed order.

    Files and folders for which `is_no_data` holds are ignored, and so are files with other suffixes. Both are counted
    in the log, but files with other suffixes only if no ending begins with `_`: beside `_labelIds.png`, other files are
    expected.

    Args:
      folder: the folder to walk, through links too; a folder that does not exist has no files.
      suffixes: endings of the names, in upper or lower case; None for those of `image_suffixes`.

    Raises:
      DatasetError: a folder cannot be read, leads into itself, or has the name of an image; or two files differ only in
        their suffix.
    """
    found: dict[str, str] = {}
    passed: list[str] = []
    others: Counter[str] = Counter()
    for parent, folder_names, names in walked(folder, _refuse_unreadable, _refuse_loop):
        passed += [name for name in (*folder_names, *names) if is_no_data(name)]
        folder_names[:] = [name for name in folder_names if not is_no_data(name)]
        names = [name for name in names if not is_no_data(name)]
        for name in sorted([*names, *folder_names]):
            suffix = _suffix(name, suffixes)
            path = os.path.join(parent, name)
            if suffix is None:
                others.update([suffix_of(name)] if name in names else [])
                continue
            if name in folder_names:
                raise DatasetError(f"{path}: found a folder with the name of an image, expected a file: rename it")
            key = os.path.relpath(path, folder)[: -len(suffix)].replace(os.sep, "/")
            if key in found:
                raise DatasetError(f"{path}: this name and {found[key]} differ only in their suffix: keep one of them")
            found[key] = path
    if suffixes is not None and any(suffix.startswith("_") for suffix in suffixes):
        others.clear()
    _log_left_out(folder, passed, others)
    return found


def _suffix(name: str, suffixes: Sequence[str] | None) -> str | None:
    """Returns the ending that makes a name an image's; None if it has none."""
    if suffixes is None:
        return os.path.splitext(name)[1] if has_image_suffix(name) else None
    return next((end for end in suffixes if name.lower().endswith(end.lower())), None)


def _log_left_out(folder: str, passed: Sequence[str], others: Counter[str]) -> None:
    if passed:
        shown = sorted(set(passed))
        names = ", ".join(shown[:_MOST_SHOWN]) + (", ..." if len(shown) > _MOST_SHOWN else "")
        logger.info("%s: skipped %d hidden or system files and folders: %s", folder, len(passed), names)
    if others:
        files = number_of(others.total(), "file")
        logger.info("%s: skipped %s with other suffixes: %s", folder, files, shown_suffixes(others))


def suffix_of(name: str) -> str:
    """Returns the suffix of a file in lower case, for counting files by suffix."""
    return os.path.splitext(name)[1].lower() or "without"


def shown_suffixes(suffixes: Counter[str]) -> str:
    """Describes how many files have each suffix, the most frequent first."""
    by_count = sorted(suffixes.items(), key=lambda item: (-item[1], item[0]))
    kinds = [f"{count} {suffix}" for suffix, count in by_count[:_MOST_SHOWN]]
    return ", ".join([*kinds, "..."] if len(suffixes) > _MOST_SHOWN else kinds)


def _refuse_unreadable(error: OSError) -> None:
    """Raises for a folder that cannot be read; a folder that does not exist has no files."""
    if not isinstance(error, FileNotFoundError):
        raise DatasetError(f"{error.filename}: the folder cannot be read ({error.strerror})") from error


def _refuse_loop(path: str) -> None:
    raise DatasetError(f"{path}: this link leads to one of its parent folders: remove it")
