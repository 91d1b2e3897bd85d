"""All channels of images, as stored: TIFFs of many kinds, PNGs, and what is rejected."""

from __future__ import annotations

import contextlib
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from database import images
from database.channel_reading import channel_image_size, number_kind, pixels_without_data, read_channels
from database.errors import ImageError
from database.input_range import InputRange
from tests.database.multiband_files import write_tiff

SHAPE = (11, 37)


def numbers(dtype: str, channels: int, seed: int = 0, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Random numbers that use all bytes of their type."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return rng.normal(0, 300, (*shape, channels)).astype(kind)
    info = np.iinfo(kind)
    return rng.integers(info.min, info.max, (*shape, channels), endpoint=True).astype(kind)


def refusal(path: str, count: int, **arguments) -> str:
    with pytest.raises(ImageError) as caught:
        read_channels(path, count, **arguments)
    message = str(caught.value)
    assert message.startswith(path)
    assert "\n" not in message
    return message


LAYOUTS = {
    "strips": {}, "one_strip": {"rows": 11}, "planar": {"planar": True}, "uncompressed": {"compression": 1},
    "tiles": {"tile": 16}, "planar_tiles": {"tile": 16, "planar": True}, "big": {"big": True, "tile": 16},
    "uncompressed_tiles": {"tile": 16, "compression": 1}, "differences": {"predictor": 2},
    "differences_in_tiles": {"predictor": 2, "tile": 16}, "planar_differences": {"predictor": 2, "planar": True},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "<i2", "<f4", ">f4"])
def test_numbers_of_a_tiff_are_read_as_stored(tmp_path, dtype, layout):
    image = numbers(dtype, 5)
    big = layout.get("big", False) and not dtype.startswith(">")
    path = write_tiff(tmp_path / "a.tif", image, **{**layout, "big": big})
    read, height = read_channels(path, 5, input_range=None if dtype == "u1" else InputRange(255))
    assert (read.dtype, height) == (np.float32, SHAPE[0])
    np.testing.assert_array_equal(read, image.astype(np.float32))
    assert channel_image_size(path) == SHAPE


@pytest.mark.parametrize("layout", [{}, {"tile": 16}, {"planar": True}, {"tile": 16, "planar": True}])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8"])
def test_floating_point_predictor(tmp_path, dtype, layout):
    image = numbers(dtype, 4)
    path = write_tiff(tmp_path / "a.tif", image, predictor=3, **layout)
    np.testing.assert_array_equal(read_channels(path, 4)[0], image.astype(np.float32))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "raw"])
@pytest.mark.parametrize(
    ("mode", "dtype", "predictor"),
    [("RGBA", "u1", 1), ("RGB", "u1", 2), ("I;16", "<u2", 2), ("F", "<f4", 3), ("F", "<f4", 1), ("L", "u1", 1)],
)
def test_tiffs_of_libtiff_are_read_as_stored(tmp_path, compression, mode, dtype, predictor):
    channels = {"RGBA": 4, "RGB": 3}.get(mode, 1)
    image = numbers(dtype, channels)
    path = str(tmp_path / "a.tif")
    info = {317: predictor} if compression not in ("packbits", "raw") else {}
    Image.fromarray(image if channels > 1 else image[..., 0]).save(path, compression=compression, tiffinfo=info)
    read, _ = read_channels(path, channels, input_range=None if dtype == "u1" else InputRange(255))
    np.testing.assert_array_equal(read, image.astype(np.float32))


def test_photographs_in_tiffs_are_read_by_pillow(tmp_path):
    path = str(tmp_path / "a.tif")
    Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(path, compression="jpeg")
    read, _ = read_channels(path, 3)
    np.testing.assert_allclose(read, 90, atol=2)
    assert channel_image_size(path) == (16, 16)


@pytest.mark.parametrize(
    ("dtype", "white", "factor"),
    [("<u2", None, 255 / 65535), ("<u2", 4095, 255 / 4095), ("<f4", 1, 255), ("<f4", None, 1), ("<i2", None, 1)],
)
def test_white_becomes_255_and_nothing_is_clipped(tmp_path, dtype, white, factor):
    image = numbers(dtype, 2)
    read, _ = read_channels(write_tiff(tmp_path / "a.tif", image), 2, input_range=InputRange(white))
    np.testing.assert_allclose(read, image.astype(np.float64) * factor, rtol=1e-6)


def png(tmp_path, image: np.ndarray) -> str:
    path = str(tmp_path / "a.png")
    Image.fromarray(image).save(path)
    return path


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_8_bits(tmp_path, channels):
    image = numbers("u1", channels)
    path = png(tmp_path, image if channels > 1 else image[..., 0])
    np.testing.assert_array_equal(read_channels(path, channels)[0], image)
    np.testing.assert_array_equal(read_channels(path, channels, rows_of=lambda height: 4)[0], image[:4])


