"""Names of samples, for the files that are written for them: as many names as samples."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence

from database.lists import Entry

_DIGITS = 8

# File systems have room for 255 bytes, and files written for a sample end with up to 15 more, as `_prediction.png`.
_MOST_BYTES = 240


def sample_names(entries: Sequence[Entry]) -> list[str]:
    """A name for each entry, different from all others and free of path separators.

    It is the stem of the image; the whole path as listed, or relative to the split's folder, where stems clash; with
    the suffix where that clashes; and with a checksum of that path where even then two would be the same, or where the
    name is too long for a file. The name of an entry depends on the other entries only in that.
    """
    stems = Counter(os.path.basename(entry.key) for entry in entries)
    keys = Counter(entry.key for entry in entries)
    names = [_readable_name(entry, stems, keys) for entry in entries]
    counts = Counter(names)
    taken = {name for name in names if counts[name] == 1 and _fits(name)}
    for index, (entry, name) in enumerate(zip(entries, names, strict=True)):
        if counts[name] > 1 or not _fits(name):
            names[index] = _name_with_checksum(entry, name, taken)
            taken.add(names[index])
    return names


def _readable_name(entry: Entry, stems: Counter[str], keys: Counter[str]) -> str:
    stem = os.path.basename(entry.key)
    if stems[stem] == 1:
        return stem
    suffix = os.path.splitext(entry.image)[1].replace(".", "_") if keys[entry.key] > 1 else ""
    return entry.key.replace("/", "__") + suffix


def _fits(name: str) -> bool:
    return len(os.fsencode(name)) <= _MOST_BYTES


def _name_with_checksum(entry: Entry, name: str, taken: set[str]) -> str:
    """A name that is not taken: the readable one and the checksum of the path, or of the path and a number."""
    listed = entry.key + os.path.splitext(entry.image)[1]
    room = _MOST_BYTES - _DIGITS - 1
    short = os.fsencode(name)[:room].decode(errors="ignore") if not _fits(name) else name
    number = 0
    while True:
        source = listed if number == 0 else f"{listed}\0{number}"
        checksum = hashlib.sha256(os.fsencode(source)).hexdigest()[:_DIGITS]
        if f"{short}-{checksum}" not in taken:
            return f"{short}-{checksum}"
        number += 1
