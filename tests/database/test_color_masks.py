"""Tests label files that store the colours of a palette."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from database import color_masks
from database.color_masks import ColorTable, color_table
from database.datasets import custom_dataset, find_samples
from database.errors import DatasetError, ImageError, PaletteError
from database.images import read_first_label_rows, read_label
from database.loading import load_sample
from database.palettes import read_palette
from tests.database import label_files

COLORS = ((128, 64, 128), (70, 70, 70), (0, 0, 255))
IDS = np.random.default_rng(0).integers(0, 3, (5, 7))
RGB = np.array(COLORS, np.uint8)[IDS]
BINARY = IDS % 2
TABLE = ColorTable("p.txt", {color: index for index, color in enumerate(COLORS)})
TEXT = "128 64 128 road\n70 70 70 wall\n0 0 255 sky\n"


def save(path: Path, array: np.ndarray, **options) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return str(path)


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


def indexed(indices: np.ndarray, table) -> Image.Image:
    """Returns a palette image with the given colour table."""
    image = Image.fromarray(indices.astype(np.uint8))
    image.putpalette([channel for color in table for channel in color])
    return image


INDEXED_SUFFIXES = [".png", ".gif", ".bmp", ".tif", ".tga", ".pcx"]


@pytest.mark.parametrize("suffix", INDEXED_SUFFIXES)
def test_ids_and_the_indices_of_tables_like_the_palette_are_read_as_without_a_palette(tmp_path, suffix, caplog):
    indexed(IDS, COLORS).save(tmp_path / f"indexed{suffix}")
    for path in (str(tmp_path / f"indexed{suffix}"), save(tmp_path / "ids.png", IDS.astype(np.uint8))):
        np.testing.assert_array_equal(read_label(path, colors=TABLE), IDS)
    assert not caplog.records


@pytest.mark.parametrize("suffix", INDEXED_SUFFIXES)
def test_palette_images_whose_table_contradicts_the_palette_are_refused(tmp_path, suffix):
    """Editors and optimizers write such tables when they renumber the colours of an image."""
    path = tmp_path / f"indexed{suffix}"
    indexed(IDS, COLORS[::-1]).save(path)
    with pytest.raises(DatasetError) as caught:
        read_label(str(path), colors=TABLE)
    message = str(caught.value)
    for words in (f"indexed{suffix}: ", "index 0 the colour 0 0 255", "p.txt gives to id 2, and 128 64 128 to id 0",
                  "save it as RGB", "put the colours of the file into the palette"):  # fmt: skip
        assert words in message
    assert "\n" not in message
    np.testing.assert_array_equal(read_label(str(path)), IDS)  # without a palette


def test_only_colours_of_pixels_count(tmp_path):
    indexed(IDS[:1] * 0, [COLORS[0], COLORS[2], COLORS[1]]).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label(str(tmp_path / "a.png"), colors=TABLE), IDS[:1] * 0)


@pytest.mark.parametrize("suffix", INDEXED_SUFFIXES)
@pytest.mark.parametrize(
    "table", [[(i, i, i) for i in range(256)], [(i, i, i) for i in range(3)], [(5, 5, 5)] * 8],
    ids=["grey ramp", "short grey ramp", "one colour"],
)  # fmt: skip
def test_tables_that_say_nothing_are_passed_over(tmp_path, suffix, table, caplog):
    """A ramp shows each id as a grey: black is id 0, whichever class is black in the palette."""
    colors = ColorTable("p.txt", {(255, 0, 0): 0, (0, 0, 0): 1, (5, 5, 5): 2})
    indexed(IDS, table).save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read_label(str(tmp_path / f"a{suffix}"), colors=colors), IDS)
    assert not caplog.records


def test_an_optimized_image_of_one_colour_is_held_against_the_palette(tmp_path):
    """The table of such an image has only that colour, as index 0."""
    indexed(IDS * 0, COLORS[1:2]).save(tmp_path / "a.png")
    with pytest.raises(DatasetError, match=r"a.png: .* index 0 the colour 70 70 70, which p.txt gives to id 1"):
        read_label(str(tmp_path / "a.png"), colors=TABLE)


def test_black_and_white_masks_by_a_palette_image_are_refused(tmp_path):
    """Index 255 is white, which is the second class; read by its index, it would be ignored."""
    colors = color_table("p.txt", [(0, 0, 0), (255, 255, 255)], [], {0: 0, 1: 1, 255: 255})
    indexed(BINARY * 255, [(0, 0, 0)] * 255 + [(255, 255, 255)]).save(tmp_path / "a.png")
    with pytest.raises(DatasetError, match="index 255 the colour 255 255 255, which p.txt gives to id 1"):
        read_label(str(tmp_path / "a.png"), colors=colors)


def test_tables_of_other_colours_than_the_palette_are_warned_about_once(tmp_path, caplog):
    """An example is VOC's table with a palette that only colours the predictions: the indices are the ids."""
    table = ColorTable("p.txt", {(0, 0, 0): 0, (9, 9, 9): 1, (8, 8, 8): 2})
    for name in ("a.png", "b.png"):
        indexed(IDS, [(0, 0, 0), (128, 0, 0), (0, 128, 0)]).save(tmp_path / name)
        np.testing.assert_array_equal(read_label(str(tmp_path / name), colors=table), IDS)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    for words in ("a.png: ", "index 1 the colour 128 0 0, which is not in p.txt"):
        assert words in caplog.text


def test_colours_of_ignored_indices_need_not_be_in_the_palette(tmp_path, caplog):
    """VOC draws the borders of its objects in such a colour."""
    table = [*COLORS, *[(0, 0, 0)] * 252, (224, 224, 192)]
    ids = IDS.copy()
    ids[0] = 255
    indexed(ids, table).save(tmp_path / "a.png")
    colors = color_table("p.txt", COLORS, [], {0: 0, 1: 1, 2: 2, 255: 255})
    np.testing.assert_array_equal(read_label(str(tmp_path / "a.png"), colors=colors), ids)
    assert not caplog.records


