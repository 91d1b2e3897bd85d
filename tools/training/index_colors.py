"""Checks that palette images whose indices are read as ids have the same colour table in every file."""

from __future__ import annotations

from collections.abc import Mapping

from database.color_masks import Color


class IndexColors:
    """The colour of each index in the first palette image with it, and the first file that contradicts it.

    Editors and optimizers renumber the colours of each file, so that an index means another class in each.

    Attributes:
        contradiction: message about two files with different colours for an index; None if there are none.
    """

    def __init__(self) -> None:
        """Starts with no files."""
        self.contradiction: str | None = None
        self._first: dict[int, tuple[Color, str]] = {}

    def add(self, path: str, colors: Mapping[int, Color]) -> None:
        """Compares a file with the earlier ones.

        Args:
            path: of the label file.
            colors: colour by index, of the indices that occur and are classes.
        """
        for index, color in colors.items():
            self._compare(index, color, path)

    def merge(self, other: IndexColors) -> None:
        """Compares the files of another instance with those of this one."""
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
            "indices are read as ids; if the colours define the classes, because an editor or optimizer renumbered the "
            "indices, save the labels as RGB and give their colours with --palette"
        )
