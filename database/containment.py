"""Checks that files stay in the folder they are written to, whatever names the data and links contain."""

from __future__ import annotations

import os

from database.errors import OutsideError


def path_inside(folder: str, *names: str) -> str:
    """Returns the path of a file in a folder, or in folders below it.

    Every valid file name is accepted: spaces, line ends, backslashes and a leading dash do not leave the folder. The
    folder itself may be anywhere.

    Args:
      folder: the folder of the file.
      names: names of the folders below it, then of the file.

    Raises:
      OutsideError: a name is empty or is a path.
    """
    for name in names:
        if name in ("", os.curdir, os.pardir) or "/" in name or "\0" in name:
            raise OutsideError(
                f"{folder}: {name!r} is not a valid name for a file in this folder: rename the image, split or dataset "
                "that it comes from"
            )
    return os.path.join(folder, *names)


def refuse_linked_folder(path: str) -> None:
    """Rejects a subfolder of the output folder that is a link to another folder.

    Raises:
      OutsideError: the path is a link.
    """
    if os.path.islink(path):
        raise OutsideError(
            f"{path}: this is a link to {os.readlink(path)!r}, where files would be written: remove the link or write "
            "to another folder"
        )
