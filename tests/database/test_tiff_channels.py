"""Tests that no channel of a TIFF is dropped unnoticed when images and labels are read without --input_channels."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.enums import ColorInterp

from database import images
from database.channel_reading import read_channels
from database.errors import ImageError
from database.input_range import InputRange
from tests.database.multiband_files import write_tiff
from tools.prediction.image_values import image_pixels

UNSPECIFIED, ASSOCIATED, UNASSOCIATED = 0, 1, 2
ALPHA_WARNING = "fourth channel is dropped as alpha"


def numbers(channels: int, dtype: str) -> np.ndarray:
    return np.random.default_rng(channels).integers(1, 200, (9, 11, channels)).astype(dtype)


def with_extra(count: int, kind: int, *, rgb: bool = False) -> dict:
    return {262: ("H", [2 if rgb else 1]), 338: ("H", [kind] * count)}


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize(
    ("channels", "dtype"),
    [(3, "<u2"), (4, "<u2"), (4, ">u2"), (5, "u1"), (2, "u1"), (4, "<f4"), (3, "<i2"), (6, "<u4")],
)
@pytest.mark.parametrize("read", [images.read_image, images.read_label])
def test_bands_are_rejected_with_their_number_and_type(tmp_path, channels, dtype, planar, read):
    changes = with_extra(channels - 1, UNSPECIFIED)
    path = write_tiff(tmp_path / "tile.tif", numbers(channels, dtype), planar=planar, changes=changes)
    name = np.dtype(dtype).name
    with pytest.raises(ImageError, match=rf"tile.tif: .* {channels} channels \({name}\).*--input_channels {channels}"):
        read(path)
    with pytest.raises(ImageError, match=rf"{channels} channels \({name}\)"):
        read("bytes.tif", Path(path).read_bytes())


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize(("channels", "dtype"), [(4, "u1"), (5, "u1"), (4, "<u2")])
def test_unspecified_channels_beside_colours_are_rejected(tmp_path, channels, dtype, planar):
    changes = with_extra(channels - 3, UNSPECIFIED, rgb=True)
    path = write_tiff(tmp_path / "tile.tif", numbers(channels, dtype), planar=planar, changes=changes)
    with pytest.raises(ImageError, match=rf"{channels} channels .*--input_channels {channels}"):
        images.read_image(path)
    with pytest.raises(ImageError, match=rf"{channels} channels"):
        images.read_label(path)


@pytest.mark.parametrize("dtype", ["<f8", "<i8", "<f2", ">f8"])
def test_one_channel_of_a_type_that_pillow_does_not_open_is_named(tmp_path, dtype):
    path = write_tiff(tmp_path / "tile.tif", numbers(1, dtype))
    for read in (images.read_image, images.image_size, images.file_format):
        with pytest.raises(ImageError, match=rf"1 channel \({np.dtype(dtype).name}\).*--input_channels 1"):
            read(path)
    with pytest.raises(ImageError, match="cannot identify image file"):
        images.read_label(path)


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize(("count", "dtype"), [(4, "uint16"), (3, "float32"), (7, "uint8")])
def test_geotiffs_of_gdal_are_named(tmp_path, interleave, count, dtype):
    path = str(tmp_path / "tile.tif")
    profile = {"driver": "GTiff", "width": 16, "height": 16, "count": count, "dtype": dtype}
    with rasterio.open(path, "w", interleave=interleave, photometric="minisblack", **profile) as file:
        file.write(np.ones((count, 16, 16), dtype))
    with pytest.raises(ImageError, match=rf"{count} channels \({dtype}\).*--input_channels {count}"):
        images.read_image(path)
    assert images.read_image(path, channels=images.Channels(count)).shape == (16, 16, count)


def test_damaged_tiffs_keep_their_message(tmp_path):
    (tmp_path / "tile.tif").write_bytes(b"II*\0" + bytes(40))
    with pytest.raises(ImageError, match="cannot identify image file"):
        images.read_image(str(tmp_path / "tile.tif"))


@pytest.mark.parametrize("dtype", ["u1", "<u2"])
@pytest.mark.parametrize("planar", [False, True])
def test_rgb_is_read_as_before(tmp_path, dtype, planar):
    image = numbers(3, dtype) * (257 if dtype == "<u2" else 1)
    path = write_tiff(tmp_path / "tile.tif", image.astype(dtype), planar=planar, changes={262: ("H", [2])})
    np.testing.assert_array_equal(images.read_image(path), numbers(3, "u1"))


def test_grey_of_16_bits_is_read_as_before(tmp_path):
    path = write_tiff(tmp_path / "tile.tif", numbers(1, "<u2") * 257)
    np.testing.assert_array_equal(images.read_image(path), np.repeat(numbers(1, "u1"), 3, axis=2))


@pytest.mark.parametrize("dtype", ["u1", "<u2"])
@pytest.mark.parametrize(("alpha", "is_logged"), [(255, False), (90, True)])
def test_alpha_that_may_be_a_band_is_logged_once(tmp_path, caplog, dtype, alpha, is_logged):
    factor = 257 if dtype == "<u2" else 1
    image = np.concatenate([numbers(3, "u1"), np.full((9, 11, 1), alpha)], axis=2)
    path = write_tiff(
        tmp_path / "tile.tif", (image * factor).astype(dtype), changes=with_extra(1, UNASSOCIATED, rgb=True)
    )
    input_range = InputRange()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            np.testing.assert_array_equal(images.read_image(path, input_range=input_range), image[..., :3])
        images.read_first_rows(path, rows_of=lambda height: 2, input_range=input_range)
    assert caplog.text.count(ALPHA_WARNING) == int(is_logged)
    assert not is_logged or "--input_channels 4" in caplog.text


def test_a_band_that_gdal_calls_alpha_is_logged_for_its_first_rows(tmp_path, caplog):
    path = str(tmp_path / "tile.tif")
    with rasterio.open(path, "w", driver="GTiff", width=16, height=16, count=4, dtype="uint8") as file:
        file.write(np.full((4, 16, 16), 7, np.uint8))
        assert file.colorinterp[3] == ColorInterp.alpha
    images.read_first_rows(path, rows_of=lambda height: 2)
    assert ALPHA_WARNING in caplog.text


def test_transparent_png_is_not_logged(tmp_path, caplog):
    path = tmp_path / "tile.png"
    Image.fromarray(numbers(4, "u1")).save(path)
    images.read_image(str(path))
    assert not caplog.text


def test_pil_images_are_rejected_too(tmp_path):
    path = write_tiff(tmp_path / "tile.tif", numbers(4, "<u2"), planar=True, changes=with_extra(3, UNSPECIFIED))
    with Image.open(path) as image, pytest.raises(ImageError, match=r"image: .*4 channels \(uint16\)"):
        image_pixels(image, "image", InputRange())


def test_channels_that_only_pillow_decompresses_are_rejected(tmp_path):
    """Pillow decodes the first of two channels in JPEG, which `multiband_tiff` leaves to it."""
    path = str(tmp_path / "tile.tif")
    profile = {"driver": "GTiff", "width": 16, "height": 16, "count": 2, "dtype": "uint8", "compress": "jpeg"}
    with rasterio.open(path, "w", interleave="band", **profile) as file:
        file.write(np.full((2, 16, 16), 7, np.uint8))
    for count in (1, 2):
        with pytest.raises(ImageError, match=r"a TIFF of 2 channels \(uint8\) is not read"):
            read_channels(path, count)
    with pytest.raises(ImageError, match=r"2 channels \(uint8\)"):
        images.read_image(path)


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("dtype", [">f4", "<f4", ">i2", "<i2", ">i4", ">u2"])
def test_grey_is_read_in_the_byte_order_of_the_file(tmp_path, dtype, compression):
    """Pillow takes what libtiff decompresses for the order of the file, although it is the machine's."""
    path = write_tiff(tmp_path / "tile.tif", numbers(1, dtype), compression=compression)
    expected = np.repeat(numbers(1, "u1"), 3, axis=2)
    if dtype == ">u2":  # white is 65535
        expected = np.zeros_like(expected)
    np.testing.assert_array_equal(images.read_image(path), expected)
