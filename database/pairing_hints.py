"""Recognizes labels that are beside their images or have longer names, and writes the commands that pair them.

The commands are for a POSIX shell. `mv -n` never overwrites a file.
"""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from database.counts import number_of
from database.data_files import is_no_data
from database.image_suffixes import has_image_suffix

_LOSSY = (".jpg", ".jpeg")
_DIGITS = "0123456789"
_SEPARATOR = re.compile(r"[_\-. ]")
# Names that need no quoting within double quotes and in patterns.
_PLAIN = re.compile(r"[\w. -]*", re.ASCII)
_LETTER = re.compile("[A-Za-z]")


class _Renaming(NamedTuple):
    """Turns the names of labels into those of their images: replaces what is before and after the common part."""

    before: str = ""
    after: str = ""
    new_before: str = ""
    new_after: str = ""

    def image_of(self, label: str) -> str | None:
        """Returns the name of a label's image; None if the label's name has other ends."""
        core = label[len(self.before) : len(label) - len(self.after)]
        return f"{self.new_before}{core}{self.new_after}" if f"{self.before}{core}{self.after}" == label else None

    @property
    def is_safe(self) -> bool:
        """Whether the ends are words that a shell leaves as they are; names that differ in numbers are no pairs."""
        return all(map(_PLAIN.fullmatch, self)) and bool(_LETTER.search("".join(self)))


def rename_hint(images: Collection[str], labels: Collection[str], label_folder: str, paths: Iterable[str]) -> str:
    """Returns the command that renames labels like `0001_mask.png` to the names of their images; "" if none fits.

    Args:
      images, labels: names without suffix of the images without a label, and of the labels without an image.
      label_folder: folder of the labels.
      paths: of the labels.
    """
    suffixes = {os.path.splitext(path)[1] for path in paths}
    renaming = _renaming(images, labels)
    if renaming is None or len(suffixes) != 1 or any("/" in name for name in labels):
        return ""
    loop = _loop(renaming, suffixes.pop(), "")
    return f"; the names of the labels differ by a constant part: (cd {shlex.quote(label_folder)} && {loop})"


def mixed_hint(data_dir: str, split: str) -> str:
    """Returns the commands that move images and labels from one folder into two; "" if no such folder is found.

    Args:
      data_dir: folder of the dataset, which is searched, as are its folders images, <split> and images/<split>.
      split: train or val. Files outside folders of splits become the training images.
    """
    for place, own in (("images/" + split, split), (split, split), ("images", "train"), ("", "train")):
        folder = os.path.join(data_dir, place) if place else data_dir
        mixed = _mixed(_image_names(folder))
        if mixed is not None:
            return _mixed_text(data_dir, folder, own, mixed)
    return ""


def masks_among(names: Sequence[str]) -> list[str]:
    """Returns the names in one folder that look like masks of others, such as `a_mask.png` beside `a.jpg`, sorted."""
    masks = {name for name in _with_the_most_frequent_ending(names) if _suffix(name).lower() not in _LOSSY}
    images = {_stem(name) for name in names} - {_stem(name) for name in masks}
    return sorted(masks) if _renaming(images, {_stem(name) for name in masks}) else []


class _Mixed(NamedTuple):
    """The names of the images and of the labels in a folder, and how the labels are to be renamed."""

    images: Sequence[str]
    labels: Sequence[str]
    renaming: _Renaming


def _mixed(names: Sequence[str]) -> _Mixed | None:
    """Divides the names of a folder into images and labels; None if they are not of both kinds."""
    for labels in (_lossless_beside_lossy(names), _with_the_most_frequent_ending(names)):
        images = sorted(set(names) - labels)
        renaming = _renaming([_stem(name) for name in images], [_stem(name) for name in labels]) if labels else None
        if renaming is not None and len({_suffix(name) for name in labels}) == 1:
            return _Mixed(images, sorted(labels), renaming)
    return None


def _lossless_beside_lossy(names: Sequence[str]) -> set[str]:
    """Returns the names without the suffix of JPEG, which cannot hold labels; empty if there is no JPEG file."""
    others = {name for name in names if _suffix(name).lower() not in _LOSSY}
    return others if len(others) < len(names) else set()


