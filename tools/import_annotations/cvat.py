"""Reads CVAT for images 1.1. Source: https://docs.cvat.ai/docs/manual/advanced/xml_format/"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from xml.etree.ElementTree import Element

from tools.errors import AnnotationError
from tools.import_annotations.annotated import (
    AnnotatedImage,
    Annotations,
    Instance,
    box,
    number_value,
    polygon,
    shown,
    text_value,
    whole_value,
)
from tools.import_annotations.shapes import Ellipse, RunLengths, Shape
from tools.import_annotations.xml_tree import read_xml

# Children of an image that have no pixels.
_NO_SHAPES = ("tag",)


def read_cvat(path: str, subset: str | None = None) -> Annotations:
    """Reads annotations.xml.

    Args:
        path: of the XML file.
        subset: the images to read if the file has several subsets; None for all.

    Raises:
        AnnotationError: the file is malformed, is of another format, has tracks or a shape without an area; or there
            are several subsets and none is chosen, or the chosen one does not exist.
    """
    root = read_xml(path)
    if root.tag != "annotations":
        raise AnnotationError(f"{path}: found <{shown(root.tag)}>, expected <annotations> of CVAT for images 1.1")
    if root.find("track") is not None:
        raise AnnotationError(f"{path}: found <track> of CVAT for video: export the task as CVAT for images 1.1")
    entries = _of_subset(root.findall("image"), subset, path)
    names = [element.findtext("name") for element in root.iterfind("./meta//labels/label")]
    labels = tuple(dict.fromkeys(text_value(name, path, "the name of a label") for name in names))
    return Annotations([_image(entry, f"{path}, image {number}") for number, entry in entries], labels)


def _of_subset(entries: list[Element], subset: str | None, path: str) -> list[tuple[int, Element]]:
    numbered = list(enumerate(entries))
    subsets = sorted({entry.get("subset", "") for entry in entries})
    if subset is None:
        if len(subsets) > 1:
            names = ", ".join(shown(name or "''") for name in subsets)
            raise AnnotationError(f"{path}: found the subsets {names}: choose one with --subset, and its --split")
        return numbered
    if subset not in subsets:
        names = ", ".join(shown(name or "''") for name in subsets) or "no image"
        raise AnnotationError(f"{path}: found {names}, expected images of --subset {shown(subset)}")
    return [(number, entry) for number, entry in numbered if entry.get("subset", "") == subset]


def _image(entry: Element, where: str) -> AnnotatedImage:
    size = whole_value(entry.get("height"), where, "'height'", 1), whole_value(entry.get("width"), where, "'width'", 1)
    instances = []
    for number, element in enumerate(entry):
        if element.tag in _NO_SHAPES:
            continue
        place = f"{where}, {shown(element.tag)} {number}"
        make = _KINDS.get(element.tag)
        if make is None:
            raise AnnotationError(
                f"{place}: has no area, expected one of {', '.join(_KINDS)}: draw it as a polygon, or delete it"
            )
        label = text_value(element.get("label"), place, "'label'")
        level = int(number_value(element.get("z_order", "0"), place, "'z_order'"))
        instances.append(Instance(place, label, (make(element.attrib, place),), level))
    return AnnotatedImage(where, (entry.get("name", ""),), size, tuple(instances))


def _numbers(attributes: Mapping[str, str], where: str, *names: str) -> list[float]:
    return [number_value(attributes.get(name), where, f"'{name}'") for name in names]


def _rotation(attributes: Mapping[str, str], where: str) -> float:
    return number_value(attributes.get("rotation", "0"), where, "'rotation'")


def _polygon(attributes: Mapping[str, str], where: str) -> Shape:
    points = [point.split(",") for point in attributes.get("points", "").split(";")]
    if any(len(point) != 2 for point in points):
        raise AnnotationError(f"{where}: 'points' is {shown(attributes.get('points'))!r}, expected 'x,y;x,y;...'")
    return polygon([value for point in points for value in point], where)


def _box(attributes: Mapping[str, str], where: str) -> Shape:
    left, top, right, bottom = _numbers(attributes, where, "xtl", "ytl", "xbr", "ybr")
    return box(left, top, right, bottom, _rotation(attributes, where))


def _ellipse(attributes: Mapping[str, str], where: str) -> Shape:
    x, y, radius_x, radius_y = _numbers(attributes, where, "cx", "cy", "rx", "ry")
    return Ellipse(x, y, radius_x, radius_y, _rotation(attributes, where))


def _mask(attributes: Mapping[str, str], where: str) -> Shape:
    counts = [whole_value(value, where, "a run of 'rle'") for value in attributes.get("rle", "").split(",")]
    top, left = (whole_value(attributes.get(name), where, f"'{name}'") for name in ("top", "left"))
    height, width = (whole_value(attributes.get(name), where, f"'{name}'", 1) for name in ("height", "width"))
    return RunLengths(where, counts, height, width, by_columns=False, top=top, left=left)


_KINDS: dict[str, Callable[[Mapping[str, str], str], Shape]] = {
    "polygon": _polygon,
    "box": _box,
    "ellipse": _ellipse,
    "mask": _mask,
}