def test_grey_png_of_16_bits_keeps_all_bits(tmp_path):
    image = numbers("u2", 1)
    path = png(tmp_path, image[..., 0])
    np.testing.assert_allclose(read_channels(path, 1)[0], image / 257.0, rtol=1e-6)


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (6, 4)])
def test_colour_png_of_16_bits_keeps_all_bits(tmp_path, kind, channels):
    image = numbers(">u2", channels)
    rows = b"".join(b"\0" + row.tobytes() for row in image)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", SHAPE[1], SHAPE[0], 16, kind, 0, 0, 0)
    path = tmp_path / "a.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    read, _ = read_channels(str(path), channels)
    np.testing.assert_allclose(read, image / 257.0, rtol=1e-6)


def test_bytes_and_first_rows(tmp_path):
    image = numbers("<u2", 4)
    path = write_tiff(tmp_path / "a.tif", image)
    content = images.read_bytes(path)
    whole = read_channels(path, 4)[0]
    np.testing.assert_array_equal(read_channels("gone", 4, content)[0], whole)
    rows, height = read_channels("gone", 4, content, lambda height: height - 4)
    assert height == SHAPE[0]
    np.testing.assert_array_equal(rows, whole[:-4])
    assert channel_image_size("gone", content) == SHAPE


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_another_number_of_channels(tmp_path, suffix):
    image = numbers("u1", 4)
    path = write_tiff(tmp_path / "a.tif", image) if suffix == "tif" else png(tmp_path, image)
    message = refusal(path, 5)
    assert "4 channels" in message
    assert "expected 5 by --input_channels" in message


def test_numbers_that_are_not_finite(tmp_path):
    image = numbers("<f4", 3)
    image[2, 5, 1] = np.nan
    image[3, 0, 2] = np.inf
    message = refusal(write_tiff(tmp_path / "a.tif", image), 3)
    assert "2 of 1221 numbers are not finite (the first in row 2, column 5, channel 1)" in message
    image = np.full((2, 2, 3), 1e300)
    assert "12 of 12 numbers are not finite" in refusal(write_tiff(tmp_path / "b.tif", image), 3)


def test_pixels_without_data(tmp_path):
    image = numbers("<f4", 3)
    image[1, 1] = -9999
    tag = {42113: ("s", b"-9999\0")}
    assert "3 of 1221 numbers are -9999" in refusal(write_tiff(tmp_path / "a.tif", image, changes=tag), 3)
    image[1, 1] = 0
    for number in (b"0\0", b"-9999\0", b"nan\0", b"nothing\0"):
        read_channels(write_tiff(tmp_path / "a.tif", image, changes={42113: ("s", number)}), 3)
    whole = np.where(image < 100, 7, 65535).astype("<u2")
    assert read_channels(write_tiff(tmp_path / "a.tif", whole, changes=tag), 3)[0].max() == 255


@pytest.mark.parametrize(
    ("dtype", "number", "white", "is_read"),
    [
        ("<f4", 9999, None, False),
        ("<i2", 32767, None, False),
        ("<u2", 32767, None, False),
        ("<u2", 255, None, False),
        ("<u2", 65535, None, True),
        ("<u2", 65535, 10000, False),
        ("<u2", 10000, 10000, True),
        ("|u1", 255, None, True),
        ("|u1", 254, None, False),
        ("<f4", 1, 1, True),
        ("<i2", 0, None, True),
    ],
)
def test_pixels_without_data_are_black_or_white(tmp_path, dtype, number, white, is_read):
    """A number between them would be read as brightness."""
    image = np.ones((4, 5, 3), dtype)
    image[1, 1] = number
    path = write_tiff(tmp_path / "a.tif", image, changes={42113: ("s", b"%d\0" % number)})
    if is_read:
        read, _ = read_channels(path, 3, input_range=InputRange(white))
        np.testing.assert_allclose(read[1, 1], 255 if number else 0, rtol=1e-6)
    else:
        with pytest.raises(ImageError, match=f"3 of 60 numbers are {number}"):
            read_channels(path, 3, input_range=InputRange(white))


def test_pixels_without_data_are_found(tmp_path):
    """A pixel has data if one of its channels has."""
    image = np.ones((4, 5, 3), "<u2")
    image[1, 2] = 0
    image[3, 0, 1:] = 0
    assert pixels_without_data(write_tiff(tmp_path / "a.tif", image)) is None
    number, mask = pixels_without_data(write_tiff(tmp_path / "a.tif", image, changes={42113: ("s", b"0\0")}))
    assert (number, np.argwhere(mask).tolist()) == (0, [[1, 2]])


