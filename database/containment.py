"""Files that stay in the folder they are meant for, whatever names from data and links say."""

from __future__ import annotations

import os

from database.errors import OutsideError


def path_inside(folder: str, *names: str) -> str:
    """The path of a file in a folder, or in folders below it.

    Names that a file can have are taken as they are: spaces, line ends, backslashes and a dash at the beginning lead
    nowhere. The folder itself may be anywhere.

    Args:
      folder: that the file is meant for.
      names: of the folders below it, and last of the file.

    Raises:
      OutsideError: one of them is no name but a path, or empty.
    """
    for name in names:
        if name in ("", os.curdir, os.pardir) or "/" in name or "\0" in name:
            raise OutsideError(f"{folder}: {name!r} is no name for a file in this folder: rename what it is from")
    return os.path.join(folder, *names)


def refuse_linked_folder(path: str) -> None:
    """Refuses a folder, inside the one that files are meant for, that is a link to another.

    Raises:
      OutsideError: it is one.
    """
    if os.path.islink(path):
        raise OutsideError(
            f"{path}: a link to {os.readlink(path)!r}, and files would be written there: remove the link, or write to "
            "another folder"
        )
