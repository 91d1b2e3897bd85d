"""Paths as people write them where no shell reads them: `~`, `$HOME`, `file://`, blanks at the ends, accents in NFD."""

from __future__ import annotations

import os
import re
import unicodedata
import urllib.parse
from collections.abc import Callable

_FILE_URL = "file://"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})", re.ASCII)


def path_as_given(text: str) -> str:
    """The path that the value of a flag means.

    `~` and `~name` at its beginning are homes, `$NAME` and `${NAME}` are variables of the environment unless there is a
    file whose name has these signs, and `file://` addresses are paths. A variable that is not set is refused where its
    name is in upper case, and is part of the path otherwise. Blanks around a path that exists without them only are
    left out.

    Raises:
      ValueError: the text is empty, names a variable that is not set, or is an address of another kind; the message
        says what it is not, and what to do.
    """
    if not text.strip():
        raise ValueError("a path: it is empty, as an unset variable of a shell is; give a path or drop the flag")
    path = os.path.expanduser(text)
    if os.path.lexists(path):
        return path
    path = path_of_url(path)
    address = _ADDRESS.match(path)
    if address is not None:
        raise ValueError(f"a path: {address[0]} begins an address, and only files of this machine are read: copy it")
    path = _with_variables(path)
    bare = os.path.expanduser(path.strip())
    return bare if not os.path.lexists(path) and os.path.lexists(bare) else path


def path_of_url(text: str) -> str:
    """The path of a `file://` address; anything else as it is."""
    if not text.lower().startswith(_FILE_URL):
        return text
    path = text[text.find("/", len(_FILE_URL)) :]  # behind the host, if one is named
    return urllib.parse.unquote(path, errors="surrogateescape")


def _with_variables(path: str) -> str:
    """A path with the values of variables in place of their names, unless it begins with a file that has such a name.

    Raises:
      ValueError: a variable whose name is in upper case is not set.
    """
    found = _VARIABLE.search(path)
    if found is None or os.path.lexists(path[: (path + "/").index("/", found.end())]):
        return path
    names = [name or braced for name, braced in _VARIABLE.findall(path)]
    unset = [name for name in names if name == name.upper() and not os.environ.get(name)]
    if unset:
        raise ValueError(f"a path: it names the variable {unset[0]}, which is not set: set it, or give the path itself")
    return _VARIABLE.sub(lambda match: os.environ.get(match[1] or match[2]) or match[0], path)


def _home_and_variables(path: str) -> str:
    try:
        return _with_variables(os.path.expanduser(path))
    except ValueError:
        return path


# What else a path that names no file may mean.
_MEANINGS: tuple[Callable[[str], str], ...] = (
    _home_and_variables,
    path_of_url,
    lambda path: unicodedata.normalize("NFC", path),
    lambda path: unicodedata.normalize("NFD", path),
)


def other_spellings(path: str) -> list[str]:
    """Other paths that one in a text file may mean, without itself: that of `~`, `$NAME`, `file://`, and of accents.

    Names are compared by their bytes. macOS writes an accented letter as a letter and an accent (NFD), other systems
    as one character (NFC), and copies keep either.
    """
    return list(dict.fromkeys(other for meaning in _MEANINGS if (other := meaning(path)) != path))
