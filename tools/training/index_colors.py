"""The colours that palette images give to the indices that are read as ids: the same ones in every file, or told."""

from __future__ import annotations

from collections.abc import Mapping

from database.color_masks import Color


class IndexColors:
    """The colour of each index in the first palette image that shows it, and the first that gives it another one.

    Editors and optimizers number the colours of each file anew, so that the same index means another class there.

    Attributes:
        contradiction: a line about two files that give an index different colours, None where there are none.
    """

    def __init__(self) -> None:
        """Starts without a file."""
        self.contradiction: str | None = None
        self._first: dict[int, tuple[Color, str]] = {}

    def add(self, path: str, colors: Mapping[int, Color]) -> None:
        """Compares a file with those before.

        Args:
            path: of the label file.
            colors: by index, of those that occur and are classes.
        """
        for index, color in colors.items():
            self._compare(index, color, path)

    def merge(self, other: IndexColors) -> None:
        """Compares the files that another one has seen with those of this one."""
        self.contradiction = self.contradiction or other.contradiction
        for index, (color, path) in other._first.items():
            self._compare(index, color, path)

    def _compare(self, index: int, color: Color, path: str) -> None:
        first_color, first_path = self._first.setdefault(index, (color, path))
        if first_color == color or self.contradiction is not None:
            return
        now, then = (" ".join(map(str, shown)) for shown in (color, first_color))
        self.contradiction = (
            f"{path}: this palette image gives index {index} the colour {now}, and {first_path} gives it {then}: "
            "indices are read as ids; if the colours are what counts, as after editors and optimizers that number them "
            "anew, save the labels as RGB and give their colours with --palette"
        )
