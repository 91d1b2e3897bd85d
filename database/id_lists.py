"""Lists of bare ids, as PASCAL VOC has them: `2007_000032` instead of the paths of an image and its label."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from database.errors import IdsNotFoundError
from database.image_suffixes import has_image_suffix


class IdFolders(NamedTuple):
    """Where the files of ids are, below the folder of a dataset."""

    images: str
    labels: str


# PASCAL VOC's folders, without and with the labels of SBD.
VOC_FOLDERS = (IdFolders("JPEGImages", "SegmentationClass"), IdFolders("JPEGImages", "SegmentationClassAug"))


def files_of_ids(
    ids: Sequence[str], data_dir: str, id_folders: Sequence[IdFolders], with_labels: bool
) -> list[tuple[str, str | None]]:
    """Finds the image and label of each id: the files <id>.<suffix> in two folders that contain all ids.

    Args:
      ids: names without suffix, possibly in subfolders.
      data_dir: the folder of the dataset.
      id_folders: the folders to search.
      with_labels: whether there are labels; otherwise all labels are None.

    Raises:
      IdsNotFoundError: no folders contain the files of all ids, or several do, or two files differ only in the suffix.
    """
    faults: list[tuple[int, str]] = []
    found: dict[tuple[str, str], tuple[IdFolders, list[tuple[str, str | None]]]] = {}
    for folders in id_folders:
        images = _Folder(os.path.join(data_dir, folders.images))
        labels = _Folder(os.path.join(data_dir, folders.labels)) if with_labels else None
        pairs: list[tuple[str, str | None]] = []
        for index, name in enumerate(ids):
            fault = images.fault(name) or (labels and labels.fault(name))
            if fault:
                faults.append((index, fault))
                break
            pairs.append((images.files(name)[0], labels.files(name)[0] if labels else None))
        else:
            identity = (os.path.realpath(images.path), os.path.realpath(labels.path) if labels else "")
            found.setdefault(identity, (folders, pairs))
    if len(found) > 1:
        places = " and ".join(f"{folders.images} with {folders.labels}" for folders, _ in found.values())
        first, _ = next(iter(found.values()))
        raise IdsNotFoundError(
            f"{places} both have its files: write lines 'image label', e.g. by sed "
            f"'s,.*,{first.images}/&.jpg {first.labels}/&.png,'"
        )
    if found:
        return next(iter(found.values()))[1]
    # The fault in the folders where the most ids were found.
    index, fault = max(faults, key=lambda fault: fault[0])
    raise IdsNotFoundError(f"{fault}: write lines 'image label', or check --data_dir", index)


class _Folder:
    """The image files below a folder by their paths without suffix. Subfolders are read on demand.

    Accented letters match in either form of Unicode (NFC, NFD), since systems and copying tools may change the form.
    """

    def __init__(self, path: str):
        self.path = path
        self._read: dict[str, _Names] = {}

    def files(self, name: str) -> list[str]:
        """Returns the paths of the files <name>.<suffix>."""
        parent, stem = os.path.split(os.path.join(self.path, name))
        if parent not in self._read:
            self._read[parent] = _Names(parent)
        return self._read[parent].files(stem)

    def fault(self, name: str) -> str | None:
        """Describes why a name does not match exactly one file; None if it does."""
        files = self.files(name)
        if len(files) > 1:
            return f"{files[0]} and {os.path.basename(files[1])} both match"
        return None if files else f"no image file of that name is in {self.path}"


class _Names:
    """The image files in a folder, by their names without suffix."""

    def __init__(self, folder: str):
        self._files: dict[str, list[str]] = {}
        self._normalized: dict[str, list[str]] = {}
        for file in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            if has_image_suffix(file):
                stem, path = os.path.splitext(file)[0], os.path.join(folder, file)
                self._files.setdefault(stem, []).append(path)
                self._normalized.setdefault(unicodedata.normalize("NFC", stem), []).append(path)

    def files(self, stem: str) -> list[str]:
        """Returns the paths of the files of a name, or else of the same name with its accents in another form."""
        return self._files.get(stem) or self._normalized.get(unicodedata.normalize("NFC", stem), [])