def test_types_scaled_by_different_defaults_are_logged_once(tmp_path, caplog):
    image = numbers("<u2", 3)
    wide, signed = write_tiff(tmp_path / "u.tif", image), write_tiff(tmp_path / "i.tif", image.astype("<i2"))
    eight = write_tiff(tmp_path / "b.tif", image.astype("|u1"))
    for white, logged in ((None, 1), (4095, 0)):
        caplog.clear()
        input_range = InputRange(white)
        for path in (eight, wide, signed, wide, signed):
            read_channels(path, 3, input_range=input_range)
        lines = [text for text in caplog.messages if "scaled apart" in text]
        assert len(lines) == logged
        if lines:
            assert all(part in lines[0] for part in (signed, "int16", "255", wide, "uint16", "65535", "--input_range"))


@pytest.mark.parametrize(("largest", "logged"), [(900, 0), (1100, 1)])
def test_numbers_far_above_the_default_are_logged_once(tmp_path, caplog, largest, logged):
    image, input_range = np.full((2, 2, 3), largest, "<i2"), InputRange()
    for name in ("a.tif", "b.tif"):
        read_channels(write_tiff(tmp_path / name, image), 3, input_range=input_range)
    assert len([text for text in caplog.messages if f"int16 up to {largest}" in text]) == logged


@pytest.mark.parametrize(("dtype", "white"), [("<u2", 65535), (">u2", 65535), ("<i2", 255), ("|u1", 255), ("<f4", 255)])
def test_kind_of_the_numbers(tmp_path, dtype, white):
    path = write_tiff(tmp_path / "a.tif", np.ones((2, 2, 3), dtype))
    assert number_kind(path) == (np.dtype(dtype).name, white)


HUGE = 1 << 30
DAMAGES = {
    "no_pixels": ({256: ("I", [0])}, "0 pixels"),
    "too_large": ({256: ("I", [HUGE]), 257: ("I", [HUGE])}, "--max_pixels"),
    "turned": ({274: ("H", [6])}, "turned by orientation 6"),
    "lzma": ({259: ("H", [34925])}, "8 bits, compression 34925"),
    "lerc": ({259: ("H", [34887])}, "8 bits, compression 34887"),
    "mixed_bits": ({258: ("H", [8, 8, 16])}, "16/8 bits"),
    "odd_bits": ({258: ("H", [12, 12, 12])}, "12 bits"),
    "complex": ({339: ("H", [5, 5, 5])}, "is not read"),
    "few_strips": ({257: ("I", [30])}, "4 strips or tiles with 4 lengths, expected 10"),
    "few_lengths": ({279: ("I", [9, 9])}, "4 strips or tiles with 2 lengths, expected 4"),
    "long_strip": ({279: ("I", [HUGE] * 4)}, "strips or tiles of 1073741824 to 1073741824 bytes, expected 1 to"),
    "sparse": ({279: ("I", [0] * 4), 273: ("I", [0] * 4)}, "SPARSE_OK"),
    "beyond_the_end": ({273: ("I", [HUGE] * 4)}, "ends within its pixels"),
    "no_offsets": ({273: None}, "tag 273"),
    "text_as_width": ({256: ("s", b"wide\0")}, "tag 256"),
    "huge_tile": ({322: ("I", [HUGE]), 323: ("I", [HUGE]), 324: ("I", [8]), 325: ("I", [9])}, "expected up to 2048"),
    "garbage": ({273: ("I", [9] * 4)}, "not an image that can be read"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "expected"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_tiffs(tmp_path, changes, expected):
    path = write_tiff(tmp_path / "a.tif", numbers("u1", 3), changes=changes)
    assert expected in refusal(path, 3)


def test_pixels_are_limited_before_they_are_decoded(tmp_path):
    path = write_tiff(tmp_path / "a.tif", numbers("u1", 9))
    images.set_max_pixels(SHAPE[0] * SHAPE[1])
    try:
        read_channels(path, 9)
        images.set_max_pixels(SHAPE[0] * SHAPE[1] - 1)
        assert "--max_pixels is 406" in refusal(path, 9)
    finally:
        images.set_max_pixels(images.MAX_PIXELS)


@pytest.mark.parametrize("length", [0, 3, 8, 100, 700])
def test_truncated_tiffs(tmp_path, length):
    path = write_tiff(tmp_path / "a.tif", numbers("<u2", 4))
    content = images.read_bytes(path)
    (tmp_path / "a.tif").write_bytes(content[:length])
    refusal(path, 4)


def test_random_damage_is_an_image_error(tmp_path):
    rng = np.random.default_rng(0)
    content = bytearray(images.read_bytes(write_tiff(tmp_path / "a.tif", numbers("<u2", 4), tile=16, predictor=2)))
    for _ in range(150):
        damaged = bytearray(content)
        for place in rng.integers(len(content) - 250, len(content), 3):
            damaged[place] = rng.integers(256)
        with contextlib.suppress(ImageError):
            read_channels("a.tif", 4, bytes(damaged))