BLACK_FIRST = ((0, 0, 0), (128, 0, 0), (255, 255, 255))


@pytest.mark.parametrize(
    "table",
    [
        [*BLACK_FIRST, *[(0, 0, 0)] * 253],
        [*BLACK_FIRST, *[(0, 0, 0)] * 252, (255, 255, 255)],
        [*BLACK_FIRST, *[(9, 9, 9)] * 252, (128, 0, 0)],
    ],
    ids=["filled up with black", "white at the end", "a class's colour at the end"],
)
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_an_ignored_index_may_have_the_colour_of_a_class(tmp_path, table, suffix, caplog):
    """`putpalette(table + [0] * (768 - len(table)))`, for example, leaves index 255 black, as the first class is."""
    ids = IDS.copy()
    ids[0], ids[1, :3] = 255, (0, 1, 2)
    indexed(ids, table).save(tmp_path / f"a{suffix}")
    colors = color_table("p.txt", BLACK_FIRST, [], {0: 0, 1: 1, 2: 2, 255: 255})
    np.testing.assert_array_equal(read_label(str(tmp_path / f"a{suffix}"), colors=colors), ids)
    assert not caplog.records


def test_an_index_of_a_class_that_is_black_contradicts(tmp_path):
    indexed(IDS, [BLACK_FIRST[0], BLACK_FIRST[1], *[(0, 0, 0)] * 254]).save(tmp_path / "a.png")
    colors = color_table("p.txt", BLACK_FIRST, [], {0: 0, 1: 1, 2: 2, 255: 255})
    with pytest.raises(DatasetError, match="index 2 the colour 0 0 0, which p.txt gives to id 0"):
        read_label(str(tmp_path / "a.png"), colors=colors)


def test_indices_of_the_same_class_by_the_label_map_are_no_contradiction(tmp_path):
    label_map = {5: 0, 6: 0, 7: 1, 0: 255}
    colors = color_table("p.txt", COLORS[:2], [(1, 1, 1)], label_map)
    table = [(1, 1, 1), *[(0, 0, 0)] * 4, COLORS[0], COLORS[0], COLORS[1]]
    ids = np.array([[0, 5, 6, 7]])
    indexed(ids, table).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label(str(tmp_path / "a.png"), colors=colors), ids)
    indexed(ids, [*table[:6], COLORS[1], COLORS[1]]).save(tmp_path / "b.png")
    with pytest.raises(DatasetError, match=r"b.png: .* index 6 the colour 70 70 70, which p.txt gives to id 7"):
        read_label(str(tmp_path / "b.png"), colors=colors)


def test_a_colour_of_two_classes_fits_the_indices_of_both(tmp_path):
    colors = color_table("p.txt", [COLORS[0], COLORS[1], COLORS[1]], [], {0: 0, 1: 1, 2: 2, 255: 255})
    indexed(IDS, [COLORS[0], COLORS[1], COLORS[1]]).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label(str(tmp_path / "a.png"), colors=colors), IDS)
    indexed(IDS, [COLORS[1], COLORS[0], COLORS[1]]).save(tmp_path / "b.png")
    with pytest.raises(DatasetError, match=r"b.png: .* index 0 the colour 70 70 70"):
        read_label(str(tmp_path / "b.png"), colors=colors)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_table_gives_the_ids_of_its_colours_or_is_refused(data):
    """If the palette has the colours of all pixels, ids by colour and by index are equal or the file is rejected."""
    palette = data.draw(st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=2, max_size=6, unique=True))
    table = data.draw(st.lists(st.sampled_from(palette), min_size=2, max_size=8))
    pixels = data.draw(st.lists(st.integers(0, len(table) - 1), min_size=1, max_size=12))
    by_color = [palette.index(table[index]) for index in pixels]
    colors = ColorTable("p", {color: index for index, color in enumerate(palette)})
    used = sorted(set(pixels))
    filled = max((i + 1 for i, color in enumerate(table) if any(color)), default=0)
    ramp = table[:filled]
    says_nothing = (len(used) > 1 and len(set(table[: used[-1] + 1])) == 1) or (
        len(ramp) > 1 and all(color == (i, i, i) for i, color in enumerate(ramp))
    )
    arguments = ("x", [channel for color in table for channel in color], lambda: used)
    for _ in range(2):  # the second time, the result for the table is cached
        if by_color == pixels or says_nothing:
            colors.check_indices(*arguments)
        else:
            with pytest.raises(DatasetError, match="^x: this palette image"):
                colors.check_indices(*arguments)


def test_a_table_is_looked_at_once_and_pixels_only_where_it_matters(monkeypatch):
    """Counting the pixels of a label by index takes longer than decoding it."""
    colors = color_table("p.txt", COLORS, [], {0: 0, 1: 1, 2: 2, 255: 255})
    flat = [channel for color in COLORS for channel in color]
    looked: list[int] = []
    monkeypatch.setattr(color_masks, "is_grey_ramp", lambda table: looked.append(len(table)))

    def used() -> list[int]:
        looked.append(-1)
        return [0, 1]

    for _ in range(3):
        colors.check_indices("x", flat, used)
    assert looked == [3]
    other = flat[:6] + flat[:3]  # index 2, which does not occur, has the colour of index 0
    for _ in range(2):
        colors.check_indices("x", other, used)
    assert looked == [3, 3, -1, -1]
    for number in range(1000):
        colors.check_indices("x", [*flat, number % 256, number // 256, 9], lambda: [0])
    assert len(colors._verdicts) <= 256


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
