"""Images as Python code passes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from database.channels import Channels
from database.errors import ImageError
from database.images import read_image
from database.input_range import InputRange
from tests.database.multiband_files import write_tiff
from tools.prediction.image_values import image_pixels, is_one_image, named_images

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
GREY = PIXELS[..., 0]


def pixels_of(image) -> np.ndarray:
    pixels, path = image_pixels(image, "image", InputRange())
    assert path is None
    assert pixels.dtype == np.uint8
    assert not pixels.flags.writeable
    return pixels


def test_arrays():
    alpha = np.zeros((5, 7, 1), np.uint8)
    np.testing.assert_array_equal(pixels_of(PIXELS), PIXELS)
    np.testing.assert_array_equal(pixels_of(np.dstack([PIXELS, alpha])), PIXELS)
    for grey in (GREY, GREY[..., np.newaxis]):
        np.testing.assert_array_equal(pixels_of(grey), np.dstack([GREY] * 3))
    np.testing.assert_array_equal(pixels_of(PIXELS[::-1, ::2]), PIXELS[::-1, ::2])


def test_subclasses_of_arrays():
    """A grey np.matrix ended the process."""
    np.testing.assert_array_equal(pixels_of(np.asmatrix(GREY)), np.dstack([GREY] * 3))
    assert type(pixels_of(np.asmatrix(GREY))) is np.ndarray
    for masked in (np.ma.masked_equal(PIXELS, 0), np.ma.array(GREY)):
        with pytest.raises(ImageError, match=r"image: found a masked array.*filled"):
            image_pixels(masked, "image", InputRange())


def test_results_do_not_change_with_the_array():
    image = PIXELS.copy()
    pixels = pixels_of(image)
    image[:] = 0
    np.testing.assert_array_equal(pixels, PIXELS)
    assert image.flags.writeable


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "LA", "CMYK", "1", "I;16", "F"])
def test_pil_images_are_read_as_their_files(tmp_path, mode):
    if mode in ("I;16", "F"):
        image = Image.fromarray(GREY.astype(np.uint16) * 257 if mode == "I;16" else GREY.astype(np.float32))
    else:
        image = Image.fromarray(PIXELS).convert(mode)
    path = tmp_path / "a.tif"
    image.save(path)
    np.testing.assert_array_equal(pixels_of(image), read_image(str(path)))
    with Image.open(path) as opened:
        np.testing.assert_array_equal(pixels_of(opened), read_image(str(path)))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_pil_images_are_turned_upright_as_their_files(tmp_path, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path, exif=exif)
    with Image.open(path) as opened:
        np.testing.assert_array_equal(pixels_of(opened), read_image(str(path)))


@pytest.mark.parametrize("kind", [str, Path])
def test_paths(tmp_path, kind):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    pixels, path = image_pixels(kind(tmp_path / "a.png"), "image", InputRange())
    np.testing.assert_array_equal(pixels, PIXELS)
    assert path == str(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"absent\.png: no such file"):
        image_pixels(kind(tmp_path / "absent.png"), "image", InputRange())


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (PIXELS / 255, r"float64 \[5, 7, 3\], expected uint8 .*255 \* image"),
        (PIXELS.astype(np.int64), r"int64 \[5, 7, 3\], expected uint8"),
        (PIXELS > 9, r"bool \[5, 7, 3\], expected uint8"),
        (PIXELS.transpose(2, 0, 1), r"uint8 \[3, 5, 7\], .*transpose\(1, 2, 0\)"),
        (PIXELS[:, :, :2], r"uint8 \[5, 7, 2\], expected a NumPy array"),
        (PIXELS[0, 0], r"uint8 \[3\], expected a NumPy array"),
        (np.zeros((0, 5, 3), np.uint8), r"uint8 \[0, 5, 3\] has no pixels"),
        (np.zeros((5, 0), np.uint8), r"uint8 \[5, 0, 3\] has no pixels"),
        (None, "found NoneType"),
        (b"bytes", "found bytes"),
        (7, "found int"),
        (Image.new("F", (2, 2), float("nan")), "fractions, 4 of 4 pixels"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(image, words):
    assert is_one_image(image)
    with pytest.raises(ImageError, match=f"^images\\[3\\]: .*{words}|^images\\[3\\]: {words}") as caught:
        image_pixels(image, "images[3]", InputRange())
    assert "\n" not in str(caught.value)


def test_a_damaged_file_behind_a_pil_image(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3)).astype(np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with Image.open(path) as opened, pytest.raises(ImageError, match="^image: not an image that can be read"):
        image_pixels(opened, "image", InputRange())


def test_one_image_or_several():
    several = [[PIXELS], (PIXELS, "a.png"), np.stack([PIXELS] * 2), iter([PIXELS]), {"a.png"}, []]
    assert not any(map(is_one_image, several))
    assert all(map(is_one_image, [PIXELS, GREY, "a.png", Path("a.png"), Image.new("L", (1, 1))]))
    assert [name for name, _ in named_images("ab")] == ["images[0]", "images[1]"]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("count", [1, 4])
def test_arrays_for_other_channels_are_read_as_their_files(tmp_path, dtype, count):
    rng = np.random.default_rng(1)
    array = rng.integers(0, 256, (5, 7, count)).astype(dtype) * (100 if dtype == "uint16" else 1)
    path = write_tiff(tmp_path / "a.tif", array)
    channels = Channels(count)
    from_file, found = image_pixels(path, "image", InputRange(), channels)
    assert found == path
    from_array, found = image_pixels(array, "image", InputRange(), channels)
    assert found is None
    assert from_array.dtype == np.float32
    np.testing.assert_array_equal(from_array, from_file)
    np.testing.assert_allclose(from_array, array * (255 / 65535 if dtype == "uint16" else 1.0), rtol=1e-6)
    if count == 1:
        np.testing.assert_array_equal(image_pixels(array[..., 0], "image", InputRange(), channels)[0], from_file)


def test_the_white_of_arrays_for_other_channels():
    array = np.full((2, 2, 4), 500, np.uint16)
    pixels, _ = image_pixels(array, "image", InputRange(1000), Channels(4))
    np.testing.assert_allclose(pixels, 127.5, rtol=1e-6)
    array[:] = 0
    np.testing.assert_allclose(pixels, 127.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (PIXELS, r"uint8 \[5, 7, 3\], expected numbers \[H, W, 4\]"),
        (np.zeros((5, 7, 4), bool), r"bool \[5, 7, 4\]"),
        (np.full((5, 7, 4), np.nan, np.float32), "140 of 140 numbers are not finite"),
        (np.zeros((0, 7, 4), np.float32), "has no pixels"),
        (Image.fromarray(PIXELS), r"found Image, expected a path or a NumPy array \[H, W, 4\]"),
    ],
)
def test_images_of_other_channels_than_the_network(image, words):
    with pytest.raises(ImageError, match=words):
        image_pixels(image, "image", InputRange(), Channels(4))
