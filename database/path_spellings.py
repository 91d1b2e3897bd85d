"""Expands paths that no shell has expanded: `~`, `$HOME`, `file://`, blanks at the ends, accents in NFD."""

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
    """Returns the path given by the value of a flag.

    A leading `~` or `~name` is a home folder, `$NAME` and `${NAME}` are environment variables (unless a file has such a
    name), and `file://` URLs are paths. A variable that is not set is an error if its name is in upper case, and part
    of the path otherwise. Surrounding blanks are removed if the path exists only without them.

    Raises:
      ValueError: the text is empty, names a variable that is not set, or is a URL of another kind. The message begins
        with what the text is not ("a path"), and says what to do.
    """
    if not text.strip():
        raise ValueError("a path: it is empty, perhaps from an unset shell variable: give a path or drop the flag")
    path = os.path.expanduser(text)
    if os.path.lexists(path):
        return path
    path = path_of_url(path)
    address = _ADDRESS.match(path)
    if address is not None:
        raise ValueError(f"a path: {address[0]} begins a URL, but only local files are read: download the file")
    path = _with_variables(path)
    bare = os.path.expanduser(path.strip())
    return bare if not os.path.lexists(path) and os.path.lexists(bare) else path


def path_of_url(text: str) -> str:
    """Returns the path of a `file://` URL; any other text is unchanged."""
    if not text.lower().startswith(_FILE_URL):
        return text
    path = text[text.find("/", len(_FILE_URL)) :]  # after the host, if there is one
    return urllib.parse.unquote(path, errors="surrogateescape")


def _with_variables(path: str) -> str:
    """Replaces variables in a path by their values, unless a file exists whose name contains the variable.

    Raises:
      ValueError: a variable whose name is in upper case is not set.
    """
    found = _VARIABLE.search(path)
    if found is None or os.path.lexists(path[: (path + "/").index("/", found.end())]):
        return path
    names = [name or braced for name, braced in _VARIABLE.findall(path)]
    unset = [name for name in names if name == name.upper() and not os.environ.get(name)]
    if unset:
        raise ValueError(f"a path: it names the variable {unset[0]}, which is not set: set it or give the path itself")
    return _VARIABLE.sub(lambda match: os.environ.get(match[1] or match[2]) or match[0], path)


def _home_and_variables(path: str) -> str:
    try:
        return _with_variables(os.path.expanduser(path))
    except ValueError:
        return path


# Other interpretations of a path that names no file.
_MEANINGS: tuple[Callable[[str], str], ...] = (
    _home_and_variables,
    path_of_url,
    lambda path: unicodedata.normalize("NFC", path),
    lambda path: unicodedata.normalize("NFD", path),
)


def other_spellings(path: str) -> list[str]:
    """Returns other interpretations of a path in a text file: of `~`, `$NAME`, `file://`, and of accents.

    File names are compared as bytes. macOS stores an accented letter as a letter and an accent (NFD), other systems as
    one character (NFC), and copying a file keeps its form.
    """
    return list(dict.fromkeys(other for meaning in _MEANINGS if (other := meaning(path)) != path))
