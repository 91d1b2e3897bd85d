"""Tests images and labels that cannot be read: damaged, of another kind, too large, or too large for the memory."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from database import images
from database.errors import ImageError

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def save(path: Path, image: Image.Image, **options) -> str:
    image.save(path, **options)
    return str(path)


def test_faulty_bytes_bear_the_name_of_their_file():
    for read in (images.read_image, images.read_label, images.image_size, images.file_format):
        with pytest.raises(ImageError, match=r"^a/b.png: not an image that can be read \(cannot identify"):
            read("a/b.png", b"no image")


@pytest.mark.parametrize(
    ("mode", "advice"),
    [("RGB", "convert its colours"), ("RGBA", "convert its colours"), ("LA", "save only its grey channel")],
)
def test_read_label_refuses_colours(tmp_path, mode, advice):
    path = save(tmp_path / "label.png", Image.fromarray(RGB).convert(mode))
    with pytest.raises(ImageError, match=f"label.png: found mode {mode}, expected .*single-channel.*;.*{advice}"):
        images.read_label(path)


def test_read_label_refuses_fractions(tmp_path):
    path = save(tmp_path / "label.tif", Image.fromarray(np.ones((2, 2), np.float32)))
    with pytest.raises(ImageError, match="mode F, .*; that is fractions: save whole numbers"):
        images.read_label(path)


@pytest.mark.parametrize("read", [images.read_image, images.read_label, images.image_size, images.file_format])
def test_missing_folder_and_foreign_files_are_named(tmp_path, read):
    (tmp_path / "notes.png").write_text("not an image")
    unread = "not an image that can be read "
    reasons = {"absent.png": "no such file$", "": unread + ".*s a directory", "notes.png": unread + ".*cannot identify"}
    for path, reason in reasons.items():
        with pytest.raises(ImageError, match=f": {reason}") as caught:
            read(str(tmp_path / path))
        assert str(tmp_path / path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_bytes_that_cannot_be_read_are_named(tmp_path):
    for path, reason in {"absent.png": "no such file$", "": "not an image that can be read .*s a directory"}.items():
        with pytest.raises(ImageError, match=f": {reason}") as caught:
            images.read_bytes(str(tmp_path / path))
        assert str(tmp_path / path) in str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".gif", ".webp"])
@pytest.mark.filterwarnings("error")
def test_damaged_files_raise_nothing_but_image_error(tmp_path, suffix):
    path = tmp_path / f"image{suffix}"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (24, 40, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(2)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match="image.*not an image that can be read"):
        images.read_image(str(path))
    for _ in range(150):
        damaged = bytearray(whole)
        for position in rng.integers(0, min(len(whole), 200), 4):
            damaged[position] = rng.integers(0, 256)
        path.write_bytes(bytes(damaged))
        for read in (images.read_image, images.read_label, images.image_size):
            with suppress(ImageError):
                read(str(path))


def test_image_size_needs_only_the_header(tmp_path):
    path = Path(save(tmp_path / "image.png", Image.fromarray(np.tile(RGB, (20, 20, 1)))))
    path.write_bytes(path.read_bytes()[:60])
    assert images.image_size(str(path)) == (100, 140)


@pytest.mark.usefixtures("usual_pixel_limit")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".gif", ".webp"])
@pytest.mark.parametrize("limit", [900, 901])
@pytest.mark.filterwarnings("error")
def test_an_image_as_large_as_allowed_is_read_without_warning(tmp_path, suffix, limit):
    path = save(tmp_path / f"image{suffix}", Image.fromarray(np.zeros((25, 36, 3), np.uint8)))
    images.set_max_pixels(limit)
    assert images.read_image(path).shape == (25, 36, 3)


@pytest.mark.usefixtures("usual_pixel_limit")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".gif", ".webp"])
@pytest.mark.parametrize("limit", [899, 700, 450, 449, 10, 1])
def test_larger_images_are_refused_by_their_header(tmp_path, suffix, limit):
    path = save(tmp_path / f"image{suffix}", Image.fromarray(np.zeros((25, 36, 3), np.uint8)))
    content = Path(path).read_bytes()[:120]
    images.set_max_pixels(limit)
    for read in (images.read_image, images.read_label, images.image_size, images.file_format):
        for arguments in ((path,), (path, content)) if suffix == ".png" else ((path,),):
            with pytest.raises(ImageError) as caught:
                read(*arguments)
            assert str(caught.value) == (
                f"{path}: 25x36 (height x width) are 900 pixels, and --max_pixels is {limit}: give a smaller image, or "
                "raise --max_pixels if there is memory for it"
            )


@pytest.mark.usefixtures("usual_pixel_limit")
def test_more_pixels_than_pillow_allows_by_itself_are_read_if_allowed(tmp_path):
    """At one bit each, 179 million zeros are a small file; only its header is read."""
    path = save(tmp_path / "image.png", Image.new("1", (17900, 10000)))
    with pytest.raises(ImageError, match="10000x17900 .* are 179000000 pixels, and --max_pixels is 178000000"):
        images.image_size(path)
    images.set_max_pixels(200_000_000)
    assert images.image_size(path) == (10000, 17900)


@pytest.mark.usefixtures("usual_pixel_limit")
def test_an_image_inside_of_a_file_that_is_larger_than_its_header_says(tmp_path):
    """An .ico file contains PNGs, and has their sizes in its directory too."""
    path = Path(save(tmp_path / "image.ico", Image.new("RGB", (64, 64)), sizes=[(64, 64)]))
    content = bytearray(path.read_bytes())
    content[6] = content[7] = 8  # width and height of the first image, in the directory
    path.write_bytes(content)
    images.set_max_pixels(1000)
    for read in (images.image_size, images.read_image):
        with pytest.raises(ImageError, match="image.ico: .*4096 pixels, and --max_pixels is 1000"):
            read(str(path))


def test_lack_of_memory_for_an_image_is_reported(tmp_path, monkeypatch):
    path = save(tmp_path / "image.png", Image.fromarray(RGB))

    def no_memory(image):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "load", no_memory)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", no_memory)
    with pytest.raises(ImageError, match=r"image.png: not an image that can be read \(MemoryError\)"):
        images.read_image(path)


def test_reading_in_threads_does_not_change_the_warning_filters(tmp_path):
    path = save(tmp_path / "image.tif", Image.fromarray(RGB))
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(images.read_image, [path] * 200))
    assert list(warnings.filters) == before
    assert all((image == RGB).all() for image in read)
