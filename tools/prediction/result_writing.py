"""Paths of results below their folder, and files there that appear completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TextIO

from database.atomic import text_written_atomically, written_atomically
from database.containment import path_inside, refuse_linked_folder
from database.regular_files import writable_file
from tools.errors import ResultsFolderError


def result_path(folder: str, kind: str, name: str, subfolders: Sequence[str] = ()) -> str:
    """Returns the path <folder>/<kind>/<subfolders>/<name>.

    Args:
        folder: of the results.
        kind: folder of one kind of results, such as `prediction`.
        name: of the file.
        subfolders: names of the folders of the image below the folder that was walked.

    Raises:
        OutsideError: a name leads out of the folder.
    """
    return path_inside(folder, kind, *subfolders, name)


def refuse_links(folder: str, path: str) -> None:
    """Rejects a file in a folder of results if a folder between the two is a link.

    Raises:
        OutsideError: such a folder is a link.
    """
    parts = os.path.relpath(os.path.dirname(path), folder).split(os.sep)
    for count in range(1, len(parts) + 1):
        refuse_linked_folder(os.path.join(folder, *parts[:count]))


@contextmanager
def result_file(path: str) -> Iterator[IO[bytes]]:
    """Gives a block a file to write, which appears at `path` when the block ends.

    Raises:
        ResultsFolderError: the file cannot be written.
    """
    with (
        _named(path),
        written_atomically(path) as partial_path,
        open(partial_path, "wb", opener=writable_file) as file,
    ):
        yield file


@contextmanager
def result_text(path: str) -> Iterator[TextIO]:
    """Gives a block a UTF-8 text file to write, with line ends as written; see `result_file`.

    Raises:
        ResultsFolderError: the file cannot be written.
    """
    with _named(path), text_written_atomically(path, newline="", errors="backslashreplace") as file:
        yield file


@contextmanager
def _named(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResultsFolderError(
            f"{path}: cannot be written ({error.strerror or error}): free space, or give another folder with "
            "--output_dir"
        ) from error