def _with_the_most_frequent_ending(names: Sequence[str]) -> set[str]:
    """Returns the names that consist of another file's name and the same word, such as `_mask` or `label_`."""
    stems = {_stem(name) for name in names}
    words: Counter[tuple[str, str]] = Counter()
    for stem in stems:
        for separator in _SEPARATOR.finditer(stem):
            if stem[: separator.start()] in stems:
                words["", stem[separator.start() :]] += 1
            if stem[separator.end() :] in stems:
                words[stem[: separator.end()], ""] += 1
    if not words:
        return set()
    (before, after), _ = words.most_common(1)[0]
    return {name for name in names if _Renaming(before, after).image_of(_stem(name)) in stems}


def _renaming(images: Collection[str], labels: Collection[str]) -> _Renaming | None:
    """Finds the renaming that gives each label the name of an image of its own; None if there is none."""
    if not labels or not images:
        return None
    known = set(images)
    if known.issuperset(labels):
        return _Renaming()
    for renaming in _candidates(images, labels):
        found = {renaming.image_of(label) for label in labels}
        if renaming.is_safe and len(found) == len(labels) and found <= known:
            return renaming
    return None


def _candidates(images: Collection[str], labels: Collection[str]) -> Iterator[_Renaming]:
    label = min(labels)
    for image in sorted(images, key=len, reverse=True):
        if image and label.startswith(image):
            yield _Renaming(after=label[len(image) :])
        if image and label.endswith(image):
            yield _Renaming(before=label[: -len(image)])
    if len(images) > 1 and len(labels) > 1:
        (before, after), (new_before, new_after) = _constant_ends(labels), _constant_ends(images)
        before, new_before = ("", "") if before == new_before else (before, new_before)
        after, new_after = ("", "") if after == new_after else (after, new_after)
        yield _Renaming(before, after, new_before, new_after)


def _constant_ends(names: Collection[str]) -> tuple[str, str]:
    """Returns what all names begin and end with; numbers next to the part that differs belong to that part."""
    before = os.path.commonprefix(list(names)).rstrip(_DIGITS)
    rest = [name[len(before) :][::-1] for name in names]
    return before, os.path.commonprefix(rest)[::-1].lstrip(_DIGITS)


def _mixed_text(data_dir: str, folder: str, split: str, mixed: _Mixed) -> str:
    images, labels = (os.path.relpath(os.path.join(data_dir, kind, split), folder) for kind in ("images", "labels"))
    targets = [labels] if images == "." else [images, labels]
    steps = [f"mkdir -p {' '.join(targets)}", _loop(mixed.renaming, _suffix(mixed.labels[0]), labels)]
    if images != ".":
        patterns = " ".join(f"*{shlex.quote(suffix)}" for suffix in sorted({_suffix(name) for name in mixed.images}))
        steps.append(f'for file in {patterns}; do mv -n "$file" {images}/; done')
    counts = f"{number_of(len(mixed.images), 'image')} and {number_of(len(mixed.labels), 'label')}"
    return f"; {counts} are in one folder, {folder}; the moves are: (cd {shlex.quote(folder)} && {' && '.join(steps)})"


def _loop(renaming: _Renaming, suffix: str, target: str) -> str:
    """Returns a loop of the shell that renames the files with the renaming's ends and moves them to a folder."""
    before, after, new_before, new_after = renaming
    pattern = f"{before and shlex.quote(before)}*{shlex.quote(after + suffix)}"
    place = f"{target}/" if target else ""
    strip = f'name="${{file#{before}}}" && ' if before else ""
    core = f"${{{'name' if before else 'file'}%{after}{suffix}}}"
    return f'for file in {pattern}; do {strip}mv -n "$file" "{place}{new_before}{core}{new_after}{suffix}"; done'


def _image_names(folder: str) -> list[str]:
    """Returns the names of the images directly in a folder; of none if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                e.name for e in entries if has_image_suffix(e.name) and not is_no_data(e.name) and e.is_file()
            )
    except OSError:
        return []


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1]
