"""Writes imported images and labels as a split of own data: completely, or not at all."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from database.atomic import folder_written_atomically, link_or_copy
from database.counts import number_of
from database.data_files import files_below, is_no_data
from database.errors import DatasetError
from database.image_suffixes import has_image_suffix
from database.images import image_size, write_image
from database.lists import and_more
from tools.errors import AnnotationError
from tools.import_annotations.annotated import AnnotatedImage, shown
from tools.import_annotations.class_ids import ClassIds, palette_path
from tools.import_annotations.drawing import draw_label
from tools.runtime.background import read_ahead
from tools.runtime.progress import counted

logger = logging.getLogger(__name__)


class Source(NamedTuple):
    """An annotated image and its file.

    Attributes:
        annotated: the image.
        name: path below the folder of images, without `.` and `..`.
        path: of the file.
    """

    annotated: AnnotatedImage
    name: str
    path: str

    @property
    def key(self) -> str:
        """The name without suffix, which image and label share."""
        return os.path.splitext(self.name)[0]


def inside(name: str, where: str) -> str:
    """Returns a path below the folder of images in its shortest form.

    Raises:
        AnnotationError: the path is empty, leads out of the folder, or is one that own data skip.
    """
    parts = [part for part in name.split("/") if part not in ("", os.curdir)]
    if not parts or name.startswith("/") or os.pardir in parts or "\0" in name or "\\" in name:
        raise AnnotationError(
            f"{where}: the image is {shown(name)!r}, expected a path inside --images, with / between folders"
        )
    skipped = [part for part in parts if is_no_data(part)]
    if skipped or not has_image_suffix(name):
        raise AnnotationError(
            f"{where}: the image is {shown(name)!r}, which training would skip: "
            f"{'hidden and system files are no data' if skipped else 'it has no suffix of an image'}: rename it"
        )
    return "/".join(parts)


def find_sources(images: Sequence[AnnotatedImage], folder: str) -> list[Source]:
    """Finds the file of each image.

    Raises:
        AnnotationError: a file does not exist, an image occurs twice, or two files differ only in their suffix.
    """
    sources, missing = [], []
    first: dict[str, AnnotatedImage] = {}
    for annotated in images:
        names = [inside(name, annotated.where) for name in annotated.names]
        paths = [os.path.join(folder, *name.split("/")) for name in names]
        found = next((index for index, path in enumerate(paths) if os.path.isfile(path)), None)
        if found is None:
            missing.append((annotated.where, paths[0]))
            continue
        source = Source(annotated, names[found], paths[found])
        earlier = first.setdefault(source.key, annotated)
        if earlier is not annotated:
            raise AnnotationError(
                f"{annotated.where}: {source.name} has, up to the suffix, the name of the image of {earlier.where}: "
                "keep one"
            )
        sources.append(source)
    if missing:
        where, path = missing[0]
        raise AnnotationError(f"{where}: {path} is no file{and_more(len(missing) - 1)}: check --images")
    if not sources:
        raise AnnotationError("found no image in the annotations: check --annotations")
    return sources


def checked_size(source: Source) -> tuple[int, int]:
    """Returns (height, width) of an image file, which has to be that of its annotations.

    Raises:
        AnnotationError: it is another size.
        ImageError: the image cannot be read.
    """
    height, width = image_size(source.path)
    expected = source.annotated.size
    if (height, width) != expected:
        turned = " (turned: see its EXIF orientation)" if (width, height) == expected else ""
        raise AnnotationError(
            f"{source.annotated.where}: the annotations are for {expected[1]}x{expected[0]} pixels, but {source.path} "
            f"has {width}x{height}{turned}"
        )
    return height, width


def refuse_other_contents(out: str, split: str) -> None:
    """Rejects a folder that has the split already, or contents of something else.

    Raises:
        AnnotationError: it does; or it cannot be read.
    """
    try:
        contents = os.listdir(out) if os.path.lexists(out) else []
        if contents and not os.path.isfile(palette_path(out)):
            raise AnnotationError(f"--out {out}: the folder has contents of something else: give a new folder")
        for name in ("images", "labels"):
            place = os.path.join(out, name, split)
            if os.path.lexists(place) and not (os.path.isdir(place) and not os.listdir(place)):
                raise AnnotationError(
                    f"{place}: the split is there already: give another --out or --split, or remove it"
                )
    except OSError as error:
        raise AnnotationError(f"--out {out}: cannot be read ({error.strerror or error})") from error


def write_split(sources: Sequence[Source], classes: ClassIds, out: str, split: str) -> Counter[int]:
    """Writes images/<split>, labels/<split> and the palette; nothing of them stays if an image fails.

    Args:
        sources: the images.
        classes: their classes.
        out: a folder of earlier imports with the same classes, or one that is created.
        split: name of the split, which does not exist yet.

    Returns:
        The number of labels in which each id occurs.

    Raises:
        AnnotationError, DataError: an image or a mask is damaged or of another size, or a file cannot be written.
    """
    occurrences: Counter[int] = Counter()
    try:
        with ExitStack() as stack:
            root = stack.enter_context(folder_written_atomically(out))
            images, labels = (
                stack.enter_context(folder_written_atomically(os.path.join(root, name, split)))
                for name in ("images", "labels")
            )
            if not os.path.exists(palette_path(root)):
                classes.write(palette_path(root))
            write = partial(_write_sample, classes=classes, images=images, labels=labels)
            written = read_ahead(write, sources, os.cpu_count() or 1)
            for ids in counted(written, f"labels of {split}", len(sources), "img"):
                occurrences.update(ids)
    except OSError as error:
        raise AnnotationError(f"--out {out}: cannot be written ({error.strerror or error})") from error
    return occurrences


def _write_sample(source: Source, classes: ClassIds, images: str, labels: str) -> list[int]:
    """Writes an image and its label into two folders; returns the ids in the label."""
    annotated = replace(source.annotated, size=checked_size(source))
    link_or_copy(source.path, os.path.join(images, *source.name.split("/")))
    label = draw_label(annotated, classes.id_of, classes.background_id)
    write_image(os.path.join(labels, *f"{source.key}.png".split("/")), label)
    return np.flatnonzero(np.bincount(label.ravel())).tolist()


def log_unused(sources: Iterable[Source], folder: str) -> None:
    """Logs how many images of a folder have no annotations."""
    used = {source.key for source in sources}
    try:
        unused = [path for key, path in files_below(folder).items() if key not in used]
    except DatasetError:  # such as two images that differ only in their suffix, of which one may be annotated
        return
    if unused:
        count = number_of(len(unused), "image has", "images have")
        logger.info(
            "%s no annotations and %s left out, such as %s", count, "is" if len(unused) == 1 else "are", unused[0]
        )
