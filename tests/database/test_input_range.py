"""Tests images of more than 8 bits: which stored number is white, and the warnings about it."""

from __future__ import annotations

import io
import re
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from database.errors import ImageError
from database.images import read_first_rows, read_image
from database.input_range import InputRange, scaled_to_bytes
from tests.database import label_files

RAMP = np.linspace(0, 1, 35).reshape(5, 7)


def tiff(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "TIFF")
    return file.getvalue()


def png(array: np.ndarray) -> bytes:
    return label_files.png(array, 16)


def deep_rgb_png(largest: int) -> bytes:
    """Returns a PNG of one pixel with 16 bits per colour."""
    content = label_files.png(np.full((1, 3), largest), 16)
    header = bytearray(content)
    header[16:26] = (1).to_bytes(4, "big") + (1).to_bytes(4, "big") + bytes([16, 2])
    header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4, "big")
    return bytes(header)


@pytest.mark.parametrize(
    ("content", "white"),
    [
        (tiff(np.rint(RAMP * 4095).astype(np.uint16)), 4095),
        (png(np.rint(RAMP * 4095).astype(np.uint16)), 4095),
        (tiff(np.rint(RAMP * 255).astype(np.uint16)), 255),
        (tiff(RAMP.astype(np.float32)), 1),
        (tiff(np.rint(RAMP * 10**6).astype(np.int32)), 10**6),
        (label_files.pgm(np.rint(RAMP * 4095).astype(int), 4095), 4095),
        (label_files.pgm(np.rint(RAMP * 4095).astype(int), 65535), 4095),
    ],
    ids=["12 bits", "png", "8 in 16 bits", "fractions", "32 bits", "pgm of 4095", "pgm of 65535"],
)
def test_the_number_for_white_becomes_255(content, white, caplog):
    read = read_image("a.tif", content, InputRange(white))
    assert np.abs(read.astype(float) - RAMP[:, :, None] * 255).max() <= 0.53
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (tiff(np.rint(RAMP * 4095).astype(np.uint16)), "16-bit grey up to 4095, .* 65535 is white (it may be 4095)"),
        (png(np.rint(RAMP * 255).astype(np.uint16)), "16-bit grey up to 255, .* 65535 is white (it may be 255)"),
        (tiff(RAMP.astype(np.float32)), "fractions up to 1, .* 255 is white (it may be 1)"),
        (tiff(np.rint(RAMP * 9).astype(np.int32)), "whole numbers up to 9, "),
        (tiff(np.rint(RAMP * 4095).astype(np.int32)), "whole numbers up to 4095; those above 255 are read as white"),
        (label_files.pgm(np.rint(RAMP * 4095).astype(int), 65535), "16-bit grey up to 4095, "),
        (deep_rgb_png(4095), "16-bit colours below 4096, .*convert them to 8 bits"),
    ],
    ids=["12 bits", "8 in 16 bits", "fractions", "32 bits", "bright 32 bits", "pgm", "colours"],
)
def test_a_range_that_is_hardly_used_is_warned_of_once_with_the_first_file(content, words, caplog):
    input_range = InputRange()
    for name in ("first.tif", "second.tif"):
        read_image(name, content, input_range)
    [message] = caplog.messages
    pattern = words.replace("(", r"\(").replace(")", r"\)")
    assert re.search(f"^first.tif: {pattern}", message)
    assert "colours" in message or "--input_range" in message


@pytest.mark.parametrize(
    "content",
    [
        tiff(np.rint(RAMP * 65535).astype(np.uint16)),
        tiff((RAMP * 255).astype(np.float32)),
        tiff(np.zeros((2, 2), np.uint16)),
        label_files.pgm(np.rint(RAMP * 4095).astype(int), 4095),
        deep_rgb_png(60000),
        label_files.png(np.zeros((2, 2), int), 8),
    ],
)
def test_a_range_that_is_used_and_black_images_are_not_warned_of(content, caplog):
    read_image("a.png", content, InputRange())
    assert caplog.messages == []


def test_numbers_above_white_and_images_of_8_bits_are_warned_of(caplog):
    input_range = InputRange(255)
    for _ in range(2):
        read_image("deep.tif", tiff(np.array([[0, 65535]], np.uint16)), input_range)
        read_image("bytes.png", label_files.png(np.array([[0, 9]]), 8), input_range)
    assert [message.split(":")[0] for message in caplog.messages] == ["deep.tif", "bytes.png"]
    np.testing.assert_array_equal(read_image("b", label_files.png(np.array([[9]]), 8), input_range), [[[9] * 3]])


