"""List files: which images, and labels, belong to a split."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import NamedTuple

from database.regular_files import regular_file

ODGT_SUFFIX = ".odgt"
_LONGEST_SHOWN = 300


class DatasetError(ValueError):
    """A dataset that is unknown, incomplete or not laid out as expected."""


class AbsentSplitError(DatasetError):
    """A split of which nothing is there."""


class Entry(NamedTuple):
    """An image and its label.

    Attributes:
      key: path relative to the split's folder, or as listed, without suffix.
      image, label: paths; None where there is no label.
    """

    key: str
    image: str
    label: str | None


def listed(list_path: str, data_dir: str, split: str, by_last_parts: bool = False) -> list[Entry]:
    """The entries of a list file, all of whose files must exist.

    Args:
      list_path: a text file with lines `image label`, separated by a tab or by spaces; or, told by its suffix, an
        .odgt file as https://github.com/CSAILVision/semantic-segmentation-pytorch has them, with a JSON object
        {"fpath_img": image, "fpath_segm": label} per line. What else is in the objects, such as width and height, is
        not looked at: image and label are held against each other when they are loaded.
      data_dir: that the paths begin in; those of .odgt files also in its parent, as CSAIL's begin with the name of the
        dataset's folder.
      split: only lists of `test` may lack labels.
      by_last_parts: whether the last two parts of a path are enough.

    Raises:
      AbsentSplitError: there is no such file.
      DatasetError: the file is unreadable or malformed, lists an image twice, or names a file that does not exist.
    """
    is_odgt = list_path.lower().endswith(ODGT_SUFFIX)
    folders = [data_dir, *_parents(data_dir)] if is_odgt else [data_dir]
    entries: list[Entry] = []
    first_lines: dict[str, int] = {}
    missing: list[tuple[int, str]] = []
    for number, fields in (_odgt_lines if is_odgt else _text_lines)(list_path, split):
        if fields[0] in first_lines:
            listed_in, name = first_lines[fields[0]], _shortened(fields[0])
            raise DatasetError(f"{list_path}, line {number}: {name} is listed already in line {listed_in}")
        first_lines[fields[0]] = number
        paths = [_resolved(folders, field, by_last_parts) for field in fields]
        missing += [(number, field) for field, path in zip(fields, paths, strict=True) if not path]
        key = os.path.splitext(fields[0].lstrip("/"))[0]
        entries.append(Entry(key, paths[0], paths[1] if len(paths) == 2 else None))
    if missing:
        number, field = missing[0]
        raise DatasetError(
            f"{list_path}, line {number}: names {_shortened(field)}, which is no file in {' or '.join(folders)}"
            f"{and_more(len(missing) - 1)}"
        )
    return entries


def and_more(count: int) -> str:
    """What follows the first of several faults."""
    return f" (and {count} more)" if count else ""


def _shortened(value: object) -> str:
    text = value if isinstance(value, str) and value else json.dumps(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _lines(list_path: str, split: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is not empty."""
    try:
        with open(list_path, encoding="utf-8-sig", errors="replace", opener=regular_file) as file:
            lines = file.read().splitlines()
    except OSError as error:
        kind = AbsentSplitError if isinstance(error, FileNotFoundError) else DatasetError
        raise kind(f"{list_path}: list file of split '{split}' cannot be read ({error.strerror})") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, line.strip()


def _text_lines(list_path: str, split: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of the lines `image label`; only test lists may leave out the label."""
    for number, text in _lines(list_path, split):
        fields = [field.strip() for field in text.split("\t")] if "\t" in text else text.split()
        if not (len(fields) == 2 or (len(fields) == 1 and split == "test")):
            raise DatasetError(
                f"{list_path}, line {number}: found {len(fields)} paths, expected "
                "'image label' (paths that hold spaces are separated by one tab)"
            )
        yield number, fields


def _odgt_lines(list_path: str, split: str) -> Iterator[tuple[int, list[str]]]:
    """As `_text_lines`, of an .odgt file."""
    for number, text in _lines(list_path, split):
        where = f"{list_path}, line {number}"
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", type(error).__name__)
            raise DatasetError(f"{where}: not JSON ({reason}), expected one object a line") from error
        if not isinstance(values, dict):
            raise DatasetError(f'{where}: expected an object {{"fpath_img": image, "fpath_segm": label}}')
        names = ["fpath_img"] if split == "test" and "fpath_segm" not in values else ["fpath_img", "fpath_segm"]
        for name in names:
            if name not in values:
                raise DatasetError(f"{where}: '{name}' is missing, expected the path of a file")
            if not isinstance(values[name], str) or not values[name]:
                raise DatasetError(f"{where}: '{name}' is {_shortened(values[name])}, expected the path of a file")
        yield number, [values[name] for name in names]


def _parents(folder: str) -> list[str]:
    """The folder that one lies in; both where the folder is a link to one elsewhere."""
    parents = [os.path.dirname(path) for path in (os.path.abspath(folder), os.path.realpath(folder))]
    return list(dict.fromkeys(parents))


def _resolved(folders: list[str], path: str, by_last_parts: bool) -> str:
    """The file a list means, absolute or below one of the folders, perhaps by its last two parts only; "" if none."""
    candidates = [os.path.join(folder, name) for folder in folders for name in (path, path.lstrip("/"))]
    if by_last_parts:
        candidates += [os.path.join(folder, *path.split("/")[-2:]) for folder in folders]
    return next((candidate for candidate in candidates if os.path.isfile(candidate)), "")
