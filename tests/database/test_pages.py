"""TIFFs of several pages are rejected; smaller copies and masks are no pages."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling

from database.channels import Channels
from database.errors import ImageError
from database.images import read_image
from tests.database import label_files

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 16), dtype=np.uint8)
BANDS = RNG.integers(0, 256, (5, 32, 32), dtype=np.uint8)
CHANNELS = Channels(5)


@pytest.mark.parametrize("more_pages", [(1,), (4,), (5, 1)])
def test_copies_and_masks_are_no_pages(more_pages):
    read = read_image("x", label_files.tiff(GREY, 8, more_pages=more_pages))
    np.testing.assert_array_equal(read, np.repeat(GREY[..., np.newaxis], 3, axis=2))


@pytest.mark.parametrize("more_pages", [(0,), (1, 0), (2,)])
def test_pages_of_a_tiff_are_rejected(more_pages):
    with pytest.raises(ImageError, match="x: the TIFF has 2 frames or pages"):
        read_image("x", label_files.tiff(GREY, 8, more_pages=more_pages))


def write_bands(path, **options) -> None:
    profile = {"driver": "GTiff", "width": 32, "height": 32, "count": 5, "dtype": "uint8", "interleave": "pixel"}
    with rasterio.open(path, "w", **profile, **options) as file:
        file.write(BANDS)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_pages_of_further_channels(tmp_path):
    path = tmp_path / "x.tif"
    write_bands(path)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4], Resampling.nearest)
    np.testing.assert_array_equal(read_image(str(path), channels=CHANNELS), np.moveaxis(BANDS, 0, 2))
    write_bands(path, APPEND_SUBDATASET="YES")
    with pytest.raises(ImageError, match="x.tif: the TIFF has 2 frames or pages"):
        read_image(str(path), channels=CHANNELS)


def test_damage_behind_the_first_page_does_not_make_it_unreadable():
    content = bytearray(label_files.tiff(GREY, 8, more_pages=(0,)))
    place = content.index(b"\xfe\x00", content.index(b"\xfe\x00") + 2)  # the tags of the second page begin with 254
    del content[place:]
    read = read_image("x", bytes(content))
    np.testing.assert_array_equal(read, np.repeat(GREY[..., np.newaxis], 3, axis=2))
