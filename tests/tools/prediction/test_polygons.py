"""Outlines of regions: exact, with holes, in pixels or in the coordinates of a georeference."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from database.georeference import read_georeference
from tests.database.geotiff_files import KEYS, SCALE, TAGS, TIES, geotiff
from tools.errors import MissingPackageError
from tools.prediction.polygons import (
    PIXELS,
    coordinates_of,
    feature_collection,
    polygons_of,
    require_polygons,
    signed_area,
    write_geojson,
)

pytest.importorskip("rasterio")
shapely = pytest.importorskip("shapely")

NAMES = ("ground", "tree", "car", "sky")
# A ring of class 1 around a hole with a speck of class 2; outside, class 0.
RING = np.array(
    [
        [0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 1, 0],
        [0, 1, 0, 2, 1, 0],
        [0, 1, 1, 1, 1, 0],
        [0, 0, 0, 0, 0, 0],
    ],
    np.uint8,
)


def random_labels(seed: int, size=(37, 53), dtype=np.uint8) -> np.ndarray:
    """Patches of four classes with specks and holes."""
    rng = np.random.default_rng(seed)
    patches = np.kron(rng.integers(0, 4, (5, 7)), np.ones((8, 8), int))[: size[0], : size[1]]
    specks = rng.random(size) < 0.15
    return np.where(specks, rng.integers(0, 4, size), patches).astype(dtype)


def collection_of(labels: np.ndarray, min_area: int = 0, coordinates=PIXELS) -> dict:
    found = feature_collection(polygons_of(labels, min_area), NAMES, coordinates, min_area)
    return json.loads(json.dumps(found))


def regions_by_scipy(labels: np.ndarray) -> list[tuple[int, int]]:
    """Class and pixels of each region, sorted."""
    found = []
    for train_id in np.unique(labels):
        components, count = ndimage.label(labels == train_id)
        found += [(int(train_id), int((components == number).sum())) for number in range(1, count + 1)]
    return sorted(found)


def filled(collection: dict, size: tuple[int, int]) -> np.ndarray:
    """Draws polygons by asking shapely for the centre of each pixel; 255 where there is none."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    drawn = np.full(size, 255, np.uint8)
    for feature in collection["features"]:
        polygon = shapely.geometry.shape(feature["geometry"])
        assert polygon.is_valid, shapely.validation.explain_validity(polygon)
        inside = shapely.contains_xy(polygon, columns, rows)
        assert not (inside & (drawn != 255)).any()
        assert inside.sum() == feature["properties"]["pixels"] == polygon.area
        drawn[inside] = feature["properties"]["class_id"]
    return drawn


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("seed", range(4))
def test_polygons_cover_exactly_the_pixels_of_their_class(seed, dtype):
    labels = random_labels(seed, dtype=dtype)
    collection = collection_of(labels)
    np.testing.assert_array_equal(filled(collection, labels.shape), labels)
    found = [(one["properties"]["class_id"], one["properties"]["pixels"]) for one in collection["features"]]
    assert sorted(found) == regions_by_scipy(labels)
    assert any(len(one["geometry"]["coordinates"]) > 1 for one in collection["features"])


def test_specks_are_left_out_and_their_holes_stay():
    features = collection_of(RING, min_area=2)["features"]
    assert {feature["properties"]["class"]: feature["properties"]["pixels"] for feature in features} == {
        "ground": 18, "tree": 10
    }  # fmt: skip
    [tree] = [one for one in features if one["properties"]["class"] == "tree"]
    outer, hole = (np.array(ring) for ring in tree["geometry"]["coordinates"])
    assert shapely.geometry.Polygon(hole).bounds == (2, 2, 4, 3)
    assert shapely.geometry.Polygon(outer).bounds == (1, 1, 5, 4)
    assert len(collection_of(RING)["features"]) == 4  # both pixels in the hole


@pytest.mark.parametrize("seed", range(2))
def test_regions_smaller_than_the_smallest_are_left_out(seed):
    labels = random_labels(seed)
    found = [one["properties"]["pixels"] for one in collection_of(labels, min_area=5)["features"]]
    assert sorted(found) == sorted(count for _, count in regions_by_scipy(labels) if count >= 5)


