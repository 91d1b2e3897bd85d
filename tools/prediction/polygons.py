"""Finds the outlines of the regions of a label map, and formats them as GeoJSON.

The packages rasterio and pycocotools are in the extra `polygons`; only the functions that need them import them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from database.georeference import Georeference, georeference_file
from tools.prediction.result_writing import result_text
from tools.runtime.extras import extra_needed

EXTRA = "polygons"

_IN_PIXELS = "pixels: x to the right, y down; (0, 0) is the upper left corner of the image"
# Longitude before latitude, as in GeoJSON; EPSG:4326 has the opposite order.
_WGS84, _CRS84 = ("EPSG", "4326"), "urn:ogc:def:crs:OGC:1.3:CRS84"

Ring = np.ndarray  # float64 [corners, 2], x and y; the last corner is the first


class Polygon(NamedTuple):
    """The outline of pixels of one class that are connected by their sides.

    Attributes:
        train_id: of the class.
        pixels: number of pixels.
        rings: the outer ring, then the rings of the holes, in pixels.
    """

    train_id: int
    pixels: int
    rings: list[Ring]


class Coordinates(NamedTuple):
    """Coordinates of polygons.

    Attributes:
        description: in words.
        place: maps [N, 2] in pixels to [N, 2] in these coordinates.
        crs: the GeoJSON member `crs`; None if the coordinates are pixels or no system is known.
    """

    description: str
    place: Callable[[np.ndarray], np.ndarray]
    crs: Mapping[str, Any] | None = None


PIXELS = Coordinates(_IN_PIXELS, lambda corners: corners)


def require_polygons(purpose: str = "--polygons") -> None:
    """Checks that the packages for polygons are installed.

    Raises:
        MissingPackageError: one is not.
    """
    with extra_needed(EXTRA, purpose):
        import pycocotools.mask  # noqa: F401
        import rasterio.features  # noqa: F401


def polygons_of(labels: np.ndarray, min_area: int = 0) -> Iterator[Polygon]:
    """Yields the polygons of a label map, along the sides of pixels, so that they cover exactly the pixels.

    Args:
        labels: training ids, uint8 or uint16 [H, W].
        min_area: polygons of fewer pixels are left out; the hole that one filled stays a hole.

    Raises:
        MissingPackageError: rasterio is not installed.
    """
    with extra_needed(EXTRA, "polygons"):
        from rasterio import features
    for geometry, value in features.shapes(np.ascontiguousarray(labels), connectivity=4):
        rings = [np.asarray(ring, np.float64) for ring in geometry["coordinates"]]
        areas = [abs(signed_area(ring)) for ring in rings]
        pixels = round(areas[0] - sum(areas[1:]))
        if pixels >= min_area:
            yield Polygon(int(value), pixels, rings)


def signed_area(ring: Ring) -> float:
    """Returns the area inside a ring, positive if it runs counterclockwise where y points up."""
    (x, y), (next_x, next_y) = ring[:-1].T, ring[1:].T
    return float((x * next_y - next_x * y).sum() / 2)


def coordinates_of(georeference: Georeference | None) -> Coordinates:
    """Returns the coordinates of a georeference; pixels without one, or if it gives no affine map of the pixels."""
    if georeference is None:
        return PIXELS
    with extra_needed(EXTRA, "polygons"):
        import rasterio
    # Only the tags are given to GDAL, as a TIFF of one pixel: it might follow what else a file contains.
    with (
        rasterio.MemoryFile(georeference_file(georeference)) as memory,
        memory.open(driver="GTiff") as dataset,
    ):
        affine, crs = dataset.transform, dataset.crs
    if affine.is_identity:
        return PIXELS
    matrix = np.array([[affine.a, affine.b], [affine.d, affine.e]])
    offset = np.array([affine.c, affine.f])
    authority = crs.to_authority() if crs else None
    if authority is None:
        described = f"of the image's georeference: {crs.to_wkt() if crs else 'its system is not named'}"
        return Coordinates(described, lambda corners: corners @ matrix.T + offset)
    name = _CRS84 if authority == _WGS84 else f"urn:ogc:def:crs:{authority[0]}::{authority[1]}"
    return Coordinates(
        f"of the image's georeference: {':'.join(authority)}",
        lambda corners: corners @ matrix.T + offset,
        {"type": "name", "properties": {"name": name}},
    )


def feature_collection(
    polygons: Iterator[Polygon], class_names: Sequence[str], coordinates: Coordinates, min_area: int
) -> dict[str, Any]:
    """Formats polygons as a GeoJSON FeatureCollection (RFC 7946), with further members on the coordinates.

    Args:
        polygons: of one image.
        class_names: by training id.
        coordinates: of the result.
        min_area: with which the polygons were found, for the file.
    """
    found: dict[str, Any] = {"type": "FeatureCollection", "coordinate_system": coordinates.description}
    if coordinates.crs is not None:
        found["crs"] = coordinates.crs
    return {**found, "min_area": min_area, "features": [_feature(one, class_names, coordinates) for one in polygons]}


def _feature(polygon: Polygon, class_names: Sequence[str], coordinates: Coordinates) -> dict[str, Any]:
    rings = [coordinates.place(ring) for ring in polygon.rings]
    # RFC 7946, section 3.1.6: outer rings run counterclockwise, holes clockwise.
    turned = [ring[::-1] if (signed_area(ring) > 0) == (index > 0) else ring for index, ring in enumerate(rings)]
    return {
        "type": "Feature",
        "properties": {
            "class": class_names[polygon.train_id],
            "class_id": polygon.train_id,
            "pixels": polygon.pixels,
        },
        "geometry": {"type": "Polygon", "coordinates": [ring.tolist() for ring in turned]},
    }


def write_geojson(path: str, collection: Mapping[str, Any]) -> None:
    """Writes a GeoJSON file.

    Raises:
        ResultsFolderError: it cannot be written.
    """
    with result_text(path) as file:
        file.write(json.dumps(collection, ensure_ascii=False))
