"""The folder of an export: files of one network, with export.json and labels.json, each complete or not there."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from database.atomic import TEMPORARY_NAME, folder_written_atomically, text_written_atomically
from database.json_files import read_json
from database.regular_files import file_checksum
from tools.errors import OutputError
from tools.export.forms import FORMS
from tools.export.metadata import MODEL_CHECKSUM
from tools.export.tensorflow_files import LABELS_FILE

logger = logging.getLogger(__name__)

EXPORT_FILE = "export.json"
_VERSION = 1
# Files are written and checked in this folder before they are moved to their names.
_UNFINISHED = ".unfinished"
_NEW, _OLD = "new", "old"


class ExportFolder:
    """A folder with files of one network."""

    def __init__(self, path: str, model: Mapping[str, Any], files: Mapping[str, Any]) -> None:
        """Takes the path, the network (see `metadata.describe_model`) and the entries of the files that are there."""
        self._path = path
        self._model = model
        self._files = dict(files)

    @contextmanager
    def written(self, name: str, entry: dict[str, Any], labels: Mapping[str, Any]) -> Iterator[str]:
        """Gives a block a path to write a file or folder to; moves it to its name when the block ends.

        Afterwards export.json has its entry. If the block raises, or something cannot be written, nothing changes.

        Args:
            name: of the file or folder.
            entry: for export.json; the block may add to it. Size and checksum are added here.
            labels: content of labels.json.

        Raises:
            OSError: something cannot be written.
        """
        unfinished = os.path.join(self._path, _UNFINISHED)
        for folder in (_NEW, _OLD):
            os.makedirs(os.path.join(unfinished, folder))
        try:
            path = os.path.join(unfinished, _NEW, name)
            yield path
            entry |= _size_and_checksum(path)
            files = {**self._files, name: entry}
            content = {"version": _VERSION, "model": self._model, "files": dict(sorted(files.items()))}
            # Before the first file is moved, as the disk may be full; export.json last, see `_finish_or_undo`.
            _write_json(os.path.join(unfinished, LABELS_FILE), labels)
            _write_json(os.path.join(unfinished, EXPORT_FILE), content)
            target = os.path.join(self._path, name)
            if os.path.isdir(target):  # cannot be replaced by another folder
                os.replace(target, os.path.join(unfinished, _OLD, name))
            os.replace(path, target)
            self._files = files
        finally:
            _finish_or_undo(self._path)


def _finish_or_undo(folder: str) -> None:
    """Finishes what `ExportFolder.written` began if the new file is at its place; otherwise restores what was there.

    It is called at the end, and again when the folder is opened, as a process may be killed at any moment.
    """
    unfinished = os.path.join(folder, _UNFINISHED)
    old, new = (os.path.join(unfinished, name) for name in (_OLD, _NEW))
    for name in _names_in(old):
        if not os.path.lexists(os.path.join(folder, name)):
            os.replace(os.path.join(old, name), os.path.join(folder, name))
    if not _names_in(new):
        for name in (LABELS_FILE, EXPORT_FILE):
            with suppress(FileNotFoundError):
                os.replace(os.path.join(unfinished, name), os.path.join(folder, name))
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(unfinished, EXPORT_FILE))  # first, so that a call that is killed here does not finish
    shutil.rmtree(unfinished, ignore_errors=True)


def _names_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


@contextmanager
def export_folder(path: str, model: Mapping[str, Any]) -> Iterator[ExportFolder]:
    """Opens a folder for files of a network; a new folder appears when the block ends without an error.

    Args:
        path: of the folder.
        model: see `metadata.describe_model`.

    Raises:
        OutputError: the folder contains files of another network, or cannot be written.
    """
    try:
        if os.path.lexists(path) and not os.path.isdir(path):  # would be found after minutes
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        with folder_written_atomically(path) as folder:
            _require_known_unfinished(folder, path)
            _finish_or_undo(folder)
            yield ExportFolder(folder, model, _files_in(folder, path, model))
    except OSError as error:
        raise OutputError(
            f"--out {path}: cannot be written ({error.strerror or error}): free space, or give another folder"
        ) from error


def _require_known_unfinished(folder: str, path: str) -> None:
    """Raises OutputError if the folder of unfinished files has other entries than this program makes."""
    unfinished = os.path.join(folder, _UNFINISHED)
    if not os.path.lexists(unfinished):
        return
    names = set(os.listdir(unfinished)) - {_NEW, _OLD, LABELS_FILE, EXPORT_FILE}
    others = sorted(name for name in names if not TEMPORARY_NAME.fullmatch(name))
    if others:
        raise OutputError(_other(path, f"{_UNFINISHED}/{others[0]} of unknown origin"))


def _files_in(folder: str, path: str, model: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the entries of the files in a folder, after a check that they are of the same network."""
    try:
        content = read_json(os.path.join(folder, EXPORT_FILE))
        of_model, files = content["model"], dict(content["files"])
        checksum, name = of_model[MODEL_CHECKSUM], f"{of_model['checkpoint']} (step {of_model['step']})"
    except FileNotFoundError:
        names = sorted(os.listdir(folder))
        found = [name for name in names if any(form.has_name(name) for form in FORMS.values())]
        found += [LABELS_FILE] if LABELS_FILE in names else []
        if not found:
            return {}
        raise OutputError(_other(path, f"{found[0]} of unknown origin, without {EXPORT_FILE}")) from None
    except (ValueError, LookupError, TypeError) as error:
        raise OutputError(_other(path, f"a damaged {EXPORT_FILE}")) from error
    if checksum != model[MODEL_CHECKSUM]:
        raise OutputError(_other(path, f"an export of another network, {name}"))
    missing = sorted(file for file in files if not os.path.lexists(os.path.join(folder, file)))
    if missing:
        logger.warning("%s lists %s, which is no longer there", os.path.join(path, EXPORT_FILE), ", ".join(missing))
    return {file: entry for file, entry in files.items() if file not in missing}


def _other(path: str, found: str) -> str:
    return f"--out {path} contains {found}: give another folder, or remove this one"


def _size_and_checksum(path: str) -> dict[str, Any]:
    """Returns bytes and SHA-256 of a file; of a folder, those of its files in the order of their names."""
    if os.path.isfile(path):
        return {"bytes": os.path.getsize(path), "sha256": file_checksum(path)}
    paths = sorted(os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
    checksums = "".join(file_checksum(file) for file in paths)
    return {"bytes": sum(map(os.path.getsize, paths)), "sha256": hashlib.sha256(checksums.encode()).hexdigest()}


def _write_json(path: str, values: Mapping[str, Any]) -> None:
    with text_written_atomically(path) as file:
        json.dump(values, file, indent=2)
        file.write("\n")
