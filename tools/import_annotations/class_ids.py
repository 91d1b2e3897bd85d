"""Ids of the classes, and the palette file that describes them to all other commands."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from database.atomic import text_written_atomically
from database.classes import IGNORE_LABEL
from database.errors import TextFileError
from database.lists import and_more
from database.palettes import Palette, read_palette, voc_palette
from database.text_files import read_text
from tools.errors import AnnotationError
from tools.import_annotations.annotated import Annotations, shown

PALETTE_NAME = "palette.txt"
IGNORE = "ignore"
MOST_CLASSES = 254

# Labels with a meaning of their own, as in labelme's examples.
_BACKGROUND_LABEL = "_background_"
_IGNORED_LABELS = ("__ignore__", IGNORE)
# The first line of a palette, by which a later import into the same folder finds the class of the other pixels.
_FIRST_LINE = "# pixels of no instance: "


@dataclass(frozen=True)
class ClassIds:
    """The classes.

    Attributes:
        names: by id.
        palette: colour by id.
        background: the class of pixels of no instance; `ignore` if they are ignored.
        ignored: colours of ignored pixels in the palette.
    """

    names: tuple[str, ...]
    palette: Palette
    background: str
    ignored: Palette = ()

    @property
    def background_id(self) -> int:
        """The id of pixels of no instance."""
        return IGNORE_LABEL if self.background == IGNORE else self.names.index(self.background)

    def id_of(self, label: str) -> int:
        """Returns the id of a label that is a class, is ignored or is the background.

        Raises:
            ValueError: it is none of them.
        """
        if _is_background(label, self.background):
            return self.background_id
        return IGNORE_LABEL if label.lower() in _IGNORED_LABELS else self.names.index(label)

    def write(self, path: str) -> None:
        """Writes the palette file, which `--palette` reads.

        Raises:
            AnnotationError: the file cannot be written.
        """
        rows = [*zip(self.names, self.palette, strict=True), *((IGNORE, color) for color in self.ignored)]
        try:
            with text_written_atomically(path) as file:
                file.write(f"{_FIRST_LINE}{self.background}\n")
                file.writelines(f"{' '.join(map(str, color))} {name}\n" for name, color in rows)
        except OSError as error:
            raise AnnotationError(f"{path}: cannot be written ({error.strerror or error})") from error


def _is_background(label: str, background: str) -> bool:
    """Returns whether a label is another name of the pixels of no instance."""
    return label == _BACKGROUND_LABEL and background != IGNORE


def _used_labels(annotations: Annotations) -> dict[str, str]:
    """Returns each label of the instances with the place of its first one."""
    used: dict[str, str] = {}
    for image in annotations.images:
        for instance in image.instances:
            used.setdefault(instance.label, instance.where)
    return used


def found_classes(annotations: Annotations, background: str) -> ClassIds:
    """Gives ids to the classes of annotations: the background first, then those that the file declares, in its order.

    Labels that occur without being declared follow in alphabetical order. Colours are those of VOC.

    Raises:
        AnnotationError: there are too many classes, or fewer than two.
    """
    labels = [*annotations.labels, *sorted(_used_labels(annotations))]
    own = [] if background == IGNORE else [background]
    classes = [
        label for label in labels if label.lower() not in _IGNORED_LABELS and not _is_background(label, background)
    ]
    names = tuple(dict.fromkeys([*own, *classes]))
    if not 2 <= len(names) <= MOST_CLASSES:
        raise AnnotationError(
            f"found {len(names)} classes ({shown(', '.join(names))}), expected 2 to {MOST_CLASSES}, with the background"
        )
    first_color = 1 - len(own)  # VOC's first colour is that of the background
    return ClassIds(names, voc_palette(len(names) + first_color)[first_color:], background)


def read_classes(path: str, background: str) -> ClassIds:
    """Reads the classes from a palette file, whose lines are `R G B name` in the order of the ids.

    Raises:
        AnnotationError: a class has no name, the background is no class, or the palette is that of an import with
            another background.
        PaletteError: see `database.palettes.read_palette`.
    """
    content = read_palette(path, None)
    if content.class_names is None or not 2 <= len(content.class_names) <= MOST_CLASSES:
        raise AnnotationError(f"{path}: found {len(content.palette)} colours, expected 2 to {MOST_CLASSES} with names")
    try:
        first = read_text(path).partition("\n")[0]
    except (OSError, TextFileError) as error:
        raise AnnotationError(f"{path}: the palette file cannot be read ({error})") from error
    recorded = first.removeprefix(_FIRST_LINE) if first.startswith(_FIRST_LINE) else background
    if recorded != background:
        raise AnnotationError(
            f"{path}: pixels of no instance are '{shown(recorded)}' there, but --background is {background}: give "
            "both imports the same one"
        )
    if background != IGNORE and background not in content.class_names:
        raise AnnotationError(
            f"{path}: has no class '{background}' for pixels of no instance: add its line, or give --background the "
            f"name of a class or {IGNORE}"
        )
    return ClassIds(content.class_names, content.palette, background, content.ignored)


def refuse_unknown_labels(annotations: Annotations, classes: ClassIds, palette: str) -> None:
    """Rejects labels that are no class of a palette file.

    Raises:
        AnnotationError: there is such a label.
    """
    known = {*classes.names, *_IGNORED_LABELS}
    unknown: Sequence[tuple[str, str]] = [
        (label, where)
        for label, where in _used_labels(annotations).items()
        if label not in known and label.lower() not in _IGNORED_LABELS and not _is_background(label, classes.background)
    ]
    if unknown:
        label, where = unknown[0]
        raise AnnotationError(
            f"{where}: the label '{shown(label)}' is no class of {palette}{and_more(len(unknown) - 1)}: add its line "
            "'R G B name' there before the first import"
        )


def palette_path(folder: str) -> str:
    """Returns the path of the palette in the folder of imported data."""
    return os.path.join(folder, PALETTE_NAME)
