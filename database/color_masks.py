"""Label files that store colours, and checks of the colour tables of palette images against the palette."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from database.classes import IGNORE_LABEL
from database.counts import number_of
from database.errors import DatasetError

logger = logging.getLogger(__name__)

Color = tuple[int, int, int]

_BLACK = (0, 0, 0)
_MOST_VERDICTS = 256  # an optimizer may write a different table for each file
_PARTS_OF_NAME = 3  # the last parts of a path, which are searched for the name of a format


class _TableVerdict(NamedTuple):
    """Result of checking the colour table of a palette image.

    Attributes:
      colors: colour by index.
      contradicting: indices that have the colour of another class.
      unknown: indices of classes whose colour is not in the palette.
    """

    colors: Sequence[Color]
    contradicting: frozenset[int]
    unknown: frozenset[int]


@dataclass(frozen=True)
class ColorTable:
    """Maps the colours in label files to ids.

    Attributes:
      palette_file: the file that defines the colours.
      ids: colour -> id, an id of the label map.
      repeated: colours that occur more than once in the palette -> the training ids of all their entries.
      label_map: id in the label files -> training id; if empty, every id is a separate class.
    """

    palette_file: str
    ids: Mapping[Color, int]
    repeated: Mapping[Color, frozenset[int]] = field(default_factory=dict)
    label_map: Mapping[int, int] = field(default_factory=dict)
    _warned: list[str] = field(default_factory=list, compare=False, repr=False)
    _verdicts: dict[bytes, _TableVerdict] = field(default_factory=dict, compare=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)

    def read(self, path: str, rgb: np.ndarray) -> np.ndarray:
        """Looks up the id of every pixel of a label file.

        Args:
          path: path of the label file, for messages.
          rgb: uint8 [H, W, 3].

        Returns:
          uint8 [H, W], or int32 if an id is above 255.

        Raises:
          DatasetError: a pixel has a colour that is not in the palette, or the palette has a colour twice.
        """
        if self.repeated:
            raise DatasetError(
                f"{self.palette_file}: the colour {_shown(min(self.repeated))} occurs twice, but the label file {path} "
                "stores colours: give each class a different colour"
            )
        places, ids = self._tables
        found = places[_packed(rgb)]
        unknown = found == 0
        if unknown.any():
            raise DatasetError(self._unknown(path, rgb, unknown))
        return ids[found]

    def check_indices(self, path: str, table: Sequence[int], used: Callable[[], Sequence[int]]) -> None:
        """Checks that the colour table of a palette image agrees with reading its indices as ids.

        A table is not checked if it is a grey ramp (index i has the colour i i i) or gives several indices that occur
        one and the same colour. An ignored index is not checked if it is black, or has the colour of a class whose
        index has that colour too. Colours that are not in the palette are logged once, as a warning.

        Args:
          path: path of the label file, for messages.
          table: the colours of the file, red, green and blue of index 0, then of index 1, and so on.
          used: returns the indices that occur, in ascending order; called only if some index of the table is in doubt.

        Raises:
          DatasetError: an index that occurs has the colour of a class other than the one it has as an id.
        """
        verdict = self._verdict(bytes(table))
        if not (verdict.contradicting or (verdict.unknown and not self._warned)):
            return
        indices = used()
        if _is_of_one_color(verdict.colors, indices):
            return
        for index in indices:
            if index in verdict.contradicting:
                raise DatasetError(self._contradiction(path, index, verdict.colors[index]))
        for index in indices:
            if index in verdict.unknown:
                self._warn_of_unknown_color(path, index, verdict.colors[index])
                return

    def _verdict(self, table: bytes) -> _TableVerdict:
        """Checks a colour table. Results are cached, since most files of a dataset share one table."""
        known = self._verdicts.get(table)
        if known is not None:
            return known
        colors: list[Color] = list(zip(table[0::3], table[1::3], table[2::3], strict=False))
        contradicting = unknown = frozenset[int]()
        if not is_grey_ramp(colors):
            contradicting = frozenset(index for index in range(len(colors)) if self._contradicts(index, colors))
            unknown = frozenset(i for i, color in enumerate(colors) if color not in self.ids and self._is_class(i))
        if len(self._verdicts) >= _MOST_VERDICTS:
            self._verdicts.clear()
        return self._verdicts.setdefault(table, _TableVerdict(colors, contradicting, unknown))

    def _contradicts(self, index: int, colors: Sequence[Color]) -> bool:
        color = colors[index]
        if color not in self.ids:
            return False
        classes = self.repeated.get(color) or {self._class_of(self.ids[color])}
        if self._class_of(index) in classes:
            return False
        if self._is_class(index):
            return True
        # Often an ignored index is black, which fills up tables, or repeats the colour of a class.
        return color != _BLACK and not any(
            other == color and self._class_of(place) in classes for place, other in enumerate(colors)
        )

    def _class_of(self, file_id: int) -> int:
        """Returns the training id, or for an id that is not in the label map a unique negative number."""
        return self.label_map.get(file_id, -1 - file_id)

    def _is_class(self, file_id: int) -> bool:
        return not self.label_map or self.label_map.get(file_id, IGNORE_LABEL) != IGNORE_LABEL

    def _contradiction(self, path: str, index: int, color: Color) -> str:
        by_id = next((known for known, file_id in self.ids.items() if file_id == index), None)
        of_index = f", and {_shown(by_id)} to id {index}" if by_id is not None else ""
        return (
            f"{path}: this palette image gives index {index} the colour {_shown(color)}, which {self.palette_file} "
            f"gives to id {self.ids[color]}{of_index}: if the colours of the file are right, save it as RGB; if its "
            "indices are the ids, put the colours of the file into the palette, or drop --palette"
        )

    def _warn_of_unknown_color(self, path: str, index: int, color: Color) -> None:
        with self._lock:
            if self._warned:
                return
            self._warned.append(path)
        logger.warning(
            "%s: this palette image gives index %d the colour %s, which is not in %s: the indices are read as ids; if "
            "the colours are the labels, save it as RGB (logged once, other files may be affected)",
            path, index, _shown(color), self.palette_file,
        )  # fmt: skip

    @cached_property
    def _tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns uint16 [2**24], positions in the ids by packed colour (0 if unknown), and the ids, from position 1.

        The table takes memory only for the colours that are looked up: its other pages of zeros are never touched.
        """
        places = np.zeros(1 << 24, np.uint16)
        places[_packed(np.array(list(self.ids), np.uint8))] = np.arange(1, len(self.ids) + 1)
        ids = np.array([0, *self.ids.values()])
        return places, ids.astype(np.uint8 if ids.max() <= 255 else np.int32)

    def _unknown(self, path: str, rgb: np.ndarray, unknown: np.ndarray) -> str:
        row, column = np.argwhere(unknown)[0].tolist()
        color = tuple(rgb[row, column].tolist())
        if (hint_by_name := segments_hint(path)) is not None:
            hint = hint_by_name
        elif (rgb == rgb[:, :, :1]).all():
            hint = "red, green and blue are equal in every pixel: if these are ids, save only one channel"
        else:
            nearest = min(self.ids, key=lambda known: sum((a - b) ** 2 for a, b in zip(known, color, strict=True)))
            hint = (
                f"the nearest is {_shown(nearest)}; correct the file, or add a line for the colour to the palette, "
                f"'{_shown(color)} background' if it is a class of its own (counted in --num_classes), or "
                f"'{_shown(color)} ignore' for pixels that are ignored"
            )
        return (
            f"{path}: pixel x {column}, y {row} has the colour {_shown(color)}, which is not in {self.palette_file} "
            f"({number_of(int(unknown.sum()), 'pixel')} in all): {hint}"
        )


