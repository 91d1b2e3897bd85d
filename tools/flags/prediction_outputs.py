"""Flags that say what predict.py and inference.py write beside label ids and colours."""

from __future__ import annotations

from dataclasses import dataclass

from tools.flags.definition import Need, flag

PROBABILITY_FORMATS = ("npz", "png")
POLYGON_FORMATS = ("geojson", "coco")

_DEFAULT_FORMAT = {"1": "npz"}


def probability_format(text: str) -> str:
    """Parses the name of a format of `PROBABILITY_FORMATS`; 1 is the first, 0 is none."""
    return _DEFAULT_FORMAT.get(text, text)


@dataclass(frozen=True, kw_only=True)
class PredictionOutputFlags:
    """Additional results of each image; the defaults write none of them."""

    save_probabilities: str = flag(
        "0",
        "write the probabilities of all classes: npz (or 1) as float16, png as a grey picture per class",
        probability_format,
        group="output",
        choices=("0", *PROBABILITY_FORMATS),
    )
    confidence: bool = flag(False, "write a grey picture of the largest probability of each pixel", group="output")
    polygons: str | None = flag(
        None,
        "write the outlines of all regions: a GeoJSON file per image, or one file of COCO for all images",
        str,
        group="output",
        unset="none",
        choices=POLYGON_FORMATS,
    )
    min_area: int = flag(
        0,
        "leave out polygons of fewer pixels",
        group="output",
        metavar="PIXELS",
        minimum=0,
        needs=Need(lambda config: config.polygons is not None, "without polygons: add --polygons geojson"),
    )
    areas: bool = flag(False, "write areas.csv: pixels and share of each class, a row per image", group="output")

    @property
    def writes_more(self) -> bool:
        """Whether anything is written beside label ids and colours."""
        return self.save_probabilities != "0" or self.confidence or self.polygons is not None or self.areas
