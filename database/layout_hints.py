"""Finds where the folders of a dataset are instead of where they are expected: ends of messages, empty if unknown."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from database.counts import number_of
from database.data_files import is_no_data
from database.folders import is_folder
from database.image_suffixes import has_image_suffix

# Names that people use for the same thing.
_SAME = (
    ("train", "training", "trn"),
    ("val", "valid", "validation", "dev", "eval"),
    ("test", "testing", "tst"),
    ("images", "image", "imgs", "img", "jpegimages"),
    ("labels", "label", "masks", "mask", "annotations", "annotation", "annots", "segmentationclass"),
    ("trainannot", "train_labels", "train_annot", "trainannots"),
    ("valannot", "val_labels", "val_annot", "valannots"),
    ("testannot", "test_labels", "test_annot", "testannots"),
)
_DEEPEST = 2
_MOST_FOLDERS = 500
_MOST_SHOWN = 3


def layout_hint(data_dir: str, expected: Sequence[str]) -> str:
    """Describes where the expected folders are, and how to correct it.

    The search covers other spellings in the same place (`valid` for `val`), `train/images` instead of `images/train`,
    the whole dataset in a folder below or above data_dir, and its parts in several folders below, as left by archives
    that were unpacked side by side.

    Args:
      data_dir: the folder of the dataset.
      expected: paths of the expected folders below it.
    """
    missing = [path for path in expected if not os.path.isdir(os.path.join(data_dir, path))]
    if not missing:
        return ""
    return _elsewhere(data_dir, expected) or _other_spelling(data_dir, missing)


def flat_hint(data_dir: str) -> str:
    """Describes how to arrange a user's data whose images and labels are in two folders without split folders.

    Args:
      data_dir: the folder of the data, which is searched for `images` and `labels` in all their spellings.
    """
    images, labels = _similar([data_dir], ["images"]), _similar([data_dir], ["labels"])
    if len(images) != 1 or _folders_in(images[0]):
        return ""
    count = _images_in(images[0])
    if not count:
        return ""
    advice = (
        f"; {number_of(count, 'image is', 'images are')} in {images[0]} itself: move images to images/train and labels "
        "to labels/train and add --holdout 0.2, or give --train_list"
    )
    if len(labels) != 1 or _folders_in(labels[0]) or os.path.exists(os.path.join(data_dir, "train")):
        return advice
    places = ((images[0], "images"), (labels[0], "labels"))
    moves = [_move_below(os.path.basename(source), "train", name) for source, name in places]
    return f"{advice}; the moves are: (cd {shlex.quote(data_dir)} && {' && '.join(moves)})"


def has_folder_like(data_dir: str, name: str) -> bool:
    """Returns whether a folder has one of a name that means the same, such as `masks` for `labels`."""
    return bool(_similar([data_dir], [name]))


def _images_in(folder: str) -> int:
    try:
        return sum(has_image_suffix(name) and not is_no_data(name) for name in os.listdir(folder))
    except OSError:
        return 0


def _move_below(source: str, name: str, parent: str) -> str:
    """Returns the command that moves a folder to <parent>/<name>, even if `parent` is the folder's old path."""
    return f"mv {shlex.quote(source)} {name} && mkdir -p {parent} && mv {name} {parent}/"


def spelling_hint(folder: str) -> str:
    """Describes a folder with another spelling beside one that does not exist; the end of a message."""
    parent, name = os.path.split(os.path.abspath(folder))
    found = _similar([parent], [name])
    return f"; {found[0]} is there: give --data_dir {shlex.quote(found[0])}" if len(found) == 1 else ""


def _elsewhere(data_dir: str, expected: Sequence[str]) -> str:
    """Describes the --data_dir that has all of the folders, or the moves that bring them together."""
    below = _folders_below(data_dir)
    whole = whole_hint(data_dir, expected)
    if whole:
        return whole
    moves = []
    for top in dict.fromkeys(path.split("/")[0] for path in expected):
        if not os.path.isdir(os.path.join(data_dir, top)):
            parts = [path for path in expected if path.split("/")[0] == top]
            places = [os.path.join(folder, top) for folder in below if _has_all(folder, parts)]
            if len(places) != 1:
                return ""
            moves.append(places[0])
    if not moves:
        return ""
    command = " ".join(shlex.quote(path) for path in [*moves, f"{data_dir}/"])
    return f"; {' and '.join(moves)} {'is' if len(moves) == 1 else 'are'} there: mv {command}"


def whole_hint(data_dir: str, expected: Sequence[str]) -> str:
    """Describes the folders below or above data_dir that have all of the expected folders; the end of a message."""
    whole = [folder for folder in (*_folders_below(data_dir), *_folders_above(data_dir)) if _has_all(folder, expected)]
    if len(whole) == 1:
        return f"; it is in {whole[0]}: give --data_dir {shlex.quote(whole[0])}"
    return f"; it is in {' and '.join(whole[:_MOST_SHOWN])}: give one of them as --data_dir" if whole else ""


def _folders_above(folder: str) -> list[str]:
    """Returns the parent folders of a folder, the closest first."""
    path, found = os.path.abspath(folder), []
    for _ in range(_DEEPEST):
        path = os.path.dirname(path)
        found.append(path)
    return list(dict.fromkeys(found))


def _has_all(folder: str, paths: Sequence[str]) -> bool:
    return all(os.path.isdir(os.path.join(folder, path)) for path in paths)


def _folders_below(folder: str) -> list[str]:
    """Returns the folders below a folder, the closest first."""
    found, level = [], [folder]
    for _ in range(_DEEPEST):
        level = [path for parent in level for path in _folders_in(parent)][:_MOST_FOLDERS]
        found += level
    return found


def _folders_in(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.path for entry in entries if is_folder(entry) and not is_no_data(entry.name))
    except OSError:
        return []


def _other_spelling(data_dir: str, missing: Sequence[str]) -> str:
    """Finds folders whose names have the same meaning as the expected ones, also in reversed order."""
    moves: list[tuple[str, str]] = []
    for path in missing:
        parts, target = path.split("/"), os.path.join(data_dir, path)
        found = _similar([data_dir], parts) or _similar([data_dir], list(reversed(parts)))
        if len(found) == 1:
            moves.append((found[0], target))
    if not moves:
        return ""
    sources = " and ".join(source for source, _ in moves)
    commands = " && ".join(_move(source, target) for source, target in moves)
    return f"; {sources} {'is' if len(moves) == 1 else 'are'} there: {commands}"


def _similar(folders: Sequence[str], parts: Sequence[str]) -> list[str]:
    """Finds the folders below others by paths whose parts have the same meaning as the given ones."""
    for part in parts:
        folders = [
            found
            for folder in folders
            for found in _folders_in(folder)
            if _means_the_same(os.path.basename(found), part)
        ]
    return list(folders)


def _move(source: str, target: str) -> str:
    parent = os.path.dirname(target)
    move = f"mv {shlex.quote(source)} {shlex.quote(target)}"
    return move if os.path.isdir(parent) else f"mkdir -p {shlex.quote(parent)} && {move}"


def _means_the_same(name: str, expected: str) -> bool:
    known = next((names for names in _SAME if expected.lower() in names), (expected.lower(),))
    return name.lower() in known
