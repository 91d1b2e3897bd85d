"""Reads labelme's files, one JSON per image. Source: https://github.com/wkentaro/labelme, `labelme/label_file.py`."""

from __future__ import annotations

import base64
import binascii
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

from database.data_files import files_below
from tools.errors import AnnotationError
from tools.import_annotations.annotated import (
    AnnotatedImage,
    Annotations,
    Instance,
    box,
    listed_objects,
    number_value,
    polygon,
    read_json_file,
    shown,
    text_value,
    whole_value,
)
from tools.import_annotations.shapes import Ellipse, Picture, Shape


def read_labelme(path: str) -> Annotations:
    """Reads a file of labelme, or all in a folder.

    Raises:
        AnnotationError: there is no file, or one is malformed or has a shape without an area.
        DatasetError: the folder cannot be read.
    """
    files = files_below(path, (".json",)) if os.path.isdir(path) else {os.path.basename(path): path}
    if not files:
        raise AnnotationError(f"{path}: no .json is there, expected labelme's files")
    return Annotations([_image(files[key], os.path.dirname(key)) for key in sorted(files)])


def _image(path: str, folder: str) -> AnnotatedImage:
    """Reads one file; `folder` is its place below the folder of annotations."""
    content = read_json_file(path)
    # The path is relative to the file, and written on another machine: only its name is of use.
    name = text_value(content.get("imagePath"), path, "'imagePath'").replace("\\", "/").rpartition("/")[2]
    size = (
        whole_value(content.get("imageHeight"), path, "'imageHeight'", 1),
        whole_value(content.get("imageWidth"), path, "'imageWidth'", 1),
    )
    parts: dict[Any, list[tuple[str, str, Shape]]] = {}
    for number, entry in enumerate(listed_objects(content, "shapes", path)):
        where = f"{path}, shape {number}"
        label = text_value(entry.get("label"), where, "'label'")
        group = entry.get("group_id")
        # Shapes of one group and label are parts of one instance.
        key = number if group is None else (label, shown(group))
        parts.setdefault(key, []).append((where, label, _shape(entry, where)))
    instances = tuple(
        Instance(shapes[0][0], shapes[0][1], tuple(shape for _, _, shape in shapes)) for shapes in parts.values()
    )
    names = tuple(dict.fromkeys((f"{folder}/{name}" if folder else name, name)))
    return AnnotatedImage(path, names, size, instances)


def _shape(entry: dict[str, Any], where: str) -> Shape:
    kind = entry.get("shape_type", "polygon")
    points = entry.get("points")
    if not isinstance(points, list) or not all(isinstance(point, list) and len(point) == 2 for point in points):
        raise AnnotationError(f"{where}: 'points' is {shown(points)}, expected a list of [x, y]")
    make = _KINDS.get(kind) if isinstance(kind, str) else None
    if make is None:
        raise AnnotationError(
            f"{where}: found the shape '{shown(kind)}', expected one with an area ({', '.join(_KINDS)}): draw it as a "
            "polygon, or delete it"
        )
    return make(points, where, entry)


def _polygon(points: Sequence[Sequence[Any]], where: str, entry: dict[str, Any]) -> Shape:
    return polygon([value for point in points for value in point], where)


def _two_points(points: Sequence[Sequence[Any]], where: str) -> list[float]:
    if len(points) != 2:
        raise AnnotationError(f"{where}: found {len(points)} points, expected 2")
    return [number_value(value, where, "a coordinate") for point in points for value in point]


def _rectangle(points: Sequence[Sequence[Any]], where: str, entry: dict[str, Any]) -> Shape:
    if len(points) == 4:
        return _polygon(points, where, entry)
    x0, y0, x1, y1 = _two_points(points, where)
    return box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))


def _circle(points: Sequence[Sequence[Any]], where: str, entry: dict[str, Any]) -> Shape:
    x, y, x_of_edge, y_of_edge = _two_points(points, where)
    radius = math.hypot(x_of_edge - x, y_of_edge - y)
    return Ellipse(x, y, radius, radius)


def _mask(points: Sequence[Sequence[Any]], where: str, entry: dict[str, Any]) -> Shape:
    """Reads a mask; its points are the first and the last of its pixels."""
    left, top, right, bottom = map(int, _two_points(points, where))
    if right < left or bottom < top:
        raise AnnotationError(f"{where}: the mask ends before it begins, expected its upper left corner first")
    try:
        content = base64.b64decode(entry.get("mask") or "", validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise AnnotationError(f"{where}: 'mask' is not base64 ({error})") from error
    return Picture(f"{where}, 'mask'", content, top, left, bottom - top + 1, right - left + 1)


_KINDS: dict[str, Callable[[Sequence[Sequence[Any]], str, dict[str, Any]], Shape]] = {
    "polygon": _polygon,
    "rectangle": _rectangle,
    "circle": _circle,
    "mask": _mask,
    "oriented_rectangle": _polygon,
}
