"""Decides by the suffix which files are videos, without importing the package that reads them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec

from database.errors import ImageError
from tools.runtime.extras import extra_needed

# FFmpeg's format of the container, by suffix. Only this format is tried: others may refer to further files.
CONTAINERS: Mapping[str, str] = {
    ".mp4": "mov",
    ".m4v": "mov",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "matroska",
    ".avi": "avi",
}


def container_of(path: str) -> str | None:
    """Returns FFmpeg's name of the container of a video, by the suffix; None if the file is no video."""
    return CONTAINERS.get(os.path.splitext(path)[1].lower())


def has_video_suffix(path: str) -> bool:
    """Returns whether a file's name ends with a suffix of `CONTAINERS`, in upper or lower case."""
    return container_of(path) is not None


def require_readable_video(path: str) -> None:
    """Checks, before the network is built, that a video exists and that the package for videos is installed.

    Raises:
        ImageError: there is no such file.
        MissingPackageError: the package is not installed.
    """
    if not os.path.exists(path):
        raise ImageError(f"{path}: no such file")
    with extra_needed("video", f"{path}, a video,"):
        if find_spec("av") is None:
            raise ImportError("av", name="av")
