"""Label maps: the classes of the ids in label files."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from database import classes
from database.classes import IGNORE_LABEL
from database.errors import DatasetError, JsonError, TextFileError
from database.json_files import parse_json
from database.lists import and_more
from database.text_files import read_text, text_lines

UNKNOWN_LABEL = 254
MOST_FILE_ID = 65535  # the largest id in label files, which have up to 16 bits


def label_lookup(label_map: Mapping[int, int]) -> np.ndarray:
    """Builds the table that turns file ids into training ids by indexing.

    Args:
      label_map: id in the file (0..65535) -> training id.

    Returns:
      uint8 [256], or [65536] if the map has an id above 255: the training id, 255 if ignored, UNKNOWN_LABEL (254) if
      the id is not in the map.
    """
    size = 256 if max(label_map, default=0) <= 255 else MOST_FILE_ID + 1
    table = np.full(size, UNKNOWN_LABEL, dtype=np.uint8)
    table[list(label_map)] = list(label_map.values())
    return table


def own_label_map(
    num_classes: int, given_ignore_label: int | None, path: str | None, reduce_zero_label: bool = False
) -> Mapping[int, int]:
    """Makes the label map of a user's own data.

    Args:
      num_classes: 2..254.
      given_ignore_label: the id (0..65535) of ignored pixels; None for 255, unless the file gives that id to a class.
      path: path of a label map file, see `datasets.custom_dataset`; without a file the label files store training ids.
      reduce_zero_label: whether id 0 is ignored and the classes are the ids 1 to num_classes, as mmsegmentation's
        `reduce_zero_label`; not with a file.

    Returns:
      Id in the label files -> training id; 255 = ignored.

    Raises:
      DatasetError: the file is unreadable or malformed, has no id for a class, or gives the ignored id to a class; or
        the ignored id is out of range or a class.
    """
    ignore_label = IGNORE_LABEL if given_ignore_label is None else given_ignore_label
    if not 0 <= ignore_label <= MOST_FILE_ID:
        raise DatasetError(f"ignore_label {ignore_label}: expected 0 to {MOST_FILE_ID}")
    if path is not None:
        label_map = _read_label_map(path, num_classes)
        _refuse_contradictory_map(path, label_map, num_classes, given_ignore_label)
        return {ignore_label: IGNORE_LABEL, **label_map}
    if reduce_zero_label:
        return _reduced_map(num_classes, ignore_label)
    if ignore_label < num_classes:
        raise DatasetError(
            f"ignore_label {ignore_label} is also one of the {num_classes} classes 0 to "
            f"{num_classes - 1}: give the ids of the classes in a label map file"
        )
    return classes.identity_map(num_classes, ignore_label)


def _reduced_map(num_classes: int, ignore_label: int) -> Mapping[int, int]:
    """Returns the label map that ignores id 0 and maps the other ids to the training id below."""
    if 1 <= ignore_label <= num_classes:
        raise DatasetError(
            f"--ignore_label {ignore_label} ignores the id of class {ignore_label - 1} by --reduce_zero_label 1: "
            "drop one of them, or give the ids of the classes with --label_map"
        )
    return {0: IGNORE_LABEL, ignore_label: IGNORE_LABEL, **{index + 1: index for index in range(num_classes)}}


def _refuse_contradictory_map(
    path: str, label_map: Mapping[int, int], num_classes: int, ignore_label: int | None
) -> None:
    """Checks that every class has an id, and that no class has the ignored id."""
    missing = sorted(set(range(num_classes)) - set(label_map.values()))
    if missing:
        raise DatasetError(
            f"{path}: the label map has no id for training id {missing[0]}{and_more(len(missing) - 1)}, and there are "
            f"{num_classes} classes, 0 to {num_classes - 1}: add a line '<id> {missing[0]}', or correct --num_classes"
        )
    train_id = IGNORE_LABEL if ignore_label is None else label_map.get(ignore_label, IGNORE_LABEL)
    if train_id != IGNORE_LABEL:
        raise DatasetError(
            f"{path}: the label map gives id {ignore_label} the training id {train_id} ('{ignore_label} {train_id}'), "
            f"but --ignore_label {ignore_label} ignores that id: change the line or --ignore_label"
        )


def _read_label_map(path: str, num_classes: int) -> dict[int, int]:
    try:
        text = read_text(path)
    except OSError as error:
        raise DatasetError(f"{path}: the label map file cannot be read ({error.strerror or error})") from error
    except TextFileError as error:
        raise DatasetError(str(error)) from error
    rows = _json_rows(path, text) if path.lower().endswith(".json") else _text_rows(path, text)
    label_map: dict[int, int] = {}
    for where, file_id, train_id in rows:
        train_id = str(IGNORE_LABEL) if train_id.lower() == "ignore" else train_id
        if not (_is_number(file_id) and int(file_id) <= MOST_FILE_ID):
            raise DatasetError(f"{where}: found id '{file_id[:60]}', expected 0 to {MOST_FILE_ID}")
        if not (_is_number(train_id) and (int(train_id) < num_classes or int(train_id) == IGNORE_LABEL)):
            raise DatasetError(
                f"{where}: found training id '{train_id[:60]}', expected 0 to {num_classes - 1}, 255 or 'ignore'"
            )
        if int(file_id) in label_map:
            raise DatasetError(f"{where}: id {file_id} is already mapped: keep one line")
        label_map[int(file_id)] = int(train_id)
    return label_map


def _is_number(text: str) -> bool:
    # Python does not convert thousands of digits into a number.
    return text.isdecimal() and len(text) <= 100


def _text_rows(path: str, text: str) -> list[tuple[str, str, str]]:
    rows = []
    for number, line in text_lines(text):
        where = f"{path}, line {number}"
        fields = line.split()
        if len(fields) > 2 and fields[2].startswith("#"):
            raise DatasetError(f"{where}: found '{line[:60]}', expected 'id train_id': put the comment on another line")
        if len(fields) != 2:
            raise DatasetError(f"{where}: found '{line[:60]}', expected 'id train_id'")
        rows.append((where, fields[0], fields[1]))
    return rows


def _json_rows(path: str, text: str) -> list[tuple[str, str, str]]:
    try:
        content = parse_json(text)
    except JsonError as error:
        raise DatasetError(error.at(path)) from error
    if not isinstance(content, dict):
        raise DatasetError(f'{path}: expected a JSON object {{"id": train_id}}')
    return [(f"{path}, id {file_id[:60]}", file_id, str(train_id)) for file_id, train_id in content.items()]
