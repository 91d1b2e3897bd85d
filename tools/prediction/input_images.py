"""Finds the images that inference.py segments, and names their results."""

from __future__ import annotations

import logging
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from database.counts import number_of
from database.data_files import is_no_data, shown_suffixes, suffix_of
from database.errors import ImageError
from database.folders import is_folder, walked
from database.image_suffixes import has_image_suffix
from database.pairing_hints import masks_among
from database.path_spellings import path_as_given, path_of_url
from tools.prediction.result_names import PROVENANCE_FILE, ResultNames

logger = logging.getLogger(__name__)

_MOST_SHOWN = 3


def typed_paths_in(line: str) -> list[str]:
    """Splits a line that was typed, pasted or dragged into a terminal into paths.

    Terminals and file managers quote paths, escape blanks by backslashes or write `file://` URLs, and put several
    files in one line. Paths are interpreted as in a flag. If the whole line is the path of a file, it is not
    split.

    Args:
        line: not blank.
    """
    line = line.strip()
    bare = line.strip("'\"")
    for candidates in ([line], [bare], _shell_words(line)):
        paths = [_as_a_flag(candidate) for candidate in candidates]
        if paths and all(os.path.exists(path) for path in paths):
            return paths
    return [_as_a_flag(bare)]


def _as_a_flag(text: str) -> str:
    """Returns the path that a text means in a flag, or a path that does not exist if the text is not valid."""
    try:
        return path_as_given(text)
    except ValueError:
        return os.path.expanduser(path_of_url(text))


def _shell_words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # a quote is not closed
        return []


def images_in(folder: str, *, recursive: bool = False) -> list[tuple[str, str]]:
    """Lists (name of the results, path) of the images in a folder, sorted; see `database.image_suffixes`.

    Hidden and system files are ignored. The number of other ignored files and folders is logged, and a warning if files
    look like masks of others. The name is that of the file without suffix; the suffix is added if two files differ only
    in it.

    Args:
        folder: with the images.
        recursive: whether to list the images in its subfolders too, whose names are then part of the names of the
            results, except folders of results.

    Raises:
        ImageError: a folder cannot be read, or there are no images.
    """
    listed = _listed_below(folder) if recursive else [_listed(folder)]
    if not any(entries.files for entries in listed):
        others = sum((entries.others for entries in listed), Counter())
        raise ImageError(_no_image(folder, others, [] if recursive else listed[0].folders))
    found = []
    for entries in listed:
        _log_ignored(entries, is_searched=recursive)
        prefix = os.path.relpath(entries.folder, folder).replace(os.sep, "/")
        found += _named(entries, "" if prefix == os.curdir else f"{prefix}/")
    return found


class _Entries(NamedTuple):
    """Entries of a folder, sorted: images, other files by suffix, and folders."""

    folder: str
    files: list[str]
    others: Counter[str]
    folders: list[str]


def _entries_of(folder: str, files: Iterable[str], folders: Iterable[str]) -> _Entries:
    names = sorted(name for name in files if not is_no_data(name))
    others = Counter(suffix_of(name) for name in names if not has_image_suffix(name))
    kept = sorted(name for name in folders if not is_no_data(name))
    return _Entries(folder, [name for name in names if has_image_suffix(name)], others, kept)


def _listed(folder: str) -> _Entries:
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, is_folder(entry)) for entry in entries]
    except OSError as error:
        raise _unreadable(folder, error) from error
    return _entries_of(
        folder,
        [name for name, is_folder in found if not is_folder],
        [name for name, is_folder in found if is_folder],
    )


def _listed_below(folder: str) -> list[_Entries]:
    """Lists a folder and those below it, through links; folders of results are skipped."""

    def refuse(error: OSError) -> None:
        raise _unreadable(str(error.filename or folder), error) from error

    found = []
    for parent, folders, files in walked(folder, refuse, lambda path: logger.info("%s leads back: skipped", path)):
        if PROVENANCE_FILE in files:
            logger.info("%s has results of an earlier prediction: skipped", parent)
            folders.clear()
            continue
        entries = _entries_of(parent, files, folders)
        folders[:] = entries.folders
        found.append(entries)
    return sorted(found, key=lambda entries: entries.folder)


def _unreadable(folder: str, error: OSError) -> ImageError:
    return ImageError(f"{folder}: the folder cannot be read ({error.strerror or error}): check its permissions")


def _log_ignored(entries: _Entries, *, is_searched: bool) -> None:
    """Logs files and folders that are ignored, and warns of masks."""
    folder, files, others, folders = entries
    if others:
        count = others.total() + len(files)
        kinds = shown_suffixes(others)
        logger.info("%s: %d of %d files are ignored by their suffixes: %s", folder, others.total(), count, kinds)
    if folders and not is_searched:
        logger.info("%s: %s ignored", folder, number_of(len(folders), "subfolder is", "subfolders are"))
    masks = masks_among(files)
    if masks:
        logger.warning(
            "%s: %s of others by the name, such as %s, but predicted as a photo: to leave masks out, move them to "
            "another folder",
            folder,
            number_of(len(masks), "file looks like a mask", "files look like masks"),
            masks[0],
        )


def _named(entries: _Entries, prefix: str) -> list[tuple[str, str]]:
    """Returns (name of the results, path) of the images in a folder; the prefix is of the names."""
    stems = Counter(os.path.splitext(name)[0] for name in entries.files)
    names = ResultNames()

    def named(file: str) -> tuple[str, str]:
        path, (stem, suffix) = os.path.join(entries.folder, file), os.path.splitext(file)
        wanted = stem if stems[stem] == 1 else f"{stem}_{suffix[1:]}"
        return prefix + names.name(path, wanted), path

    return [named(file) for file in entries.files]


def _no_image(folder: str, others: Counter[str], folders: Sequence[str]) -> str:
    kinds = f": {shown_suffixes(others)}" if others else ""
    fault = (
        f"{folder}: this folder contains no image, by the suffixes of its {number_of(others.total(), 'file')}{kinds}"
    )
    if not folders:
        return f"{fault}: give another folder, or a file"
    shown = f"{', '.join(folders[:_MOST_SHOWN])}{', ...' if len(folders) > _MOST_SHOWN else ''}"
    first = os.path.join(folder, folders[0])
    advice = f"add --recursive 1, or give one of them, such as --image_path {shlex.quote(first)}"
    return f"{fault}; it has {len(folders)} subfolders, {shown}: {advice}"
