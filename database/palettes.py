"""Colours of classes: tables, colouring of label maps, legends and panels."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from database.classes import IGNORE_LABEL
from database.counts import number_of
from database.errors import JsonError, PaletteError, TextFileError
from database.json_files import parse_json
from database.palette_hints import hexadecimal_hint, ids_hint
from database.text_files import read_text, text_lines

logger = logging.getLogger(__name__)

Palette = tuple[tuple[int, int, int], ...]

# fmt: off
CITYSCAPES: Palette = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
    (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60),
    (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
)

CAMVID: Palette = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
    (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)
# fmt: on

_WHITE, _BLACK, _GREY = (255, 255, 255), (0, 0, 0), (128, 128, 128)
_FONT_SIZE = 14
_ROW_HEIGHT = 22
_SWATCH = 14
_MARGIN = 8

_IGNORED_NAME = "ignore"

# Python does not convert thousands of digits into a number.
_MOST_DIGITS = 100


# Probably intended as a comment, but read as part of a name.
_LATE_COMMENT = re.compile(r"(^|\s)#")


class _Entry(NamedTuple):
    where: str  # file and line, or entry
    name: str
    color: tuple[int, int, int]


class PaletteFile(NamedTuple):
    """The content of a palette file.

    Attributes:
      class_names: by training id; None if the file has no names.
      palette: the colour of each class, by training id.
      ignored: the colours of ignored pixels in label files of colours.
    """

    class_names: tuple[str, ...] | None
    palette: Palette
    ignored: Palette


def voc_palette(num_colors: int) -> Palette:
    """Returns the PASCAL VOC colour map: bits 0, 1, 2 of the index become the top bits of R, G, B, and so on.

    Source: VOClabelcolormap of the PASCAL VOC development kit.

    Raises:
      ValueError: num_colors is outside 1..256.
    """
    if not 1 <= num_colors <= 256:
        raise ValueError(f"the VOC colour map has 1 to 256 colours, not {num_colors}")

    def channel(index: int, first_bit: int) -> int:
        return sum((index >> (3 * place + first_bit) & 1) << (7 - place) for place in range(3))

    return tuple((channel(index, 0), channel(index, 1), channel(index, 2)) for index in range(num_colors))


def colorize(train_ids: np.ndarray, palette: Palette, ignore_color: tuple[int, int, int] = _BLACK) -> np.ndarray:
    """Colours a label map.

    Args:
      train_ids: integer [H, W].
      palette: the colour of each training id.
      ignore_color: the colour of every id outside the palette.

    Returns:
      uint8 [H, W, 3] RGB.
    """
    table = np.array([*palette, ignore_color], dtype=np.uint8)
    known = (train_ids >= 0) & (train_ids < len(palette))
    return table[np.where(known, train_ids, len(palette))]


def default_classes(num_classes: int) -> tuple[tuple[str, ...], Palette]:
    """Returns names and colours of a user's own classes without a palette: `class_<index>`, VOC's from the second on.

    VOC's first colour, black, is that of ignored pixels.
    """
    return tuple(f"class_{index}" for index in range(num_classes)), voc_palette(num_classes + 1)[1:]


def untinted_class(class_names: Sequence[str], palette: Palette) -> int | None:
    """Returns the class that overlays leave as it is in the image: 0 without a palette; None if colours were chosen.

    Class 0 of a user's own data is usually the background, and a colour over it would hide the objects.
    """
    is_default = len(palette) < 256 and (tuple(class_names), palette) == default_classes(len(palette))
    return 0 if is_default else None


def overlay(
    image: np.ndarray, colors: np.ndarray, alpha: float = 0.5, untinted: np.ndarray | None = None
) -> np.ndarray:
    """Blends colours over an image: (1 - alpha) image + alpha colors, rounded.

    Args:
      image: uint8 [H, W, 3].
      colors: uint8 [H, W, 3].
      alpha: weight of the colours, 0..1.
      untinted: bool [H, W], pixels that stay as they are in the image; None for none.

    Returns:
      uint8 [H, W, 3].

    Raises:
      ValueError: the shapes differ, or alpha is outside its range.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}: expected 0 (the image alone) to 1 (the colours alone)")
    if image.shape != colors.shape:
        raise ValueError(f"cannot overlay colours {list(colors.shape)} on an image {list(image.shape)}")
    blended = (1.0 - alpha) * image.astype(np.float32) + alpha * colors.astype(np.float32)
    tinted = np.clip(np.rint(blended), 0, 255).astype(np.uint8)
    return tinted if untinted is None else np.where(untinted[..., np.newaxis], image, tinted)


