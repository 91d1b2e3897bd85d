"""What the ids of label files are said to look like."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database.classes import identity_map
from tools.training.label_advice import advice_on_ids, shown_ids


def advice(ids, num_classes, label_map=None):
    return advice_on_ids(ids, identity_map(num_classes) if label_map is None else label_map, num_classes)


def map_in(text: str) -> dict[int, int]:
    """The label map whose lines a piece of advice names in full, ignored ids left out."""
    return {int(file_id): int(train_id) for file_id, train_id in re.findall(r"'(\d+) (\d+)'", text)}


@pytest.mark.parametrize(
    ("ids", "words"),
    [([], ""), ([7], "7"), ([255, 0], "0 and 255"), ([0, 1, 255], "0, 1 and 255"), (range(5), "0 to 4"),
     ([*range(19), 255], "0 to 18 and 255"), (range(0, 40, 2), "0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22 and 8 more")],
)  # fmt: skip
def test_ids_in_words(ids, words):
    assert shown_ids(ids) == words


def test_binary_masks():
    assert advice([0, 255], 2) == (
        "the ids are 0 and 255 only: is 255 your second class? Give --label_map with a file of the lines '0 0', "
        "'255 1', without --ignore_label 255"
    )
    assert (
        "is 0 your first class? Give --label_map with a file of the lines '0 0', '1 1', without --ignore_label 0"
        in (advice([0, 1], 2, {0: 255, 5: 0, 1: 1}))
    )


def test_masks_of_grey_levels():
    """As many levels as classes, of which one is ignored by default and another unknown."""
    text = advice([0, 127, 255], 3)
    assert text.startswith("the ids are 0, 127 and 255 only: is each of them a class?")
    assert map_in(text) == {0: 0, 127: 1, 255: 2}
    assert map_in(advice([10, 20], 2)) == {10: 0, 20: 1}


def test_ignored_id_that_may_be_a_class_or_not():
    text = advice([0, 1, 255], 3)
    assert map_in(text) == {0: 0, 1: 1, 255: 2}
    assert text.endswith("if 255 is to be ignored, give --num_classes 2")


@pytest.mark.parametrize("ids", [[1, 2, 3], [1, 2, 3, 255], [1, 3], [2, 3, 255], [1, 2]])
def test_ids_that_begin_at_one(ids):
    text = advice(ids, 3)
    assert "do yours begin at 1?" in text
    assert map_in(text) == {1: 0, 2: 1, 3: 2}


def test_ids_with_a_background():
    text = advice([0, 1, 2, 3, 255], 3)
    assert "is 0 one of them? Give --num_classes 4; otherwise --reduce_zero_label 1, or --label_map with a file" in text
    assert "of the lines '0 ignore'," in text
    assert map_in(text) == {1: 0, 2: 1, 3: 2}


def test_fewer_ids_than_classes():
    assert advice([0, 1, 255], 5) == "the ids are 0, 1 and 255: are there 2 classes? Give --num_classes 2"
    assert advice([0], 2) == "the ids are 0 only: are these the label files?"


@pytest.mark.parametrize("ids", [[0, 35000, 70000], [-1, 0, 1], [0, 65536]])
def test_ids_that_no_label_map_may_hold(ids):
    text = advice(ids, 3)
    assert "those of label maps are 0 to 65535" in text
    assert "R + 256 G + 65536 B" in text
    assert "--label_map" not in text


@pytest.mark.parametrize("middle", [127, 128])
def test_masks_with_a_grey_border(middle):
    text = advice([0, middle, 255], 2)
    assert f"is {middle} a border to be ignored?" in text
    assert f"'{middle} ignore', '0 0', '255 1'" in text
    assert text.endswith("if each of them is a class, give --num_classes 3")


@pytest.mark.parametrize(
    ("ids", "num_classes"), [([0, 128, 255], 4), ([0, 85, 170, 255], 2), ([0, 64, 128, 191, 255], 4)]
)
def test_other_greys_from_black_to_white(ids, num_classes):
    text = advice(ids, num_classes)
    assert f"{len(ids)} greys from black to white: is each of them a class?" in text
    assert f"--num_classes {len(ids)} and --label_map" in text
    assert map_in(text) == {file_id: train_id for train_id, file_id in enumerate(ids)}


def test_many_more_ids_than_classes():
    text = advice(range(0, 256, 5), 2)
    assert "52 of them, and there are 2 classes: were the masks resized with interpolation" in text
    assert advice(range(21), 21) is None


@pytest.mark.parametrize("ids", [[0, 40, 130, 200, 255], [0, 1, 3, 60, 254, 255]])
def test_few_levels_of_smoothed_edges(ids):
    text = advice(ids, 2)
    assert "smoothed along edges" in text
    assert "'Smoothed edges' in docs/own-data.md" in text
    assert advice([0, 1, 200, 255], 2) is None


def test_many_lines_are_shortened():
    text = advice(range(1, 151), 150)
    assert text.endswith("the lines '1 0', '2 1', '3 2', '4 3', ..., '150 149'")


@pytest.mark.parametrize(
    ("ids", "num_classes"), [([0, 2], 3), ([0, 5, 9, 200], 3), ([0, 1, 2], 3), ([0, 1, 2, 255], 3)]
)
def test_ids_that_look_like_nothing_known(ids, num_classes):
    assert advice(ids, num_classes) is None


@given(st.sets(st.integers(0, 255), max_size=6), st.integers(2, 6))
def test_advised_map_has_every_class_and_one_line(ids, num_classes):
    """Whatever the ids: lines that can be pasted describe all classes, without an id twice."""
    text = advice(ids, num_classes)
    if text is not None:
        assert "\n" not in text
        advised = map_in(text)
        advised_count = re.search(r"--num_classes (\d+) and --label_map", text)
        assert sorted(advised.values()) in ([], list(range(int(advised_count[1]) if advised_count else num_classes)))
