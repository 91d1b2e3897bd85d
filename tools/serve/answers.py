"""The forms in which a segmentation is answered, and the choice among them."""

from __future__ import annotations

import base64
import csv
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tools.prediction.image_tables import class_pixels
from tools.prediction.polygons import PIXELS, Polygon, feature_collection, polygons_of
from tools.serve.failures import FailedRequest
from tools.serve.jobs import Check

DEFAULT = "areas"
_OFF_AND_ON = {"0": False, "1": True}
_MOST_DIGITS = 12
# Sides of pixels between two classes; those of a street scene of 40 million pixels are fewer, those of noise more.
MOST_SIDES = 500_000


class Answer(NamedTuple):
    """The body of an answer, and its media type."""

    media_type: str
    body: bytes


class Options(NamedTuple):
    """What a request asks for.

    Attributes:
        output: key of `OUTPUTS`.
        min_area: pixels of the smallest polygon.
        with_labels: whether `areas` also has the label map.
    """

    output: str
    min_area: int = 0
    with_labels: bool = False


class Classes(NamedTuple):
    """Name and colour of each class."""

    names: Sequence[str]
    palette: Sequence[Sequence[int]]


def class_list(classes: Classes) -> list[dict[str, Any]]:
    """Returns id, name and colour of each class, for JSON."""
    return [
        {"id": index, "name": name, "color": [int(channel) for channel in color]}
        for index, (name, color) in enumerate(zip(classes.names, classes.palette, strict=False))
    ]


def _png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, format="PNG", compress_level=1)
    return file.getvalue()


def _labels(labels: np.ndarray, classes: Classes, options: Options, check: Check) -> bytes:
    return _png(labels)


def _areas(labels: np.ndarray, classes: Classes, options: Options, check: Check) -> bytes:
    counts = class_pixels(labels, len(classes.names))
    height, width = labels.shape
    found: dict[str, Any] = {
        "height": height,
        "width": width,
        "classes": [
            {**entry, "pixels": count, "share": count / labels.size}
            for entry, count in zip(class_list(classes), counts, strict=True)
        ],
    }
    if options.with_labels:
        # No picture: a browser may change the pixels of pictures that a page reads, against fingerprinting.
        numbers = np.ascontiguousarray(labels, np.uint8 if len(classes.names) <= 256 else "<u2")
        found["labels"] = base64.b64encode(zlib.compress(numbers.tobytes(), 1)).decode("ascii")
    return json.dumps(found, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _csv(labels: np.ndarray, classes: Classes, options: Options, check: Check) -> bytes:
    counts = class_pixels(labels, len(classes.names))
    file = io.StringIO()
    rows = [(index, name, count, f"{count / labels.size:.6f}")
            for index, (name, count) in enumerate(zip(classes.names, counts, strict=True))]  # fmt: skip
    csv.writer(file, lineterminator="\n").writerows([("id", "class", "pixels", "share"), *rows])
    return file.getvalue().encode("utf-8", "backslashreplace")


def _polygons(labels: np.ndarray, classes: Classes, options: Options, check: Check) -> bytes:
    """Formats the outlines.

    Raises:
        FailedRequest: they are too long, as those of noise; the time and memory grow with their length.
    """
    sides = sum(int(np.count_nonzero(np.diff(labels.astype(np.int32), axis=axis))) for axis in (0, 1))
    if sides > MOST_SIDES:
        raise FailedRequest(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the outlines have {sides} sides of pixels, and the limit is {MOST_SIDES}: send a smaller image, or ask "
            "for output=labels",
        )

    def checked() -> Iterator[Polygon]:
        for polygon in polygons_of(labels, options.min_area):
            check()
            yield polygon

    found = feature_collection(checked(), classes.names, PIXELS, options.min_area)
    return json.dumps(found, ensure_ascii=False).encode("utf-8", "backslashreplace")


class Output(NamedTuple):
    """A form of the answer: its media type, what it is, and the function that makes it."""

    media_type: str
    description: str
    encode: Callable[[np.ndarray, Classes, Options, Check], bytes]


OUTPUTS: Mapping[str, Output] = {
    "areas": Output("application/json", "pixels and share of each class", _areas),
    "labels": Output(
        "image/png", "the class of each pixel as a grey value, of 16 bits for more than 256 classes", _labels
    ),
    "polygons": Output("application/geo+json", "the outlines of all regions, in pixels", _polygons),
    "csv": Output("text/csv", "pixels and share of each class, a row per class", _csv),
}


def answer_of(labels: np.ndarray, classes: Classes, options: Options, check: Check = lambda: None) -> Answer:
    """Makes the answer.

    Args:
        labels: training ids [H, W].
        classes: of the network.
        options: from `options_of`.
        check: is called between the steps of long work; its exception ends the work.

    Raises:
        FailedRequest: there are too many outlines.
        MissingPackageError: the package for polygons is not installed.
    """
    output = OUTPUTS[options.output]
    return Answer(output.media_type, output.encode(labels, classes, options, check))


def options_of(query: Mapping[str, str], accept: str) -> Options:
    """Reads what a request asks for.

    Args:
        query: parameters of the address.
        accept: the header of this name, which is used without the parameter `output`; empty without one.

    Raises:
        FailedRequest: a parameter is unknown, has a wrong value or no effect, or no form has an accepted media type.
    """
    for name in query:
        if name not in ("output", "min_area", "labels"):
            raise _wrong(f"parameter {name[:80]!a} is unknown: expected output, min_area or labels")
    output = query.get("output") or _accepted(accept)
    if output not in OUTPUTS:
        raise _wrong(f"output={output[:80]!a} is unknown: expected {', '.join(OUTPUTS)}")
    min_area, labels = query.get("min_area", "0"), query.get("labels", "0")
    if not (min_area.isascii() and min_area.isdigit() and len(min_area) <= _MOST_DIGITS):
        raise _wrong(f"min_area={min_area[:80]!a}: expected a number of pixels, 0 or more")
    if labels not in _OFF_AND_ON:
        raise _wrong(f"labels={labels[:80]!a}: expected 0 or 1")
    options = Options(output, int(min_area), _OFF_AND_ON[labels])
    for name, needed, is_used in (("min_area", "polygons", options.min_area), ("labels", "areas", options.with_labels)):
        if is_used and output != needed:
            raise _wrong(f"{name}={query[name]} has no effect with output={output}: drop it, or give output={needed}")
    return options


def _wrong(text: str) -> FailedRequest:
    return FailedRequest(HTTPStatus.BAD_REQUEST, text)


def _accepted(accept: str) -> str:
    """Returns the output that a header Accept prefers; of equal ones, the first in the header.

    Raises:
        FailedRequest: it accepts none.
    """
    if not accept.strip():
        return DEFAULT
    ranges = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    qualities = dict(zip(ranges, map(_quality, accept.split(",")), strict=True))
    found = []
    for name, output in OUTPUTS.items():
        # The most specific range decides (RFC 9110, section 12.5.1).
        kinds = (output.media_type, f"{output.media_type.partition('/')[0]}/*", "*/*")
        media_range = next((kind for kind in kinds if kind in qualities), None)
        if media_range is not None and qualities[media_range] > 0:
            found.append((-qualities[media_range], ranges.index(media_range), name))
    if found:
        # min() keeps the first of equal ones, in the order of OUTPUTS.
        return min(found, key=lambda entry: entry[:2])[2]
    expected = ", ".join(output.media_type for output in OUTPUTS.values())
    raise FailedRequest(HTTPStatus.NOT_ACCEPTABLE, f"no form of the answer is accepted: expected one of {expected}")


def _quality(part: str) -> float:
    for parameter in part.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