def to_label_ids(train_ids: np.ndarray, label_map: Mapping[int, int]) -> np.ndarray:
    """Turns training ids back into the dataset's ids, as evaluation servers expect them.

    Args:
      train_ids: integer [H, W].
      label_map: id in the file (0..65535) -> training id, 255 = ignored.

    Returns:
      uint8 [H, W], or uint16 if the file id of a class is above 255: the smallest file id that maps to each training
      id. Ignored pixels and training ids without a file id become 0 if the dataset ignores its id 0, else 255.
    """
    ignored = 0 if label_map.get(0) == IGNORE_LABEL else 255
    table = np.full(257, ignored, dtype=np.uint16)
    for file_id, train_id in sorted(label_map.items(), reverse=True):
        if train_id != IGNORE_LABEL:
            table[train_id] = file_id
    table = table if table.max() > 255 else table.astype(np.uint8)
    ids = np.asarray(train_ids).astype(np.int64)  # 256 does not fit into bytes
    return table[np.where((ids >= 0) & (ids < 256), ids, 256)]


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=_FONT_SIZE)


def legend(
    class_names: Sequence[str], palette: Palette, width: int, present: Iterable[int] | None = None
) -> np.ndarray:
    """Draws swatches and names on white, wrapped into rows.

    Args:
      class_names: the name of each training id.
      palette: the colour of each training id.
      width: pixels; a name wider than a row is cut off.
      present: the training ids to show (ids that are no classes are ignored); None for all.

    Returns:
      uint8 [h, width, 3].
    """
    known = set(range(len(class_names)))
    shown = sorted(known if present is None else known & set(present))
    font = _font()
    places: list[tuple[int, int, int]] = []
    left, row = _MARGIN, 0
    for train_id in shown:
        advance = _SWATCH + 5 + int(np.ceil(font.getlength(class_names[train_id]))) + 2 * _MARGIN
        if left > _MARGIN and left + advance - _MARGIN > width:
            left, row = _MARGIN, row + 1
        places.append((int(train_id), left, row))
        left += advance
    canvas = Image.new("RGB", (width, (row + 1) * _ROW_HEIGHT + _MARGIN), _WHITE)
    draw = ImageDraw.Draw(canvas)
    for train_id, left, row in places:
        middle = row * _ROW_HEIGHT + (_ROW_HEIGHT + _MARGIN) // 2
        top = middle - _SWATCH // 2
        box = (left, top, left + _SWATCH - 1, top + _SWATCH - 1)
        draw.rectangle(box, fill=palette[train_id], outline=_GREY)
        draw.text((left + _SWATCH + 5, middle), class_names[train_id], fill=_BLACK, font=font, anchor="lm")
    return np.array(canvas)


def panels_width(panels: Sequence[tuple[str, np.ndarray]], gap: int = 8) -> int:
    """Returns the width in pixels of `side_by_side(panels, gap=gap)`, the best width for a legend below it."""
    return sum(picture.shape[1] for _, picture in panels) + gap * (len(panels) + 1)


