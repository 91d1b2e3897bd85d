"""Names samples for their output files: as many names as samples."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence

from database.lists import Entry

_DIGITS = 8

# File systems allow 255 bytes, and output files of a sample append up to 15, such as `_prediction.png`.
_MOST_BYTES = 240


def sample_names(entries: Sequence[Entry]) -> list[str]:
    """Returns a name for each entry, unique and free of path separators.

    The name is the stem of the image. If stems clash, it is the whole path as listed, or relative to the split's
    folder. If these clash, the suffix is added. If names still clash, or a name is too long for a file, a checksum of
    the path is added. A name depends on the other entries in no other way.
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
    """Returns an unused name: the readable one with a checksum of the path, or of the path and a number."""
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
