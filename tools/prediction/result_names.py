"""Names for the results of images, such that no two images share one."""

from __future__ import annotations

import json
import os

from database.errors import ImageError
from database.regular_files import regular_file

# In a folder of results: which image each is of.
NAMES_FILE = "images.jsonl"


class ResultNames:
    """Names for the results of images, such that no two images share one.

    With a file, names given at earlier starts stay those of their images, so that results of another image of the same
    name are not replaced.
    """

    def __init__(self, path: str | None = None) -> None:
        """Takes over the names that are written in a file.

        Args:
            path: of the file, with a line of JSON `["name", "image"]` per image; created with the first. None to
                give names for this process only.
        """
        self._path = path
        self._image_of = {} if path is None else _names_in(path)
        self._kept = set(self._image_of)

    def name(self, path: str, wanted: str | None = None) -> str:
        """The name for the results of an image: the same whenever it comes again.

        Args:
            path: of the image.
            wanted: by default the file's name without suffix; `-2`, `-3` and so on is added if another image has it.
        """
        image = os.path.realpath(path)
        wanted = wanted or os.path.splitext(os.path.basename(path))[0]
        name, number = wanted, 1
        while self._image_of.setdefault(name, image) != image:
            number += 1
            name = f"{wanted}-{number}"
        return name

    def keep(self, name: str) -> None:
        """Writes down which image a name is of, once there are results of that name.

        Raises:
            ImageError: the file cannot be written.
        """
        if self._path is None or name in self._kept:
            return
        self._kept.add(name)
        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            with open(self._path, "a", encoding="utf-8", opener=_appended) as file:
                # A start that was killed may have left half a line.
                file.write("\n" * (file.tell() > 0) + json.dumps([name, self._image_of[name]]))
        except OSError as error:
            raise ImageError(f"{self._path}: cannot be written ({error.strerror or error})") from error


def _appended(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)


def _names_in(path: str) -> dict[str, str]:
    """Image by name; lines that hold something else, as one that was cut off, are ignored."""
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