def deep_rgb(numbers: np.ndarray, kind: str) -> bytes:
    """Returns a PNG, a PPM or an uncompressed TIFF with 16 bits per colour, from integers [H, W, 3]."""
    height, width, _ = numbers.shape
    if kind == "ppm":
        return f"P6\n{width} {height}\n65535\n".encode() + numbers.astype(">u2").tobytes()
    if kind == "png":
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in numbers)
        header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
        chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(label_files.png_chunk(*chunk) for chunk in chunks)
    pixels = numbers.astype("<u2").tobytes()
    bits_at = 8 + len(pixels)
    entries = (
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, bits_at), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 8),
        (277, 3, 1, 3), (278, 4, 1, height), (279, 4, 1, len(pixels)),
    )  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    start = b"II" + struct.pack("<HI", 42, bits_at + 6) + pixels + struct.pack("<HHH", 16, 16, 16)
    return start + directory + bytes(4)


@pytest.mark.parametrize("kind", ["png", "tif", "ppm"])
@pytest.mark.parametrize("largest", [23, 255])
def test_colours_of_8_in_16_bits_are_refused_as_all_black(kind, largest):
    numbers = np.minimum(np.arange(24) * 12, largest).reshape(2, 4, 3)
    content = deep_rgb(numbers, kind)
    for undecided in (None, InputRange(), InputRange(is_decided=False), InputRange(65535)):
        with pytest.raises(ImageError, match=f"^a.{kind}: all 16-bit colours are below 256, .* black, .*8 bits"):
            read_image(f"a.{kind}", content, undecided)
    np.testing.assert_array_equal(read_image("a", deep_rgb(numbers * 257, kind)), numbers)
    assert not read_image("a", deep_rgb(numbers * 0, kind)).any()  # a black image is accepted
    numbers[1, 1, 1] = 256
    assert read_image("a", deep_rgb(numbers, kind)).max() == 1


@pytest.mark.parametrize("kind", ["png", "tif", "ppm"])
def test_dark_rows_at_the_top_of_colours_of_16_bits_are_no_fault(kind):
    numbers = np.full((4, 2, 3), 200)
    numbers[3] = 60000
    rows, height = read_first_rows(f"a.{kind}", deep_rgb(numbers, kind), lambda height: 2)
    assert (rows.shape, height, rows.any()) == ((2, 2, 3), 4, kind == "ppm")
    numbers[3] = 200
    with pytest.raises(ImageError, match="the image is black"):
        read_first_rows(f"a.{kind}", deep_rgb(numbers, kind), lambda height: 2)


def test_colours_of_16_bits_cannot_be_scaled():
    with pytest.raises(ImageError, match="a.png: .*16-bit colours .*--input_range is 4095: convert"):
        read_image("a.png", deep_rgb_png(4095), InputRange(4095))
    np.testing.assert_array_equal(read_image("a.png", deep_rgb_png(0x8012), InputRange(65535)), [[[0x80] * 3]])


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=9), st.floats(1e-3, 1e6))
@settings(deadline=None)
def test_fractions_of_any_kind_are_scaled(numbers, white):
    found = scaled_to_bytes(np.array(numbers, np.float32), white)
    for number, byte in zip(numbers, found.tolist(), strict=True):
        expected = min(max(number * 255 / white, 0), 255)
        assert abs(byte - expected) <= 0.5 + 1e-6


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=9), st.integers(1, 70000))
def test_sixteen_bits_are_scaled_as_fractions_are(numbers, white):
    found = scaled_to_bytes(np.array(numbers, np.uint16), white)
    np.testing.assert_array_equal(found, scaled_to_bytes(np.array(numbers, np.float64), white))


def with_pixel(value: float, dtype: type = np.float32) -> np.ndarray:
    """Returns the ramp up to 255, with a value in row 3, column 4, and again in the last pixel."""
    numbers = (RAMP * 255).astype(dtype)
    numbers[3, 4] = numbers[4, 6] = value
    return numbers


def pfm(array: np.ndarray) -> bytes:
    height, width = array.shape
    return f"Pf\n{width} {height}\n-1.0\n".encode() + array[::-1].astype("<f4").tobytes()


MISSING = (
    r"2 of 35 pixels out of range \(the first is {} in row 3, column 4\), expected numbers from 0 .* {} \(white\): "
)


