"""Annotated images as all formats describe them, and checks of values in annotation files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from database.errors import JsonError
from database.json_files import parse_json
from database.regular_files import MOST_BYTES_OF_TEXT, read_regular_file
from tools.errors import AnnotationError
from tools.import_annotations.shapes import Polygon, Shape

_LONGEST_SHOWN = 60
# Coordinates far outside of every image show a damaged file.
_FARTHEST = 1e9


@dataclass(frozen=True)
class Instance:
    """An annotated object or region.

    Attributes:
        where: names it in messages.
        label: its class, as in the file.
        shapes: it covers the union of their pixels.
        level: instances of a higher level cover those of lower ones.
        is_ignored: whether its pixels are ignored, whatever its label.
    """

    where: str
    label: str
    shapes: tuple[Shape, ...]
    level: int = 0
    is_ignored: bool = False


@dataclass(frozen=True)
class AnnotatedImage:
    """An image and its instances, in the order of the file.

    Attributes:
        where: names the entry of the image in messages.
        names: paths below the folder of images; the first one that is a file is used.
        size: (height, width) in pixels.
        instances: of the image.
    """

    where: str
    names: tuple[str, ...]
    size: tuple[int, int]
    instances: tuple[Instance, ...]


class Annotations(NamedTuple):
    """The content of annotation files.

    Attributes:
        images: in the order of the files.
        labels: classes in the order that the file declares; empty if the format declares none.
    """

    images: Sequence[AnnotatedImage]
    labels: tuple[str, ...] = ()


def shown(value: Any) -> str:
    """Returns a value for messages, shortened."""
    text = str(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def read_json_file(path: str, most_bytes: int = MOST_BYTES_OF_TEXT) -> dict[str, Any]:
    """Reads the JSON object in a file.

    Raises:
        AnnotationError: the file cannot be read, is too large, or is no JSON object.
    """
    try:
        content = parse_json(read_regular_file(path, most_bytes).decode("utf-8-sig"))
    except OSError as error:
        raise AnnotationError(f"{path}: the annotations cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: byte {error.start + 1} is not UTF-8, expected JSON in UTF-8") from error
    except JsonError as error:
        raise AnnotationError(error.at(path)) from error
    if not isinstance(content, dict):
        raise AnnotationError(f"{path}: found a JSON {type(content).__name__}, expected an object")
    return content


def listed_objects(content: dict[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    """Returns the list of objects under a key.

    Raises:
        AnnotationError: there is none.
    """
    values = content.get(key)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise AnnotationError(f"{where}: '{key}' is {shown(values)}, expected a list of objects")
    return values


def text_value(value: Any, where: str, name: str) -> str:
    """Returns a text that is not empty, with single blanks.

    Raises:
        AnnotationError: it is something else.
    """
    text = " ".join(value.split()) if isinstance(value, str) else ""
    if not text:
        raise AnnotationError(f"{where}: {name} is {shown(value)!r}, expected a text")
    return text


def number_value(value: Any, where: str, name: str) -> float:
    """Returns a finite number, also from text.

    Raises:
        AnnotationError: it is something else, or farther from 0 than any coordinate.
    """
    try:
        number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= _FARTHEST:
        raise AnnotationError(f"{where}: {name} is {shown(value)!r}, expected a number up to {_FARTHEST:.0f}")
    return number


def whole_value(value: Any, where: str, name: str, least: int = 0) -> int:
    """Returns a whole number, also from text.

    Raises:
        AnnotationError: it is something else, below `least`, or above any size of an image.
    """
    number = number_value(value, where, name)
    if number != int(number) or number < least:
        raise AnnotationError(f"{where}: {name} is {shown(value)!r}, expected a whole number from {least}")
    return int(number)


def polygon(values: Sequence[Any], where: str) -> Polygon:
    """Makes a polygon of x and y of its corners, one after the other.

    Raises:
        AnnotationError: there are fewer than three corners, or a coordinate is missing or no number.
    """
    if len(values) < 6 or len(values) % 2:
        raise AnnotationError(
            f"{where}: the polygon has {len(values)} coordinates, expected x and y of 3 or more points"
        )
    return Polygon(np.array([number_value(value, where, "a coordinate") for value in values]).reshape(-1, 2))


def box(left: float, top: float, right: float, bottom: float, rotation: float = 0.0) -> Polygon:
    """Makes a rectangle, rotated clockwise around its centre by an angle in degrees."""
    centre = np.array([(left + right) / 2, (top + bottom) / 2])
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]]) - centre
    angle = math.radians(rotation)
    turned = corners @ np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return Polygon(turned + centre if rotation else corners + centre)
