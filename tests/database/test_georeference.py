"""The georeference of a GeoTIFF is kept, or dropped with a warning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from database.errors import ImageError
from database.georeference import georeference_file, read_georeference, write_geotiff
from tests.database.geotiff_files import DOUBLES, KEYS, MATRIX, SCALE, TAGS, geotiff, tags_in


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_tag_is_kept_in_every_bit(order, dtype, pixels, tmp_path):
    source = geotiff(tmp_path / "tile.TIF", pixels, TAGS, order)
    with Image.open(source) as image:  # so that the file is a valid one
        np.testing.assert_array_equal(np.array(image), pixels)
    ids = np.arange(35).reshape(5, 7).astype(dtype) * (1 if dtype == np.uint8 else 900)
    write_geotiff(str(tmp_path / "ids.tif"), ids, read_georeference(source))
    found = tags_in(tmp_path / "ids.tif")
    assert {tag: found[tag] for tag in TAGS} == TAGS
    assert MATRIX not in found
    with Image.open(tmp_path / "ids.tif") as image:
        np.testing.assert_array_equal(np.array(image), ids)


def test_a_matrix_in_place_of_scale_and_tie_point(pixels, tmp_path):
    tags = {MATRIX: ("d", (0.5, 0.1, 0, 5e5, 0.1, -0.5, 0, 5.4e6, 0, 0, 0, 0, 0, 0, 0, 1)), KEYS: TAGS[KEYS]}
    write_geotiff(
        str(tmp_path / "ids.tif"),
        np.zeros((5, 7), np.uint8),
        read_georeference(geotiff(tmp_path / "a.tif", pixels, tags)),
    )
    found = tags_in(tmp_path / "ids.tif")
    assert {tag: found[tag] for tag in tags} == tags


@pytest.mark.parametrize(
    ("tags", "warned"),
    [
        ({}, ""),
        ({SCALE: TAGS[SCALE], KEYS: TAGS[KEYS]}, ""),  # without a place
        ({**TAGS, 274: ("H", (6,))}, "orientation 6"),
        ({**TAGS, MATRIX: ("d", (1.0,) * 15)}, "tag 34264"),
        ({**TAGS, SCALE: ("d", (float("nan"), 1.0, 0.0))}, "tag 33550"),
        ({**TAGS, KEYS: ("I", (1, 1, 0, 0))}, "tag 34735"),
        ({**TAGS, DOUBLES: ("s", b"text\0")}, "tag 34736"),
    ],
)
def test_no_georeference(tags, warned, pixels, tmp_path, caplog):
    assert read_georeference(geotiff(tmp_path / "a.tif", pixels, tags)) is None
    assert len(caplog.messages) == bool(warned)
    assert warned in caplog.text


def test_other_files(pixels, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "b.tif")
    assert read_georeference(str(tmp_path / "b.tif")) is None
    assert read_georeference(str(tmp_path / "missing.png")) is None  # not even opened
    with pytest.raises(ImageError, match="missing.tif"):
        read_georeference(str(tmp_path / "missing.tif"))


def test_damaged_files_are_named_or_have_none(pixels, tmp_path):
    content = Path(geotiff(tmp_path / "a.tif", pixels, TAGS)).read_bytes()
    random = np.random.default_rng(0)
    messages, kept = [], 0
    for _ in range(300):
        damaged = bytearray(content[: random.integers(8, len(content) + 1)])
        for place in random.integers(0, min(len(damaged), 260), 3):
            damaged[place] = random.integers(256)
        (tmp_path / "b.tif").write_bytes(damaged)
        try:
            found = read_georeference(str(tmp_path / "b.tif"))
            if found is not None:
                write_geotiff(str(tmp_path / "c.tif"), np.zeros(found.size, np.uint8), found)
                kept += 1
        except ImageError as error:
            messages.append(str(error))
    assert kept
    assert messages
    assert all("b.tif" in message for message in messages)


def test_ids_of_another_size_and_a_folder_that_cannot_be_written(pixels, tmp_path):
    georeference = read_georeference(geotiff(tmp_path / "a.tif", pixels, TAGS))
    with pytest.raises(ImageError, match=r"c.tif: cannot write uint8 \[7, 5\], expected .* \[5, 7\]"):
        write_geotiff(str(tmp_path / "c.tif"), np.zeros((7, 5), np.uint8), georeference)
    with pytest.raises(ImageError, match="cannot write float32"):
        write_geotiff(str(tmp_path / "c.tif"), np.zeros((5, 7), np.float32), georeference)
    with pytest.raises(ImageError, match=r"a.tif/c.tif: the image cannot be written"):
        write_geotiff(str(tmp_path / "a.tif/c.tif"), np.zeros((5, 7), np.uint8), georeference)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_a_file_of_one_pixel_has_the_same_tags(tmp_path):
    georeference = read_georeference(geotiff(tmp_path / "tile.tif", np.zeros((3, 4, 3), np.uint8), TAGS))
    path = tmp_path / "pixel.tif"
    path.write_bytes(georeference_file(georeference))
    found = tags_in(path)
    assert {tag: found[tag] for tag in TAGS} == TAGS
    with Image.open(path) as image:
        assert image.size == (1, 1)