def color_table(
    palette_file: str, palette: Sequence[Color], ignored: Sequence[Color], label_map: Mapping[int, int]
) -> ColorTable:
    """Builds the table from a palette and a label map.

    Args:
      palette_file: path of the palette, for messages.
      palette: the colour of each training id.
      ignored: colours of ignored pixels.
      label_map: id in the label files -> training id, 255 ignored.

    Raises:
      DatasetError: there is an ignored colour, but no id is ignored.
    """
    smallest: dict[int, int] = {}
    for file_id, train_id in sorted(label_map.items(), reverse=True):
        smallest[train_id] = file_id
    if ignored and IGNORE_LABEL not in smallest:
        raise DatasetError(
            f"{palette_file}: the colour {_shown(ignored[0])} is ignored, but --label_map ignores no id: add a line "
            "'<id> ignore' to the label map"
        )
    pairs = [(color, smallest[train_id]) for train_id, color in enumerate(palette) if train_id in smallest]
    pairs += [(color, smallest[IGNORE_LABEL]) for color in ignored]
    classes: dict[Color, list[int]] = {}
    for color, file_id in pairs:
        classes.setdefault(color, []).append(label_map[file_id])
    repeated = {color: frozenset(train_ids) for color, train_ids in classes.items() if len(train_ids) > 1}
    return ColorTable(palette_file, dict(pairs), repeated, label_map)


def segments_hint(path: str) -> str | None:
    """Returns advice on a label file named like a panoptic label, whose colours number segments; else None."""
    if "panoptic" not in "/".join(path.replace(os.sep, "/").split("/")[-_PARTS_OF_NAME:]).lower():
        return None
    return (
        "its name suggests COCO's panoptic format, whose colours number segments (R + 256 G + 65536 B): convert it to "
        "ids of classes with the categories in its JSON"
    )


def is_grey_ramp(table: Sequence[Color]) -> bool:
    """Returns whether index i has the colour i i i, apart from black entries that fill the table up at its end."""
    colors = list(table)
    while colors and colors[-1] == _BLACK:
        colors.pop()
    return len(colors) > 1 and all(color == (index,) * 3 for index, color in enumerate(colors))


def _is_of_one_color(table: Sequence[Color], used: Sequence[int]) -> bool:
    """Returns whether several indices occur, and all indices up to the last of them have the same colour."""
    return len(used) > 1 and len(set(table[: used[-1] + 1])) == 1


def _packed(rgb: np.ndarray) -> np.ndarray:
    """Packs each colour into one number: uint8 [..., 3] -> int32 [...]."""
    wide = rgb.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _shown(color: Sequence[int]) -> str:
    return " ".join(map(str, color))
