"""List files: which images, and labels, belong to a split."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from database.errors import AbsentSplitError, DatasetError, IdsNotFoundError, JsonError, TextFileError
from database.id_lists import IdFolders, files_of_ids
from database.image_suffixes import has_image_suffix
from database.json_files import parse_json
from database.list_hints import (
    columns_named_swapped,
    header_hint,
    hint_for_line,
    hint_for_missing,
    labels_are_jpeg,
)
from database.path_spellings import other_spellings
from database.text_files import is_comment, numbered_lines, read_text

logger = logging.getLogger(__name__)

ODGT_SUFFIX = ".odgt"
_LONGEST_SHOWN = 300

# A no-break space or other Unicode white space is part of a path.
_SPACES = re.compile(" +")


class Entry(NamedTuple):
    """An image and its label.

    Attributes:
      key: path relative to the split's folder, or as listed, without suffix.
      image, label: paths; label is None if there is none.
    """

    key: str
    image: str
    label: str | None


class _Row(NamedTuple):
    number: int  # number of the line, from 1
    line: str
    fields: list[str]  # image and label, or only the image


def listed(
    list_path: str,
    data_dir: str,
    split: str,
    by_last_parts: bool = False,
    id_folders: Sequence[IdFolders] = (),
) -> list[Entry]:
    """Reads the entries of a list file, all of whose files must exist.

    Args:
      list_path: a text file with lines `image label`, separated by a tab or by spaces; or with one id per line, whose
        files are in `id_folders`; or, recognized by its suffix, an .odgt file as in
        https://github.com/CSAILVision/semantic-segmentation-pytorch, with a JSON object {"fpath_img": image,
        "fpath_segm": label} per line. Other values of the objects, such as width and height, are ignored: the sizes of
        image and label are compared when they are loaded. Lines that begin with # are comments.
      data_dir: the folder that paths are relative to; in .odgt files also its parent, since CSAIL's paths begin with
        the name of the dataset's folder. If a path names no file, the spellings of `path_spellings.other_spellings` are
        tried.
      split: name of the split; only lists of `test` may lack labels.
      by_last_parts: whether the last two parts of a path are sufficient to find a file.
      id_folders: see `database.id_lists.files_of_ids`.

    Raises:
      AbsentSplitError: the list file does not exist.
      DatasetError: the file is unreadable or malformed, lists an image twice (even by different paths), names a file
        that does not exist, or has only JPEG files as labels and none as images.
    """
    is_odgt = list_path.lower().endswith(ODGT_SUFFIX)
    text = _text_of(list_path, split, data_dir)
    rows = list(_odgt_rows(list_path, text, split) if is_odgt else _text_rows(list_path, text, data_dir))
    folders = [data_dir, *_parents(data_dir)] if is_odgt else [data_dir]
    of_ids = None if is_odgt else _entries_of_ids(rows, list_path, text, data_dir, split, id_folders)
    if of_ids is not None:
        entries = of_ids
    else:
        if not is_odgt:
            _check_counts(rows, list_path, text, split)
        entries = [_entry(row.fields, folders, by_last_parts) for row in rows]
        _refuse_missing(rows, entries, list_path, text, folders)
        _check_order(rows, list_path)
    _refuse_repeats(rows, entries, list_path)
    return entries


def _entry(fields: list[str], folders: list[str], by_last_parts: bool) -> Entry:
    """Makes an entry; the path of a file that does not exist is ""."""
    paths = [_resolved(folders, field, by_last_parts) for field in fields]
    return Entry(os.path.splitext(fields[0].lstrip("/"))[0], paths[0], paths[1] if len(paths) == 2 else None)


def _entries_of_ids(
    rows: Sequence[_Row], list_path: str, text: str, data_dir: str, split: str, id_folders: Sequence[IdFolders]
) -> list[Entry] | None:
    """Returns the entries of a list of bare ids; None if it is another kind of list."""
    if not id_folders or not rows or any(len(row.fields) != 1 for row in rows):
        return None
    if any(has_image_suffix(row.fields[0]) or _resolved([data_dir], row.fields[0], False) for row in rows):
        return None
    if hint_for_line(text, rows[0].line, rows[0].fields):
        return None
    ids = [row.fields[0].lstrip("/") for row in rows]
    try:
        found = files_of_ids(ids, data_dir, id_folders, with_labels=split != "test")
    except IdsNotFoundError as error:
        row = rows[error.index]
        raise DatasetError(
            f"{list_path}, line {row.number}: {_shortened(row.fields[0])} is only an id: {error}"
            f"{_header_hint(row, rows)}"
        ) from error
    return [Entry(os.path.splitext(os.path.relpath(image, data_dir))[0], image, label) for image, label in found]


def _check_counts(rows: Sequence[_Row], list_path: str, text: str, split: str) -> None:
    for row in rows:
        number, line, fields = row
        if not (len(fields) == 2 or (len(fields) == 1 and split == "test")):
            is_image = len(fields) == 1 and has_image_suffix(fields[0])
            no_label = "; the line has no label: write the label after the image" if is_image else ""
            hint = hint_for_line(text, line, fields) or _header_hint(row, rows) or no_label
            raise DatasetError(
                f"{list_path}, line {number}: found {len(fields)} paths, expected 'image label' (separate "
                f"paths that contain spaces by one tab){hint}"
            )


def _header_hint(row: _Row, rows: Sequence[_Row]) -> str:
    return header_hint(row.number, row.fields) if row is rows[0] else ""


def _refuse_missing(
    rows: Sequence[_Row], entries: Sequence[Entry], list_path: str, text: str, folders: Sequence[str]
) -> None:
    missing = [
        (row, field)
        for row, entry in zip(rows, entries, strict=True)
        for field, path in zip(row.fields, (entry.image, entry.label), strict=False)
        if not path
    ]
    if missing:
        row, field = missing[0]
        hint = (
            hint_for_line(text, row.line, row.fields)
            or _header_hint(row, rows)
            or hint_for_missing(field, folders[0], list_path)
        )
        raise DatasetError(
            f"{list_path}, line {row.number}: names {_shortened(field)}, which is not a file in {' or '.join(folders)}"
            f"{and_more(len(missing) - 1)}{hint}"
        )


def _check_order(rows: Sequence[_Row], list_path: str) -> None:
    """Rejects a list with the labels first if the file types prove it; warns if only the names suggest it."""
    pairs = [row.fields for row in rows]
    are_jpeg = labels_are_jpeg(pairs)
    if not (are_jpeg or columns_named_swapped(pairs)):
        return
    image, label = map(_shortened, rows[0].fields)
    separator = " -F'\\t'" if "\t" in rows[0].line else ""
    where = f"{list_path}, line {rows[0].number}: {image} is where the image is expected and {label} where the label is"
    advice = f"write 'image label', e.g. by awk{separator} '{{print $2 \"\\t\" $1}}'"
    if are_jpeg:
        raise DatasetError(f"{where}, but JPEG files do not preserve the ids of labels: {advice}")
    logger.warning("%s, and by their names all lines have the label first: if so, %s", where, advice)


def _refuse_repeats(rows: Sequence[_Row], entries: Sequence[Entry], list_path: str) -> None:
    """Rejects an image that is listed twice, by whatever path or link."""
    first: dict[str, _Row] = {}
    for row, entry in zip(rows, entries, strict=True):
        image, name = os.path.realpath(entry.image), _shortened(row.fields[0])
        earlier = first.setdefault(image, row)
        if earlier is not row:
            same = "" if earlier.fields[0] == row.fields[0] else f", as {_shortened(earlier.fields[0])}"
            raise DatasetError(
                f"{list_path}, line {row.number}: {name} is already listed in line {earlier.number}{same}"
            )


def and_more(count: int) -> str:
    """Returns what follows the first of several faults in a message."""
    return f" (and {count} more)" if count else ""


def _shortened(value: object) -> str:
    text = value if isinstance(value, str) and value else json.dumps(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _text_of(list_path: str, split: str, data_dir: str) -> str:
    try:
        return read_text(list_path)
    except OSError as error:
        kind = AbsentSplitError if isinstance(error, FileNotFoundError) else DatasetError
        inside = os.path.join(data_dir, list_path)
        hint = f"; paths of lists are relative to the current folder: give {inside}" if os.path.isfile(inside) else ""
        raise kind(f"{list_path}: the list of split '{split}' cannot be read ({error.strerror}){hint}") from error
    except TextFileError as error:
        raise DatasetError(str(error)) from error


def _text_rows(list_path: str, text: str, data_dir: str) -> Iterator[_Row]:
    """Yields the lines of paths, with any number of paths per line."""
    for number, line in numbered_lines(text):
        parts = line.split("\t") if "\t" in line else _SPACES.split(line)
        fields = [part.strip() for part in parts if part.strip()]
        if not is_comment(line):
            yield _Row(number, line, fields)
        elif _resolved([data_dir], fields[0], False):
            raise DatasetError(
                f"{list_path}, line {number}: the line begins with # like a comment, but names the file "
                f"{_shortened(fields[0])}: write ./{_shortened(fields[0])}, or a space after # if it is a comment"
            )


def _odgt_rows(list_path: str, text: str, split: str) -> Iterator[_Row]:
    """Yields the objects of an .odgt file; only those of test lists may leave out the label."""
    for number, line in numbered_lines(text):
        if is_comment(line):
            continue
        where = f"{list_path}, line {number}"
        try:
            values = parse_json(line)
        except JsonError as error:
            raise DatasetError(f"{where}: {error.reason}, expected one object per line") from error
        if not isinstance(values, dict):
            raise DatasetError(f'{where}: expected an object {{"fpath_img": image, "fpath_segm": label}}')
        names = ["fpath_img"] if split == "test" and "fpath_segm" not in values else ["fpath_img", "fpath_segm"]
        for name in names:
            if name not in values:
                raise DatasetError(f"{where}: '{name}' is missing, expected the path of a file")
            if not isinstance(values[name], str) or not values[name]:
                raise DatasetError(f"{where}: '{name}' is {_shortened(values[name])}, expected the path of a file")
        yield _Row(number, line, [values[name] for name in names])


def _parents(folder: str) -> list[str]:
    """Returns the parent of a folder; if the folder is a link, also the parent of its target."""
    parents = [os.path.dirname(path) for path in (os.path.abspath(folder), os.path.realpath(folder))]
    return list(dict.fromkeys(parents))


def _resolved(folders: list[str], path: str, by_last_parts: bool) -> str:
    """Finds a listed file: absolute, below one of the folders, or by its last two parts; "" if there is none.

    If there is none, other spellings of the path are tried. They count only if all that exist are the same file.
    """
    found = _file_of(folders, path, by_last_parts)
    if found:
        return found
    others = [_file_of(folders, spelling, by_last_parts) for spelling in other_spellings(path)]
    files = {os.path.realpath(other): other for other in others if other}
    return next(iter(files.values())) if len(files) == 1 else ""


def _file_of(folders: list[str], path: str, by_last_parts: bool) -> str:
    """Finds the file of a path exactly as spelled; see `_resolved`."""
    candidates = [os.path.join(folder, name) for folder in folders for name in (path, path.lstrip("/"))]
    if by_last_parts:
        candidates += [os.path.join(folder, *path.split("/")[-2:]) for folder in folders]
    return next((candidate for candidate in candidates if os.path.isfile(candidate)), "")
