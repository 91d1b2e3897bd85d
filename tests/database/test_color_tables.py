"""Tests that the colour tables of palette images are compared with a palette."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from database import color_masks
from database.color_masks import ColorTable, color_table
from database.errors import DatasetError
from database.images import read_label
from tests.database.color_files import BINARY, COLORS, IDS, TABLE, save


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
def test_tables_without_information_are_ignored(tmp_path, suffix, table, caplog):
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


def test_a_table_is_checked_once_and_pixels_only_where_it_matters(monkeypatch):
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
