"""Label files that hold colours, read by the palette."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from database.classes import IGNORE_LABEL
from database.errors import DatasetError

Color = tuple[int, int, int]


@dataclass(frozen=True)
class ColorTable:
    """The id that stands for each colour in label files that hold colours.

    Attributes:
      palette_file: that names the colours.
      ids: colour -> id, one of the ids of the label map.
      repeated: colours that the palette names more than once.
    """

    palette_file: str
    ids: Mapping[Color, int]
    repeated: tuple[Color, ...] = ()

    def read(self, path: str, rgb: np.ndarray) -> np.ndarray:
        """Looks up every pixel of a label file.

        Args:
          path: of the label file, for messages.
          rgb: uint8 [H, W, 3].

        Returns:
          uint8 [H, W], or int32 where an id is above 255.

        Raises:
          DatasetError: a pixel has a colour that is not in the palette, or the palette has one twice.
        """
        if self.repeated:
            raise DatasetError(
                f"{self.palette_file}: the colour {_shown(self.repeated[0])} occurs twice, and {path} is a label file "
                "of colours: give each class a colour of its own"
            )
        places, ids = self._tables
        found = places[_packed(rgb)]
        unknown = found == 0
        if unknown.any():
            raise DatasetError(self._unknown(path, rgb, unknown))
        return ids[found]

    @cached_property
    def _tables(self) -> tuple[np.ndarray, np.ndarray]:
        """uint16 [2**24], places among the ids by packed colour, 0 where unknown; and the ids, from place 1 on.

        The table takes memory for the colours that are met alone: the rest of its zeros is never touched.
        """
        places = np.zeros(1 << 24, np.uint16)
        places[_packed(np.array(list(self.ids), np.uint8))] = np.arange(1, len(self.ids) + 1)
        ids = np.array([0, *self.ids.values()])
        return places, ids.astype(np.uint8 if ids.max() <= 255 else np.int32)

    def _unknown(self, path: str, rgb: np.ndarray, unknown: np.ndarray) -> str:
        row, column = np.argwhere(unknown)[0].tolist()
        color = tuple(rgb[row, column].tolist())
        if (rgb == rgb[:, :, :1]).all():
            hint = "red, green and blue are equal in every pixel: if these are ids, save one channel of them alone"
        else:
            nearest = min(self.ids, key=lambda known: sum((a - b) ** 2 for a, b in zip(known, color, strict=True)))
            hint = (
                f"the nearest is {_shown(nearest)}; correct the file, or add a line for the colour to the palette, "
                f"'{_shown(color)} ignore' for pixels that are ignored"
            )
        return (
            f"{path}: pixel x {column}, y {row} has the colour {_shown(color)}, as one of {int(unknown.sum())} pixels "
            f"whose colour is not in {self.palette_file}: {hint}"
        )


def color_table(
    palette_file: str, palette: Sequence[Color], ignored: Sequence[Color], label_map: Mapping[int, int]
) -> ColorTable:
    """The table of a palette and a label map.

    Args:
      palette_file: path of the palette, for messages.
      palette: the colour of each training id.
      ignored: colours of ignored pixels.
      label_map: id in the label files -> training id, 255 ignored.

    Raises:
      DatasetError: there is an ignored colour, and no id is ignored.
    """
    smallest: dict[int, int] = {}
    for file_id, train_id in sorted(label_map.items(), reverse=True):
        smallest[train_id] = file_id
    if ignored and IGNORE_LABEL not in smallest:
        raise DatasetError(
            f"{palette_file}: the colour {_shown(ignored[0])} is ignored, and --label_map leaves no id for that: add a "
            "line '<id> ignore' to the label map"
        )
    pairs = [(color, smallest[train_id]) for train_id, color in enumerate(palette) if train_id in smallest]
    pairs += [(color, smallest[IGNORE_LABEL]) for color in ignored]
    colors = [color for color, _ in pairs]
    repeated = tuple(sorted({color for color in colors if colors.count(color) > 1}))
    return ColorTable(palette_file, dict(pairs), repeated)


def _packed(rgb: np.ndarray) -> np.ndarray:
    """uint8 [..., 3] -> int32 [...], one number for a colour."""
    wide = rgb.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _shown(color: Sequence[int]) -> str:
    return " ".join(map(str, color))