@pytest.mark.parametrize(
    ("content", "white", "value"),
    [
        (tiff(with_pixel(np.nan)), None, "nan"),
        (tiff(with_pixel(np.inf)), None, "inf"),
        (tiff(with_pixel(-np.inf)), 4095, "-inf"),
        (pfm(with_pixel(np.nan)), None, "nan"),
        (tiff(with_pixel(1e32)), None, "1e\\+32"),
        (tiff(with_pixel(-3.4028235e38)), None, "-3.40282e\\+38"),
        (tiff(with_pixel(-9999)), None, "-9999"),
        (tiff(with_pixel(-9999) / 255), 1, "-39.2118"),
        (tiff(with_pixel(-(2**31), np.int32)), None, "-2.14748e\\+09"),
    ],
    ids=["nan", "inf", "-inf", "pfm", "1e32", "float32's lowest", "-9999", "fractions", "int32's lowest"],
)
def test_numbers_that_are_no_brightness_are_refused(content, white, value):
    with pytest.raises(ImageError, match=f"^a.tif: .*, {MISSING.format(value, white or 255)}replace them .* by 0"):
        read_image("a.tif", content, InputRange(white))


def test_an_image_of_nothing_but_nan():
    with pytest.raises(ImageError, match=r"35 of 35 pixels out of range \(the first is nan in row 0, column 0\)"):
        read_image("a.tif", tiff(np.full((5, 7), np.nan, np.float32)))


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        (-(RAMP + 0.1) * 255 / 1.1, "fractions from -255 to -23.1818, so the image is black, .*: make them positive"),
        (RAMP * 200 + 300, "fractions from 300 to 500, so the image is white, .* 255 .*: .*with --input_range"),
    ],
)
def test_an_image_that_would_be_all_black_or_all_white(numbers, words):
    with pytest.raises(ImageError, match=f"^a.tif: {words}"):
        read_image("a.tif", tiff(numbers.astype(np.float32)))
    read_image("a.tif", tiff(np.zeros((5, 7), np.float32)))
    read_image("a.tif", tiff(np.full((5, 7), 255, np.float32)))


def test_a_little_below_black_is_warned_of(caplog):
    read = read_image("a.tif", tiff(with_pixel(-3)))
    assert read[3, 4, 0] == read[4, 6, 0] == 0
    [message] = caplog.messages
    assert message.startswith("a.tif: fractions down to -3; those below 0 are read as black")


@pytest.mark.parametrize("bad", [with_pixel(np.nan), RAMP * 200 + 300])
def test_rows_that_no_crop_shows_count_too(bad):
    """Such files are decoded whole, so that a run does not meet the fault only at a later crop."""
    with pytest.raises(ImageError, match="3, column 4|the image is white"):
        read_first_rows("a.tif", tiff(bad.astype(np.float32)), lambda height: 1)


def test_a_white_sky_in_the_rows_that_are_shown_is_no_fault():
    numbers = np.array([[300, 256], [3, 4]], np.float32)
    rows, height = read_first_rows("a.tif", tiff(numbers), lambda height: 1)
    np.testing.assert_array_equal(rows, np.full((1, 2, 3), 255))
    assert height == 2


def test_when_white_is_given_later_only_non_finite_numbers_are_refused():
    undecided = InputRange(is_decided=False)
    for numbers in (with_pixel(1e32), with_pixel(-9999), RAMP * 200 + 300):
        read_image("a.tif", tiff(numbers.astype(np.float32)), undecided)
    with pytest.raises(ImageError, match="the first is nan"):
        read_image("a.tif", tiff(with_pixel(np.nan)), undecided)


def test_when_white_is_given_later_the_advice_names_the_program_that_takes_the_flag(caplog):
    """`tools.make_tfrecord` does not accept --input_range."""
    dark = (RAMP * 10).astype(np.uint16)
    for is_decided in (True, False):
        read_image("a.tif", tiff(dark), InputRange(is_decided=is_decided))
    assert ["--input_range to train.py" in message for message in caplog.messages] == [False, True]


@given(st.lists(st.floats(width=32), min_size=4, max_size=4), st.sampled_from([None, 1, 4095]))
@settings(deadline=None)
def test_any_fractions_are_refused_or_clipped(numbers, white):
    """The network never gets NaN or infinity."""
    array = np.array(numbers, np.float32).reshape(2, 2)
    bound = white or 255
    try:
        read = read_image("a.tif", tiff(array), InputRange(white))
    except ImageError:
        inside = [0 <= number <= bound for number in array.ravel().tolist()]
        assert not all(inside)
    else:
        expected = np.clip(array.astype(np.float64) * 255 / bound, 0, 255)
        assert np.abs(read[:, :, 0] - expected).max() <= 0.5 + 1e-6
