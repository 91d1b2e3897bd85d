"""Tests reading and writing images and labels of every kind."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from database import images
from database.errors import ImageError

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RGB[:, :, 0]


def save(path: Path, image: Image.Image, **options) -> str:
    image.save(path, **options)
    return str(path)


def repeated(grey: np.ndarray) -> np.ndarray:
    return np.stack([grey] * 3, axis=2)


def palette_image(indices: np.ndarray) -> Image.Image:
    image = Image.fromarray(indices, mode=None).convert("L")
    image.putpalette([value for index in range(256) for value in (255 - index, index, 7)])
    return image


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(RGB), RGB),
        (Image.fromarray(GREY), repeated(GREY)),
        (Image.fromarray(np.dstack([GREY, 255 - GREY])), repeated(GREY)),
        (Image.fromarray(np.dstack([RGB, GREY])), RGB),
        (Image.fromarray(GREY > 127), repeated(np.where(GREY > 127, 255, 0))),
        (Image.fromarray(GREY.astype(np.uint16) * 256 + 255), repeated(GREY)),
    ],
    ids=["rgb", "grey", "grey_alpha", "rgba", "one_bit", "sixteen_bit"],
)
def test_read_image_png_modes(tmp_path, image, expected):
    read = images.read_image(save(tmp_path / "image.png", image))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, expected)


@pytest.mark.parametrize("transparency", [None, 3, bytes(range(256))], ids=["opaque", "index", "bytes"])
def test_read_image_looks_up_palettes_without_warning(tmp_path, transparency):
    options = {} if transparency is None else {"transparency": transparency}
    path = save(tmp_path / "image.png", palette_image(GREY), **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = images.read_image(path)
    np.testing.assert_array_equal(read, np.dstack([255 - GREY, GREY, np.full_like(GREY, 7)]))


def test_read_image_keeps_the_upper_bits_of_16_bit_pgm(tmp_path):
    (tmp_path / "image.pgm").write_bytes(b"P5 2 1 65535\n" + bytes([200, 17, 3, 255]))
    read = images.read_image(str(tmp_path / "image.pgm"))
    np.testing.assert_array_equal(read, repeated(np.array([[200, 3]])))


def test_read_image_clips_32_bit_integers_and_floats(tmp_path):
    integers = save(tmp_path / "integers.tif", Image.fromarray(np.array([[-5, 70000, 12]], np.int32)))
    fractions = np.array([[-5.0, 300.0, 11.6]], np.float32)
    floats = save(tmp_path / "floats.tif", Image.fromarray(fractions))
    np.testing.assert_array_equal(images.read_image(integers), repeated(np.array([[0, 255, 12]])))
    np.testing.assert_array_equal(images.read_image(floats), repeated(np.array([[0, 255, 12]])))


def test_read_image_converts_cmyk(tmp_path):
    path = save(tmp_path / "image.tif", Image.new("CMYK", (2, 2), (0, 255, 255, 0)))
    np.testing.assert_array_equal(images.read_image(path), np.full((2, 2, 3), (255, 0, 0)))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda stored: stored),
        (2, lambda stored: stored[:, ::-1]),
        (3, lambda stored: stored[::-1, ::-1]),
        (4, lambda stored: stored[::-1]),
        (5, lambda stored: stored.transpose(1, 0, 2)),
        (6, lambda stored: np.rot90(stored, -1)),
        (7, lambda stored: stored[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda stored: np.rot90(stored, 1)),
    ],
)
def test_exif_orientation(tmp_path, suffix, orientation, upright):
    quadrants = np.kron(np.array([[0, 80], [160, 240]]), np.ones((16, 24))).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100} | ({"lossless": True} if suffix == ".webp" else {})
    path = save(tmp_path / f"image{suffix}", Image.fromarray(repeated(quadrants)), exif=exif, **options)
    expected = upright(repeated(quadrants))
    read = images.read_image(path)
    assert read.shape == expected.shape
    np.testing.assert_allclose(read.astype(int), expected, atol=2 if suffix == ".jpg" else 0)
    assert images.image_size(path) == expected.shape[:2]


def test_damaged_exif_is_ignored(tmp_path):
    path = save(tmp_path / "image.png", Image.fromarray(RGB), exif=b"Exif\0\0II*\0garbage")
    damaged = save(tmp_path / "damaged.png", Image.fromarray(RGB), exif=b"no such thing")
    for file in (path, damaged):
        np.testing.assert_array_equal(images.read_image(file), RGB)
        assert images.image_size(file) == RGB.shape[:2]


def test_exif_orientation_turns_labels_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "label.png", Image.fromarray(GREY), exif=exif)
    np.testing.assert_array_equal(images.read_label(path), np.rot90(GREY, -1))


def test_read_label_grey_palette_and_16_bit(tmp_path):
    grey = images.read_label(save(tmp_path / "grey.png", Image.fromarray(GREY)))
    palette = images.read_label(save(tmp_path / "palette.png", palette_image(GREY), transparency=3))
    deep = images.read_label(save(tmp_path / "deep.png", Image.fromarray(GREY.astype(np.uint16) * 200)))
    integers = images.read_label(save(tmp_path / "integers.tif", Image.fromarray(GREY.astype(np.int32) - 9)))
    assert (grey.dtype, palette.dtype, deep.dtype) == (np.uint8, np.uint8, np.int32)
    np.testing.assert_array_equal(grey, GREY)
    np.testing.assert_array_equal(palette, GREY)
    np.testing.assert_array_equal(deep, GREY.astype(int) * 200)
    np.testing.assert_array_equal(integers, GREY.astype(int) - 9)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("kind", ["grey", "palette"])
def test_read_label_with_few_bits_gives_the_stored_numbers(tmp_path, bits, kind):
    ids = GREY % 2**bits
    if kind == "palette":
        path = save(tmp_path / "label.png", palette_image(ids), bits=bits)
    else:
        path = packed_grey_png(tmp_path / "label.png", ids, bits)
    np.testing.assert_array_equal(images.read_label(path), ids)


def packed_grey_png(path: Path, ids: np.ndarray, bits: int) -> str:
    """Writes a grey PNG of `bits` bits, built by hand because Pillow cannot write it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    spread = (ids[:, :, np.newaxis] >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(spread.reshape(ids.shape[0], -1).astype(np.uint8), axis=1)
    header = struct.pack(">IIBBBBB", ids.shape[1], ids.shape[0], bits, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return str(path)


@pytest.mark.parametrize("grey", [GREY, GREY.astype(np.uint16)], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_exif_orientation_turns_tiffs_that_are_not_compressed(tmp_path, grey, compression):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "label.tif", Image.fromarray(grey), exif=exif, compression=compression)
    np.testing.assert_array_equal(images.read_label(path), np.rot90(grey, -1))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp"])
def test_bytes_are_read_as_their_file(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / f"image{suffix}", Image.fromarray(GREY), exif=exif)
    content = images.read_bytes(path)
    assert content == Path(path).read_bytes()
    assert images.file_format(path) == images.file_format("gone", content)
    assert images.image_size("gone", content) == images.image_size(path)
    np.testing.assert_array_equal(images.read_image("gone", content), images.read_image(path))
    if suffix not in (".jpg", ".webp"):  # these formats cannot store ids
        np.testing.assert_array_equal(images.read_label("gone", content), images.read_label(path))


def test_formats_go_by_the_header(tmp_path):
    path = tmp_path / "image.png"
    for name in ("png", "jpeg", "tiff"):
        Image.fromarray(RGB).save(path, format=name)
        assert images.file_format(str(path)) == name


@pytest.mark.parametrize("array", [RGB, GREY], ids=["rgb", "grey"])
def test_write_image_creates_folders_and_replaces(tmp_path, array):
    path = tmp_path / "a" / "b" / "image.png"
    images.write_image(str(path), 255 - array)
    images.write_image(str(path), array)
    with Image.open(path) as written:
        assert written.format == "PNG"
        np.testing.assert_array_equal(np.asarray(written), array)
    assert os.listdir(path.parent) == ["image.png"]


def test_write_image_into_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images.write_image("image.png", GREY)
    assert os.listdir(tmp_path) == ["image.png"]


@pytest.mark.parametrize(
    "array",
    [
        RGB.astype(np.float32),
        RGB[:, :, :2],
        RGB[0, 0],
        np.zeros((0, 4), np.uint8),
    ],
    ids=["float", "two_channels", "vector", "empty"],
)
def test_write_image_refuses_other_arrays(tmp_path, array):
    with pytest.raises(ImageError, match=r"image.png: cannot write .* expected uint8"):
        images.write_image(str(tmp_path / "image.png"), array)


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch):
    path = str(tmp_path / "image.png")
    images.write_image(path, GREY)

    def fail_halfway(image, file, **options):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail_halfway)
    with pytest.raises(ImageError, match=r"image.png: the image cannot be written \(No space left"):
        images.write_image(path, 255 - GREY)
    assert os.listdir(tmp_path) == ["image.png"]
    np.testing.assert_array_equal(images.read_label(path), GREY)


def test_write_image_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ImageError, match="cannot be written"):
        images.write_image(str(tmp_path / "file" / "image.png"), GREY)
