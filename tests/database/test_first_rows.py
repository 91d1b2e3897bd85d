"""Tests reading only the first rows of images and labels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from database import images
from database.errors import ImageError

RGB = np.random.default_rng(0).integers(0, 256, (60, 70, 3), dtype=np.uint8)
GREY = RGB[:, :, 0]
# A PNG that Pillow cannot write: interlaced, 5 grey pixels high and 3 wide, 0 to 14 row by row.
INTERLACED = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000003000000050800000001d21d39e80000001f49444154789c05c1850100200c0020ccd9ff"
    "9f2be0c89e3e24e12ab5996b7f046c006a3f33b9cc0000000049454e44ae426082"
)


def upright(image: Image.Image, orientation: int) -> dict[str, bytes]:
    exif = image.getexif()
    exif[0x0112] = orientation
    return {"exif": exif.tobytes()}


def with_palette(image: Image.Image) -> Image.Image:
    image.putpalette([value for index in range(256) for value in (255 - index, index, 7)])
    return image


PICTURES = {
    "rgb.png": Image.fromarray(RGB),
    "grey.png": Image.fromarray(GREY),
    "grey_alpha.png": Image.fromarray(np.dstack([GREY, 255 - GREY])),
    "rgba.png": Image.fromarray(np.dstack([RGB, GREY])),
    "one_bit.png": Image.fromarray(GREY > 127),
    "sixteen_bit.png": Image.fromarray(GREY.astype(np.uint16) * 255),
    "palette.png": with_palette(Image.fromarray(GREY)),
    "rgb.jpg": Image.fromarray(RGB),
    "rgb.bmp": Image.fromarray(RGB),
    "rgb.tiff": Image.fromarray(RGB),
    "palette.gif": with_palette(Image.fromarray(GREY)),
    "rgb.webp": Image.fromarray(RGB),
}


@pytest.mark.parametrize("rows", [1, 2, 31, 59, 60])
@pytest.mark.parametrize("name", PICTURES)
def test_first_rows_are_those_of_the_whole(tmp_path, name, rows):
    path = str(tmp_path / name)
    PICTURES[name].save(path)
    found, height = images.read_first_rows(path, rows_of=lambda height: rows)
    np.testing.assert_array_equal(found, images.read_image(path)[:rows])
    assert height == 60
    if name.startswith(("grey.", "palette", "one_bit", "sixteen_bit")):
        label, height = images.read_first_label_rows(path, rows_of=lambda height: rows)
        np.testing.assert_array_equal(label, images.read_label(path)[:rows])
        assert height == 60


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_first_rows_are_those_of_the_image_turned_upright(tmp_path, orientation, suffix):
    path, picture = str(tmp_path / f"turned{suffix}"), Image.fromarray(RGB)
    picture.save(path, **upright(picture, orientation))
    whole = images.read_image(path)
    found, height = images.read_first_rows(path, rows_of=lambda height: height // 3)
    np.testing.assert_array_equal(found, whole[: height // 3])
    assert height == len(whole) == (70 if orientation > 4 else 60)


def test_the_height_that_rows_are_chosen_by_is_upright(tmp_path):
    path, picture = str(tmp_path / "turned.png"), Image.fromarray(RGB)
    picture.save(path, **upright(picture, 6))
    heights = []
    images.read_first_rows(path, rows_of=lambda height: heights.append(height) or 1)
    assert heights == [70]


def test_interlaced_png():
    """Rows of an interlaced PNG are not stored one after the other."""
    expected = np.arange(15, dtype=np.uint8).reshape(5, 3)
    for rows in range(1, 6):
        found, height = images.read_first_label_rows("grey.png", INTERLACED, lambda height, rows=rows: rows)
        np.testing.assert_array_equal(found, expected[:rows])
        assert height == 5


def test_moving_png(tmp_path):
    path = str(tmp_path / "moving.png")
    Image.fromarray(RGB).save(path, save_all=True, append_images=[Image.fromarray(255 - RGB)])
    assert Image.open(path).n_frames == 2
    np.testing.assert_array_equal(images.read_first_rows(path, rows_of=lambda height: 7)[0], RGB[:7])


def test_damage_counts_where_it_is_met(tmp_path):
    """The second half of the file is missing: the first rows can be read, but not all rows."""
    path = tmp_path / "cut.png"
    Image.fromarray(RGB).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    np.testing.assert_array_equal(images.read_first_rows(str(path), rows_of=lambda height: 20)[0], RGB[:20])
    for rows in (40, 60):
        with pytest.raises(ImageError, match=r"cut\.png: not an image that can be read"):
            images.read_first_rows(str(path), rows_of=lambda height, rows=rows: rows)


def test_fewer_rows_take_less_of_the_file(tmp_path):
    """A PNG is decoded only up to the last row needed: the data after it does not matter."""
    path = tmp_path / "image.png"
    Image.fromarray(np.repeat(RGB, 20, axis=0)).save(path, compress_level=0)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : -100] = bytes(len(content) - len(content) // 2 - 100)
    found, _ = images.read_first_rows("image.png", bytes(content), lambda height: height // 4)
    np.testing.assert_array_equal(found, np.repeat(RGB, 20, axis=0)[:300])
    with pytest.raises(ImageError):
        images.read_image("image.png", bytes(content))
