"""Tests colours, legends, panels and palette files."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from database import palettes
from database.classes import CITYSCAPES_CLASSES, CITYSCAPES_LABEL_MAP
from database.datasets import custom_dataset, get_dataset
from database.errors import PaletteError

# The 21 colours as in the PASCAL VOC documentation.
VOC_21 = (
    (0, 0, 0),
    (128, 0, 0),
    (0, 128, 0),
    (128, 128, 0),
    (0, 0, 128),
    (128, 0, 128),
    (0, 128, 128),
    (128, 128, 128),
    (64, 0, 0),
    (192, 0, 0),
    (64, 128, 0),
    (192, 128, 0),
    (64, 0, 128),
    (192, 0, 128),
    (64, 128, 128),
    (192, 128, 128),
    (0, 64, 0),
    (128, 64, 0),
    (0, 192, 0),
    (128, 192, 0),
    (0, 64, 128),
)
RED_GREEN = ((255, 0, 0), (0, 255, 0))


def test_tables_have_one_distinct_colour_per_class():
    assert len(set(palettes.CITYSCAPES)) == len(palettes.CITYSCAPES) == 19
    assert len(set(palettes.CAMVID)) == len(palettes.CAMVID) == 11


def test_voc_palette():
    assert palettes.voc_palette(21) == VOC_21
    whole = palettes.voc_palette(256)
    assert len(set(whole)) == 256
    assert whole[:21] == VOC_21
    assert whole[255] == (224, 224, 192)


@pytest.mark.parametrize("num_colors", [0, 257])
def test_voc_palette_range(num_colors):
    with pytest.raises(ValueError, match=f"1 to 256 colours, not {num_colors}"):
        palettes.voc_palette(num_colors)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_colorize_gives_ids_outside_the_palette_the_ignore_color(dtype):
    outside = -1 if np.issubdtype(dtype, np.signedinteger) else 200
    ids = np.array([[0, 1, 2], [255, outside, 1]]).astype(dtype)
    colors = palettes.colorize(ids, RED_GREEN, ignore_color=(9, 9, 9))
    red, green, ignored = (255, 0, 0), (0, 255, 0), (9, 9, 9)
    assert colors.dtype == np.uint8
    np.testing.assert_array_equal(colors, [[red, green, ignored], [ignored, ignored, green]])
    assert palettes.colorize(ids, RED_GREEN)[1, 0].tolist() == [0, 0, 0]


def test_overlay():
    image, colors = np.full((2, 3, 3), 100, np.uint8), np.full((2, 3, 3), 201, np.uint8)
    assert np.unique(palettes.overlay(image, colors, alpha=0.0)).tolist() == [100]
    assert np.unique(palettes.overlay(image, colors, alpha=1.0)).tolist() == [201]
    quarter = palettes.overlay(image, colors, alpha=0.25)
    assert quarter.dtype == np.uint8
    assert np.unique(quarter).tolist() == [125]
    with pytest.raises(ValueError, match=r"\[2, 2, 3\] on an image \[2, 3, 3\]"):
        palettes.overlay(image, colors[:, :2])


def test_overlay_leaves_untinted_pixels():
    image, colors = np.full((1, 3, 3), 100, np.uint8), np.full((1, 3, 3), 200, np.uint8)
    blended = palettes.overlay(image, colors, untinted=np.array([[True, False, True]]))
    assert (blended.dtype, blended[0, :, 0].tolist()) == (np.uint8, [100, 150, 100])


def test_class_0_is_untinted_only_if_no_colours_were_chosen():
    names, colors = palettes.default_classes(3)
    assert palettes.untinted_class(names, colors) == 0
    assert colors == palettes.voc_palette(4)[1:]  # no colour is that of ignored pixels
    assert palettes.untinted_class(names, ((1, 2, 3), *colors[1:])) is None
    assert palettes.untinted_class(("road", *names[1:]), colors) is None
    assert palettes.untinted_class(["class_0"] * 300, ((0, 0, 0),) * 300) is None
    for name in ("Cityscapes", "ADE", "SBD", "CamVid"):
        dataset = get_dataset(name)
        assert palettes.untinted_class(dataset.class_names, dataset.palette) is None


def test_to_label_ids_of_cityscapes():
    train_ids = np.array([[0, 1, 10, 18, 255, 254, 19, -1]])
    label_ids = palettes.to_label_ids(train_ids, CITYSCAPES_LABEL_MAP)
    assert label_ids.dtype == np.uint8
    np.testing.assert_array_equal(label_ids, [[7, 8, 23, 33, 0, 0, 0, 0]])


def test_to_label_ids_takes_the_smallest_id_and_255_where_0_is_a_class():
    label_map = {9: 0, 0: 0, 5: 1, 3: 1, 7: 255}
    label_ids = palettes.to_label_ids(np.array([[0, 1, 2, 255]]), label_map)
    np.testing.assert_array_equal(label_ids, [[0, 3, 255, 255]])


def colors_in(picture: np.ndarray) -> set[tuple[int, ...]]:
    """Returns the colours of areas as large as a swatch, which excludes outlines and the smoothed edges of letters."""
    colors, counts = np.unique(picture.reshape(-1, 3), axis=0, return_counts=True)
    return {tuple(color) for color in colors[counts >= 140].tolist()}


def test_legend_shows_every_class_or_the_present_ones():
    whole = palettes.legend(CITYSCAPES_CLASSES, palettes.CITYSCAPES, 400)
    assert whole.dtype == np.uint8
    assert whole.shape[1:] == (400, 3)
    assert set(palettes.CITYSCAPES) <= colors_in(whole)
    present = np.array([0, 18, 255, 0])
    some = palettes.legend(CITYSCAPES_CLASSES, palettes.CITYSCAPES, 400, present=present)
    assert colors_in(some) == {palettes.CITYSCAPES[0], palettes.CITYSCAPES[18], (255, 255, 255)}
    assert some.shape[0] < whole.shape[0]


def test_legend_wraps_inside_its_width():
    wide, narrow = (palettes.legend(CITYSCAPES_CLASSES, palettes.CITYSCAPES, width) for width in (2500, 300))
    assert narrow.shape[0] > wide.shape[0]
    assert (narrow[:, -1] == 255).all()
    single = palettes.legend(["a name that is much wider than the legend"], RED_GREEN, 60)
    assert single.shape[:2] == (wide.shape[0], 60)


def test_legend_of_nothing_is_white():
    empty = palettes.legend(CITYSCAPES_CLASSES, palettes.CITYSCAPES, 50, present=[])
    assert colors_in(empty) == {(255, 255, 255)}


def test_side_by_side_places_panels_and_legend():
    first, second = np.full((20, 30, 3), 10, np.uint8), np.full((12, 16, 3), 20, np.uint8)
    panels = [("first", first), ("second", second)]
    width = palettes.panels_width(panels, gap=4)
    assert width == 4 + 30 + 4 + 16 + 4
    strip = np.full((5, width, 3), 30, np.uint8)
    composed = palettes.side_by_side(panels, strip, gap=4)
    top = composed.shape[0] - 5 - 4 - 20
    assert composed.shape == (top + 20 + 4 + 5, width, 3)
    np.testing.assert_array_equal(composed[top : top + 20, 4:34], first)
    np.testing.assert_array_equal(composed[top : top + 12, 38:54], second)
    np.testing.assert_array_equal(composed[-5:], strip)
    assert (composed[top:-5, 34:38] == 255).all()
    assert (composed[:top] < 128).any(), "titles are drawn above the panels"


def test_side_by_side_without_legend_and_with_one_of_another_width():
    panels = [("", np.zeros((4, 6, 3), np.uint8))]
    without_legend = palettes.side_by_side(panels)
    below = palettes.side_by_side(panels, np.zeros((3, 40, 3), np.uint8))
    assert without_legend.shape[1] == 6 + 2 * 8
    assert below.shape == (without_legend.shape[0] + 3, 40, 3)


PALETTES = st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=256, unique=True)


@settings(deadline=None, max_examples=30)
@given(PALETTES, st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_different_colours_give_back_the_ids(palette, height, width, seed):
    ids = np.random.default_rng(seed).integers(0, len(palette), (height, width))
    colours = palettes.colorize(ids, tuple(palette))
    number_of = {color: index for index, color in enumerate(palette)}
    found = [number_of[tuple(color)] for color in colours.reshape(-1, 3).tolist()]
    np.testing.assert_array_equal(np.reshape(found, ids.shape), ids)


@settings(deadline=None, max_examples=30)
@given(st.permutations(range(256)), st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_training_ids_turn_back_into_the_ids_of_the_files(file_ids, num_classes, seed):
    label_map = {255: 255, **{file_id: index for index, file_id in enumerate(i for i in file_ids if i != 255)}}
    label_map = {file_id: train_id for file_id, train_id in label_map.items() if train_id < num_classes}
    ids = np.random.default_rng(seed).choice(list(label_map), (5, 7))
    train_ids = np.vectorize(label_map.get)(ids)
    np.testing.assert_array_equal(palettes.to_label_ids(train_ids, label_map), ids)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PALETTES)
def test_palettes_that_are_written_are_read(tmp_path, palette):
    (tmp_path / "colors.txt").write_text("".join(f"{red} {green} {blue}\n" for red, green, blue in palette))
    (tmp_path / "colors.json").write_text(json.dumps([{"color": color} for color in palette]))
    for name in ("colors.txt", "colors.json"):
        assert palettes.read_palette(str(tmp_path / name), len(palette))[:2] == (None, tuple(palette))


def test_read_palette_text(tmp_path):
    path = tmp_path / "colors.txt"
    path.write_text("# my classes\n\n255 0 0 traffic light\n0 255\t0\n")
    assert palettes.read_palette(str(path), 2)[:2] == (("traffic light", "class_1"), RED_GREEN)
    path.write_text("255 0 0\n0 255 0\n")
    assert palettes.read_palette(str(path), 2)[:2] == (None, RED_GREEN)


@pytest.mark.parametrize(
    "text", ["0 0 0 2 wheels\n1 0 0 car\n", "0 0 0 2 wheels\n9 0 0 4 wheels\n", "#ff0000\n0 0 0 2 wheels\n1 0 0\n"]
)
def test_names_that_begin_with_a_number(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    names = palettes.read_palette(str(tmp_path / "a.txt"), 2).class_names
    assert names is not None
    assert names[0] == "2 wheels"


def test_the_advice_on_a_column_of_ids_mends_the_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("# all\n0 0 0 0 bg\n 1 200 0 0 red\n255 9 9 9 ignore\n")
    with pytest.raises(PaletteError) as caught:
        palettes.read_palette(str(path), 2)
    program = str(caught.value).partition("by sed -E ")[2].split("'")[1]
    subprocess.run(["sed", "-E", "-i", program, path], check=True)
    assert palettes.read_palette(str(path), 2) == (("bg", "red"), ((0, 0, 0), (200, 0, 0)), ((9, 9, 9),))


def test_a_comment_after_a_name_is_warned_about(tmp_path, caplog):
    path = tmp_path / "colors.txt"
    path.write_text("255 0 0 road  # or lane\n0 255 0 C#\n")
    assert palettes.read_palette(str(path), 2)[:2] == (("road  # or lane", "C#"), RED_GREEN)
    [message] = caplog.messages
    assert message.startswith(f"{path}, line 1: the class is named 'road  # or lane': ")


def test_two_classes_of_one_colour_are_warned_about(tmp_path, caplog):
    path = tmp_path / "colors.txt"
    path.write_text("255 0 0 road\n255 0 0 lane\n")
    assert palettes.read_palette(str(path), 2)[:2] == (("road", "lane"), ((255, 0, 0), (255, 0, 0)))
    [message] = caplog.messages
    assert message.startswith(f"{path}, line 2: class 1 has the same colour as class 0, 255 0 0")


def test_a_palette_file_is_read_once(tmp_path, caplog):
    """Its warnings are therefore logged only once."""
    path = tmp_path / "colours.txt"
    path.write_text("255 0 0 road  # or lane\n0 255 0 sky\n0 0 0 ignore\n")
    dataset = custom_dataset(2, palette_file=str(path))
    assert (dataset.palette, dataset.ignored_colors) == (RED_GREEN, ((0, 0, 0),))
    assert [message.partition(":")[0] for message in caplog.messages] == [f"{path}, line 1"]


def test_read_palette_json(tmp_path):
    path = tmp_path / "colors.JSON"
    named = [{"name": "stop", "color": [255, 0, 0]}, {"name": "go", "color": [0, 255, 0]}]
    path.write_text(json.dumps(named))
    assert palettes.read_palette(str(path), 2)[:2] == (("stop", "go"), RED_GREEN)
    path.write_text(json.dumps([{"color": [255, 0, 0]}, {"color": [0, 255, 0]}]))
    assert palettes.read_palette(str(path), 2)[:2] == (None, RED_GREEN)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "1 2 3\n", "a.txt: found 1 colour, expected 2, one per class: change the file$"),
        (
            "a.txt",
            "1 2 3\n4 5 6\n7 8 9\n",
            "found 3 colours, expected 2, .*: give --num_classes 3, or change",
        ),
        ("a.txt", "1 2 3\n1 2 256 x\n", "a.txt, line 2: found colour .*256.*0..255"),
        ("a.txt", "1 2 3\n\n-1 2 3\n", "a.txt, line 3: found colour .*-1"),
        ("a.txt", "1 2 3 a\n\n4 5 6 a\n", "a.txt, line 3: class 1 has the same name as class 0, 'a'"),
        ("a.txt", "1 2 3 class_1\n4 5 6\n", "a.txt, line 2: class 1 has the same name as class 0, 'class_1'"),
        (
            "a.json",
            '[{"name": "a", "color": [1, 2, 3]}, {"name": "a ", "color": [4, 5, 6]}]',
            "a.json, entry 2: class 1 has the same name as class 0, 'a'",
        ),
        (
            "a.json",
            '[{"color": [1, 2, 3]},\n{"color": [4, 5, 6], "color": [1, 2, 3]}]',
            "a.json, line 2: 'color' is already given in line 2",
        ),
        ("a.txt", "# ids\n0 0 0 0 bg\n1 200 0 0 red\n", "a.txt: the lines look like 'id R G B name'.*first column"),
        ("a.txt", "1 0 0 0\n2\t200 0 0\n255 255 255 255 ignore\n", "a.txt: the lines look like 'id R G B name'"),
        ("a.txt", "#000000 bg\n#C80a00 red\n", "found 0 colours.*; lines .* # are comments, so line 1, '#000000 bg'"),
        ("a.txt", "0 0 0 bg\n#C80a00 red\n", "found 1 colour, .* line 2, '#C80a00 red', .* '200 10 0', without #"),
        ("a.txt", "1 2\n", "a.txt, line 1: found colour"),
        ("a.txt", "road 1 2 3\n", "a.txt, line 1: found colour .*road"),
        ("a.json", "[\n{]", "a.json, line 2: not JSON"),
        ("a.json", '{"color": [1, 2, 3]}', "a.json: expected a JSON list"),
        ("a.json", "[[1, 2, 3], [4, 5, 6]]", "a.json: expected a JSON list"),
        ("a.json", '[{"color": [1, 2, 3]}, {"color": [1, 2, true]}]', "a.json, entry 2: found colour"),
        ("a.json", '[{"name": "x"}]', "a.json, entry 1: found colour None"),
        ("a.json", "[]", "a.json: found 0 colours"),
    ],
)
def test_read_palette_names_file_and_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(PaletteError, match=message) as caught:
        palettes.read_palette(str(tmp_path / name), 2)
    assert "\n" not in str(caught.value)


def test_read_palette_unreadable(tmp_path):
    with pytest.raises(PaletteError, match="absent.txt: the palette file cannot be read .No such file"):
        palettes.read_palette(str(tmp_path / "absent.txt"), 2)
    (tmp_path / "latin.txt").write_bytes("1 2 3 a\n4 5 6 Straße\n".encode("latin-1"))
    with pytest.raises(PaletteError, match="latin.txt, line 2, byte 19: 0xDF is not UTF-8"):
        palettes.read_palette(str(tmp_path / "latin.txt"), 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_label_ids_of_training_ids_of_any_type(dtype):
    """NumPy 2.5 raises if bytes are compared with numbers that do not fit into a byte."""
    ids = palettes.to_label_ids(np.array([[0, 1, 255]], dtype), {7: 0, 11: 1, 0: 255})
    np.testing.assert_array_equal(ids, [[7, 11, 0]])
    assert ids.dtype == np.uint8