def side_by_side(
    panels: Sequence[tuple[str, np.ndarray]], legend_strip: np.ndarray | None = None, gap: int = 8
) -> np.ndarray:
    """Arranges pictures in a row on white, each under its title, with a legend below.

    Args:
      panels: (title, uint8 [H, W, 3]); the pictures may differ in size and are aligned at the top.
      legend_strip: uint8 [h, w, 3], best `panels_width` wide, or None.
      gap: pixels between and around the pictures.

    Returns:
      uint8 [height, width, 3].
    """
    width = panels_width(panels, gap)
    bottom = _ROW_HEIGHT + max(picture.shape[0] for _, picture in panels) + gap
    strip = np.zeros((0, width, 3), np.uint8) if legend_strip is None else legend_strip
    canvas = Image.new("RGB", (max(width, strip.shape[1]), bottom + strip.shape[0]), _WHITE)
    draw = ImageDraw.Draw(canvas)
    left = gap
    for title, picture in panels:
        canvas.paste(Image.fromarray(picture), (left, _ROW_HEIGHT))
        draw.text((left, _ROW_HEIGHT // 2), title, fill=_BLACK, font=_font(), anchor="lm")
        left += picture.shape[1] + gap
    composed = np.array(canvas)
    composed[bottom:, : strip.shape[1]] = strip
    return composed


def read_palette(path: str, num_classes: int | None) -> PaletteFile:
    """Reads the colours, and perhaps the names, of a user's own classes.

    Args:
      path: a text file with one line `R G B [name]` per class (blank lines, and lines that begin with #, are skipped; a
        later # is part of the name), or a .json file with a list of {"name": ..., "color": [R, G, B]}; R, G, B in
        0..255. Entries named `ignore` are not classes: they define the colours of ignored pixels.
      num_classes: how many classes the file must describe; None for as many as it does.

    Returns:
      Names and colours; a nameless class among named ones becomes class_<i>.

    Raises:
      PaletteError: the file is unreadable, malformed, has a column of ids, has the wrong number of classes, or gives
        two classes the same name.
    """
    text = _read(path)
    found = _json_entries(path, text) if path.lower().endswith(".json") else _text_entries(path, text)
    entries = [entry for entry in found if not _is_ignored(entry)]
    if num_classes is not None and len(entries) != num_classes:
        beside = f" and {len(found) - len(entries)} named 'ignore'" if len(found) > len(entries) else ""
        colors = number_of(len(entries), "colour")
        count = f"give --num_classes {len(entries)}, or " if len(entries) > 1 else ""
        advice = hexadecimal_hint(text) or f": {count}change the file"
        raise PaletteError(f"{path}: found {colors}{beside}, expected {num_classes}, one per class{advice}")
    palette = tuple(entry.color for entry in entries)
    ignored = tuple(entry.color for entry in found if _is_ignored(entry))
    _warn_of_shared_colors(entries)
    if not any(entry.name for entry in entries):
        return PaletteFile(None, palette, ignored)
    named = [entry._replace(name=entry.name or f"class_{index}") for index, entry in enumerate(entries)]
    _refuse_shared_names(named)
    return PaletteFile(tuple(entry.name for entry in named), palette, ignored)


def _refuse_shared_names(entries: Sequence[_Entry]) -> None:
    """Rejects two classes of the same name: scores are reported by name and would be ambiguous."""
    first: dict[str, int] = {}
    for index, entry in enumerate(entries):
        if first.setdefault(entry.name, index) != index:
            raise PaletteError(
                f"{entry.where}: class {index} has the same name as class {first[entry.name]}, "
                f"'{_shortened(entry.name)}': give each class a different name"
            )


def _warn_of_shared_colors(entries: Sequence[_Entry]) -> None:
    """Warns about two classes of the same colour: this may be intended, but pictures show no difference."""
    first: dict[tuple[int, int, int], int] = {}
    for index, entry in enumerate(entries):
        if first.setdefault(entry.color, index) != index:
            logger.warning(
                "%s: class %d has the same colour as class %d, %s: pictures show no difference between them",
                entry.where, index, first[entry.color], " ".join(map(str, entry.color)),
            )  # fmt: skip


def _is_ignored(entry: _Entry) -> bool:
    return entry.name.lower() == _IGNORED_NAME


def _read(path: str) -> str:
    try:
        return read_text(path)
    except OSError as error:
        raise PaletteError(f"{path}: the palette file cannot be read ({error.strerror or error})") from error
    except TextFileError as error:
        raise PaletteError(str(error)) from error


def _checked_color(values: object, where: str) -> tuple[int, int, int]:
    if not (
        isinstance(values, list)
        and len(values) == 3
        and all(type(value) is int and 0 <= value <= 255 for value in values)
    ):
        raise PaletteError(f"{where}: found colour {_shortened(values)}, expected three whole numbers R G B in 0..255")
    return values[0], values[1], values[2]


def _shortened(values: object) -> str:
    text = str(values)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _text_entries(path: str, text: str) -> list[_Entry]:
    """Parses the entries of a text file; the name is "" if there is none."""
    of_ids = ids_hint(text)
    if of_ids:
        raise PaletteError(f"{path}: {of_ids}")
    entries = []
    for number, line in text_lines(text):
        where = f"{path}, line {number}"
        fields = line.split(None, 3)
        values = [int(field) if field.isdecimal() and len(field) <= _MOST_DIGITS else field for field in fields[:3]]
        name = fields[3] if len(fields) == 4 else ""
        if _LATE_COMMENT.search(name):
            logger.warning(
                "%s: the class is named '%s': put the comment, if it is one, on another line", where, _shortened(name)
            )
        entries.append(_Entry(where, name, _checked_color(values, where)))
    return entries


def _json_entries(path: str, text: str) -> list[_Entry]:
    """Parses the entries of a JSON file, see `_text_entries`."""
    try:
        content = parse_json(text)
    except JsonError as error:
        raise PaletteError(error.at(path)) from error
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise PaletteError(f'{path}: expected a JSON list of {{"name": ..., "color": [R, G, B]}}')
    return [
        _Entry(where, " ".join(str(entry.get("name") or "").split()), _checked_color(entry.get("color"), where))
        for number, entry in enumerate(content, start=1)
        for where in [f"{path}, entry {number}"]
    ]
