"""Reads COCO's instances. Source: https://cocodataset.org/#format-data, and `maskApi.c` of cocoapi for the masks."""

from __future__ import annotations

from typing import Any

from database.lists import and_more
from tools.errors import AnnotationError
from tools.import_annotations.annotated import (
    AnnotatedImage,
    Annotations,
    Instance,
    listed_objects,
    polygon,
    read_json_file,
    shown,
    text_value,
    whole_value,
)
from tools.import_annotations.shapes import RunLengths, Shape

# COCO's own instances_train2017.json has 448 MB.
MOST_BYTES = 1 << 30
_MOST_DIGITS = 7  # of five bits: more than any run of an image has


def read_coco(path: str, ignore_crowds: bool) -> Annotations:
    """Reads a file of instances with polygons or masks.

    Args:
        path: of the JSON file.
        ignore_crowds: whether the pixels of annotations with `iscrowd` are ignored; otherwise they have their class.

    Raises:
        AnnotationError: the file is malformed, or an annotation has no segmentation.
    """
    content = read_json_file(path, MOST_BYTES)
    labels = _labels(content, path)
    instances: dict[int, list[Instance]] = {}
    entries = listed_objects(content, "images", path)
    for number, entry in enumerate(entries):
        where = f"{path}, images[{number}]"
        image_id = _id(entry.get("id"), where)
        if image_id in instances:
            raise AnnotationError(f"{where}: the id {image_id} is that of another image, expected different ids")
        instances[image_id] = []
    annotations = listed_objects(content, "annotations", path)
    _refuse_boxes(annotations, path)
    for number, entry in enumerate(annotations):
        where = f"{path}, annotations[{number}]"
        image_id, category = _id(entry.get("image_id"), where), _id(entry.get("category_id"), where)
        if image_id not in instances or category not in labels:
            unknown = f"image_id {image_id}" if image_id not in instances else f"category_id {category}"
            raise AnnotationError(f"{where}: {unknown} is not in the file, expected one of its images and categories")
        is_crowd = whole_value(entry.get("iscrowd", 0), where, "'iscrowd'") != 0
        shapes = _shapes(entry.get("segmentation"), where)
        instances[image_id].append(Instance(where, labels[category], shapes, is_ignored=is_crowd and ignore_crowds))
    images = [
        _image(entry, f"{path}, images[{number}]", of_image)
        for (number, entry), of_image in zip(enumerate(entries), instances.values(), strict=True)
    ]
    return Annotations(images, tuple(labels[key] for key in sorted(labels)))


def _id(value: Any, where: str) -> int:
    if type(value) is not int:
        raise AnnotationError(f"{where}: found the id {shown(value)!r}, expected a whole number")
    return value


def _labels(content: dict[str, Any], path: str) -> dict[int, str]:
    """Returns the name of each category by its id."""
    labels: dict[int, str] = {}
    for number, entry in enumerate(listed_objects(content, "categories", path)):
        where = f"{path}, categories[{number}]"
        category, name = _id(entry.get("id"), where), text_value(entry.get("name"), where, "'name'")
        if category in labels or name in labels.values():
            raise AnnotationError(f"{where}: category {category} '{name}' occurs twice: keep one")
        labels[category] = name
    return labels


def _image(entry: dict[str, Any], where: str, instances: list[Instance]) -> AnnotatedImage:
    name = entry.get("file_name")
    if not isinstance(name, str):
        raise AnnotationError(f"{where}: 'file_name' is {shown(name)!r}, expected the path of an image")
    size = whole_value(entry.get("height"), where, "'height'", 1), whole_value(entry.get("width"), where, "'width'", 1)
    return AnnotatedImage(where, (name,), size, tuple(instances))


def _refuse_boxes(annotations: list[dict[str, Any]], path: str) -> None:
    boxes = [number for number, entry in enumerate(annotations) if not entry.get("segmentation")]
    if boxes:
        raise AnnotationError(
            f"{path}, annotations[{boxes[0]}]{and_more(len(boxes) - 1)}: has no segmentation, expected polygons or a "
            "mask: boxes are for detection"
        )


def _shapes(segmentation: Any, where: str) -> tuple[Shape, ...]:
    if isinstance(segmentation, list) and all(isinstance(part, list) for part in segmentation):
        return tuple(polygon(part, where) for part in segmentation)
    if not isinstance(segmentation, dict) or not isinstance(segmentation.get("size"), list):
        raise AnnotationError(
            f"{where}: 'segmentation' is {shown(segmentation)}, expected a list of polygons or {{\"size\": [height, "
            'width], "counts": ...}'
        )
    size = [whole_value(value, where, "a side of the mask", 1) for value in segmentation["size"]]
    if len(size) != 2:
        raise AnnotationError(f"{where}: 'size' has {len(size)} numbers, expected height and width")
    counts = segmentation.get("counts")
    runs = counts_of_text(counts, where) if isinstance(counts, str) else _listed_counts(counts, where)
    return (RunLengths(where, runs, size[0], size[1], by_columns=True, is_whole=True),)


def _listed_counts(counts: Any, where: str) -> list[int]:
    if not isinstance(counts, list) or not all(type(count) is int for count in counts):
        raise AnnotationError(f"{where}: 'counts' is {shown(counts)}, expected a text or a list of whole numbers")
    return counts


def counts_of_text(text: str, where: str) -> list[int]:
    """Decodes compressed run lengths, as `rleFrString` in cocoapi's `maskApi.c`.

    A number is written in digits of five bits, the lowest first, each as the character 48 + bits, plus 32 if another
    digit follows. The number has a sign; from the fourth on it is the difference to the number before the last.

    Args:
        text: the characters.
        where: names the mask in messages.

    Raises:
        AnnotationError: a character is no digit, a number has too many digits, or the last one is not complete.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        digit = ord(character) - 48
        if not 0 <= digit < 64 or shift >= 5 * _MOST_DIGITS:
            raise AnnotationError(f"{where}: 'counts' has {shown(text)!r}, expected compressed run lengths")
        value |= (digit & 31) << shift
        shift += 5
        if not digit & 32:
            value -= (1 << shift) if digit & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise AnnotationError(f"{where}: 'counts' ends within a number, expected compressed run lengths")
    return counts