def test_outer_rings_run_counterclockwise_and_holes_clockwise():
    for feature in collection_of(random_labels(0))["features"]:
        outer, *holes = (np.array(ring) for ring in feature["geometry"]["coordinates"])
        assert shapely.geometry.LinearRing(outer).is_ccw
        assert not any(shapely.geometry.LinearRing(hole).is_ccw for hole in holes)


def test_area_of_a_ring():
    square = np.array([[0, 0], [2, 0], [2, 3], [0, 3], [0, 0]], np.float64)
    assert (signed_area(square), signed_area(square[::-1])) == (6, -6)


def test_coordinates_are_those_of_the_georeference(tmp_path):
    """As rasterio reads them from the file itself."""
    import rasterio

    path = geotiff(tmp_path / "tile.tif", np.dstack([RING] * 3), TAGS)
    coordinates = coordinates_of(read_georeference(path))
    placed, in_pixels = collection_of(RING, coordinates=coordinates), collection_of(RING)
    with rasterio.open(path) as dataset:
        transform, crs = dataset.transform, dataset.crs
    authority, code = crs.to_authority()
    assert f"{authority}:{code}" in placed["coordinate_system"]
    assert placed["crs"]["properties"]["name"] == f"urn:ogc:def:crs:{authority}::{code}"
    for feature, plain in zip(placed["features"], in_pixels["features"], strict=True):
        assert feature["properties"] == plain["properties"]
        ring = np.array(feature["geometry"]["coordinates"][0])
        expected = {tuple(np.round(transform @ tuple(corner), 6)) for corner in plain["geometry"]["coordinates"][0]}
        assert {tuple(np.round(corner, 6)) for corner in ring} == expected
        assert shapely.geometry.LinearRing(ring).is_ccw
    assert "pixels" in in_pixels["coordinate_system"]
    assert "crs" not in in_pixels


def test_longitude_and_latitude_are_in_the_order_of_geojson(tmp_path):
    """EPSG:4326 has the latitude first; GeoJSON's name for longitude first is CRS84."""
    tags = {
        SCALE: ("d", (0.5, 0.5, 0.0)),
        TIES: ("d", (0.0, 0.0, 0.0, 10.0, 50.0, 0.0)),
        KEYS: ("H", (1, 1, 0, 3, 1024, 0, 1, 2, 1025, 0, 1, 1, 2048, 0, 1, 4326)),
    }
    coordinates = coordinates_of(read_georeference(geotiff(tmp_path / "a.tif", np.dstack([RING] * 3), tags)))
    assert coordinates.crs["properties"]["name"] == "urn:ogc:def:crs:OGC:1.3:CRS84"
    np.testing.assert_allclose(coordinates.place(np.array([[0.0, 0.0], [2.0, 4.0]])), [[10, 50], [11, 48]])


def test_a_system_without_a_name_is_described(tmp_path):
    tags = {SCALE: ("d", (2.0, 2.0, 0.0)), TIES: ("d", (0.0, 0.0, 0.0, 100.0, 200.0, 0.0))}
    coordinates = coordinates_of(read_georeference(geotiff(tmp_path / "a.tif", np.dstack([RING] * 3), tags)))
    assert coordinates.crs is None
    assert "georeference" in coordinates.description
    np.testing.assert_allclose(coordinates.place(np.array([[1.0, 1.0]])), [[102, 198]])


def test_without_an_affine_map_coordinates_are_pixels(tmp_path):
    """Several tie points are ground control points, between which no affine map is defined."""
    points = [(0, 0, 0, 10, 50, 0), (5, 0, 0, 11, 50, 0), (0, 4, 0, 10, 49, 0)]
    tags = {TIES: ("d", tuple(float(number) for point in points for number in point))}
    assert coordinates_of(read_georeference(geotiff(tmp_path / "a.tif", np.dstack([RING] * 3), tags))) is PIXELS
    assert coordinates_of(None) is PIXELS


def test_the_file_can_be_read_back(tmp_path):
    collection = collection_of(RING)
    write_geojson(str(tmp_path / "deep" / "a.geojson"), collection)
    assert json.loads(Path(tmp_path / "deep" / "a.geojson").read_text()) == collection
    assert collection["min_area"] == 0


@pytest.mark.parametrize("missing", ["rasterio", "pycocotools"])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, missing):
    for name in [name for name in sys.modules if name == missing or name.startswith(f"{missing}.")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingPackageError, match=rf"^--polygons coco needs the package {missing}.*\[polygons\]"):
        require_polygons("--polygons coco")
