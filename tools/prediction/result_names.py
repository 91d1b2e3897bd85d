"""Gives each image a unique name for its results."""

from __future__ import annotations

import json
import os

from database.errors import ImageError
from database.regular_files import regular_file, writable_file

# File in a folder of results that maps names to images.
NAMES_FILE = "images.jsonl"
# File that says what a folder of results was made from; see `tools.prediction.provenance`.
PROVENANCE_FILE = "provenance.json"


class ResultNames:
    """Gives each image a unique name for its results.

    With a file, images keep the names of earlier runs of the program, so that a later image of the same name does not
    replace their results.
    """

    def __init__(self, path: str | None = None) -> None:
        """Reads the names in a file, if it exists.

        Args:
            path: file with a line of JSON `["name", "image"]` per image; created with the first name. None to keep
                names in memory only.
        """
        self._path = path
        self._image_of = {} if path is None else _names_in(path)
        self._kept = set(self._image_of)

    def name(self, path: str, wanted: str | None = None) -> str:
        """Returns the name for the results of an image, always the same for the same image.

        Args:
            path: of the image.
            wanted: by default the file's name without suffix; `-2`, `-3` and so on is added if another image has it.
        """
        return self.name_of(os.path.realpath(path), wanted or os.path.splitext(os.path.basename(path))[0])

    def name_of(self, identity: str, wanted: str) -> str:
        """Returns the name for the results of an image that need not have a file; see `name`.

        Args:
            identity: text that differs for different images.
            wanted: see `name`.
        """
        name, number = wanted, 1
        while self._image_of.setdefault(name, identity) != identity:
            number += 1
            name = f"{wanted}-{number}"
        return name

    def keep(self, name: str) -> None:
        """Appends a name and its image to the file, if not there yet; call it after the results are written.

        Raises:
            ImageError: the file cannot be written.
        """
        if self._path is None or name in self._kept:
            return
        self._kept.add(name)
        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            with open(self._path, "a", encoding="utf-8", opener=writable_file) as file:
                # A killed process may have left an incomplete line.
                file.write("\n" * (file.tell() > 0) + json.dumps([name, self._image_of[name]]))
        except OSError as error:
            raise ImageError(
                f"{self._path}: cannot be written ({error.strerror or error}): give another folder with --output_dir"
            ) from error


def _names_in(path: str) -> dict[str, str]:
    """Reads the images by their names; damaged and incomplete lines are ignored."""
    names: dict[str, str] = {}
    try:
        with open(path, encoding="utf-8", errors="replace", opener=regular_file) as file:
            lines = file.read().splitlines()
    except OSError:
        return names
    for line in lines:
        try:
            name, image = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            continue
        if isinstance(name, str) and isinstance(image, str):
            names.setdefault(name, image)
    return names
