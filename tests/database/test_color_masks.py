"""Tests label files that store the colours of a palette."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from database.color_masks import ColorTable, color_table
from database.datasets import custom_dataset, find_samples
from database.errors import DatasetError, ImageError, PaletteError
from database.images import read_first_label_rows, read_label
from database.loading import load_sample
from database.palettes import read_palette
from tests.database import label_files
from tests.database.color_files import COLORS, IDS, RGB, TABLE, save

TEXT = "128 64 128 road\n70 70 70 wall\n0 0 255 sky\n"


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm", ".tif", ".tga", ".pcx"])
@pytest.mark.parametrize("alpha", [False, True])
def test_colours_are_looked_up_in_every_lossless_format(tmp_path, suffix, alpha):
    if alpha and suffix in (".ppm", ".pcx"):
        pytest.skip("this format has no alpha")
    pixels = np.dstack([RGB, np.full(IDS.shape, 255, np.uint8)]) if alpha else RGB
    path = save(tmp_path / f"label{suffix}", pixels)
    ids = read_label(path, colors=TABLE)
    assert ids.dtype == np.uint8
    np.testing.assert_array_equal(ids, IDS)
    rows, height = read_first_label_rows(path, rows_of=lambda height: 2, colors=TABLE)
    np.testing.assert_array_equal(rows, IDS[:2])
    assert height == 5


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_colours_of_lossy_formats_are_refused(tmp_path, suffix):
    path = save(tmp_path / f"label{suffix}", RGB)
    with pytest.raises(ImageError, match=f"label{suffix}: .*lossy"):
        read_label(path, colors=TABLE)


def test_transparent_pixels_and_other_kinds_of_colours_are_refused(tmp_path):
    alpha = np.full(IDS.shape, 255, np.uint8)
    alpha[1, 3] = 254
    with pytest.raises(ImageError, match=r"label.png: pixel x 3, y 1 is transparent"):
        read_label(save(tmp_path / "label.png", np.dstack([RGB, alpha])), colors=TABLE)
    with pytest.raises(ImageError, match=r"grey.png: found mode LA, expected .* single-channel"):
        read_label(save(tmp_path / "grey.png", np.dstack([alpha, alpha])), colors=TABLE)
    (tmp_path / "deep.ppm").write_bytes(b"P6 1 1 100\n\0\1\2")
    with pytest.raises(ImageError, match="deep.ppm: the PPM stores white as 100, expected 255"):
        read_label(str(tmp_path / "deep.ppm"), colors=TABLE)


def test_an_unknown_colour_is_reported_with_its_place_and_the_nearest(tmp_path):
    pixels = RGB.copy()
    pixels[3, 2], pixels[4, 0] = (69, 71, 70), (1, 2, 3)
    with pytest.raises(DatasetError) as caught:
        read_label(save(tmp_path / "label.png", pixels), colors=TABLE)
    message = str(caught.value)
    for words in ("label.png: pixel x 2, y 3 has the colour 69 71 70", "2 pixels", "p.txt", "nearest is 70 70 70",
                  "'69 71 70 ignore'"):  # fmt: skip
        assert words in message
    assert "\n" not in message


def test_ids_saved_as_three_equal_channels_are_recognized(tmp_path):
    path = save(tmp_path / "label.png", np.repeat(IDS.astype(np.uint8)[:, :, None], 3, axis=2))
    with pytest.raises(DatasetError, match="save only one channel"):
        read_label(path, colors=TABLE)


def test_without_a_palette_the_flag_is_named(tmp_path):
    with pytest.raises(ImageError, match="mode RGB.*; .*--database custom with --palette"):
        read_label(save(tmp_path / "label.png", RGB))


def test_panoptic_labels_are_recognized_by_their_name(tmp_path):
    """This holds with a palette and without; the name of a folder far above the file does not matter."""
    for name in ("panoptic_train2017/label.png", "labels/a_gtFine_panoptic.png"):
        path = save(tmp_path / name, RGB + 1)
        for colors in (None, TABLE):
            with pytest.raises((ImageError, DatasetError), match=r"R \+ 256 G \+ 65536 B") as caught:
                read_label(path, colors=colors)
            assert "--palette" not in str(caught.value)
            assert "nearest" not in str(caught.value)
    path = save(tmp_path / "panoptic" / "a" / "b" / "c" / "label.png", RGB + 1)
    with pytest.raises(DatasetError, match="the nearest is"):
        read_label(path, colors=TABLE)


def test_colours_of_16_bits_are_refused_with_their_packing(tmp_path):
    chunks = [label_files.png_chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))]
    chunks += [label_files.png_chunk(b"IDAT", zlib.compress(bytes(7))), label_files.png_chunk(b"IEND", b"")]
    with pytest.raises(ImageError, match=r"x: .* mode RGB, .*; .* PNG RGB;16B .* 8-bit RGB PNG"):
        read_label("x", b"".join([b"\x89PNG\r\n\x1a\n", *chunks]), colors=TABLE)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_any_palette_is_read_as_by_a_dictionary(data):
    colors = st.tuples(*[st.integers(0, 255)] * 3)
    palette = data.draw(st.lists(colors, min_size=1, max_size=30, unique=True))
    ids = data.draw(st.lists(st.integers(0, 65535), min_size=len(palette), max_size=len(palette)))
    pixels = data.draw(st.lists(st.sampled_from(palette) | colors, min_size=1, max_size=20))
    known = dict(zip(palette, ids, strict=True))
    rgb = np.array([pixels], np.uint8)
    strange = [color for color in pixels if color not in known]
    if strange:
        with pytest.raises(DatasetError, match=f"the colour {' '.join(map(str, strange[0]))}, "):
            ColorTable("p", known).read("x", rgb)
    else:
        np.testing.assert_array_equal(ColorTable("p", known).read("x", rgb), [[known[color] for color in pixels]])


def own_data(tmp_path: Path, text: str, pixels: np.ndarray, **options):
    """Returns the dataset and the single training sample of a folder, with a palette."""
    (tmp_path / "palette.txt").write_text(text)
    for folder in ("images", "labels"):
        save(tmp_path / folder / "train" / "a.png", pixels)
    dataset = custom_dataset(3, palette_file=str(tmp_path / "palette.txt"), **options)
    return dataset, find_samples(dataset, str(tmp_path), ["train"])[0]


def test_own_data_in_colours(tmp_path):
    """The pixels include void ones of several colours, and the options include other ids."""
    pixels = RGB.copy()
    pixels[0, 0], pixels[1, 1] = (0, 0, 0), (255, 255, 255)
    expected = IDS.copy()
    expected[0, 0] = expected[1, 1] = 255
    (tmp_path / "ids.txt").write_text("300 0\n5 1\n6 1\n26001 2\n")
    text = f"{TEXT}0 0 0 ignore\n255 255 255 Ignore\n"
    for options in ({}, {"ignore_label": 9}, {"label_map_file": str(tmp_path / "ids.txt")}):
        dataset, sample = own_data(tmp_path, text, pixels, **options)
        assert dataset.class_names == ("road", "wall", "sky")
        np.testing.assert_array_equal(load_sample(sample)[1], expected)


def test_a_colour_of_two_classes_is_refused_where_labels_hold_colours(tmp_path):
    for text in (TEXT.replace("0 0 255", "70 70 70"), f"{TEXT}70 70 70 ignore\n"):
        _, sample = own_data(tmp_path, text, RGB)
        with pytest.raises(DatasetError, match=r"palette.txt: the colour 70 70 70 occurs twice, but .*a.png"):
            load_sample(sample)
        save(tmp_path / "labels" / "train" / "a.png", IDS.astype(np.uint8))
        np.testing.assert_array_equal(load_sample(sample)[1], IDS)


def test_ignored_colours_need_an_ignored_id():
    with pytest.raises(DatasetError, match="p.txt: the colour 0 0 0 is ignored, but --label_map ignores no id"):
        color_table("p.txt", COLORS, [(0, 0, 0)], {0: 0, 1: 1, 255: 2})


def test_ignored_colours_are_no_classes(tmp_path):
    path = tmp_path / "palette.txt"
    path.write_text(f"0 0 0 ignore\n{TEXT}")
    assert read_palette(str(path), 3) == (("road", "wall", "sky"), COLORS, ((0, 0, 0),))
    with pytest.raises(PaletteError, match="found 3 colours and 1 named 'ignore', expected 4"):
        read_palette(str(path), 4)
