"""What labelme's files say arrives in the labels; damaged ones are refused."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import pytest
from PIL import Image

from tests.tools.import_annotations.annotation_files import (
    LARGE,
    SIZE,
    SQUARE,
    imported,
    label_of,
    labelme,
    read,
    refused,
    shape,
    square_in_large,
)
from tests.tools.import_annotations.even_odd import filled


def test_labelme_polygons_in_order_of_area(tmp_path, photos):
    text = labelme([shape("cat", SQUARE), shape("dog", LARGE)])
    np.testing.assert_array_equal(read(tmp_path, photos, "labelme", text), square_in_large(1, 2))
    assert (tmp_path / "out/palette.txt").read_text().splitlines()[1:] == [
        "0 0 0 background", "128 0 0 cat", "0 128 0 dog",
    ]  # fmt: skip


def test_labelme_rectangles_and_circles(tmp_path, photos):
    text = labelme([shape("box", [[6, 5.6], [2.2, 1]], "rectangle"), shape("ring", [[9, 4], [9, 6]], "circle")])
    row, column = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    expected = np.zeros(SIZE)
    expected[filled([(2.2, 1), (6, 1), (6, 5.6), (2.2, 5.6)], *SIZE)] = 1
    expected[np.hypot(column - 9, row - 4) <= 2] = 2
    np.testing.assert_array_equal(read(tmp_path, photos, "labelme", text), expected)


@pytest.mark.parametrize("kind", ["rectangle", "oriented_rectangle"])
def test_labelme_rectangle_of_four_points(kind, tmp_path, photos):
    text = labelme([shape("x", SQUARE, kind)])
    np.testing.assert_array_equal(read(tmp_path, photos, "labelme", text), filled(SQUARE, *SIZE))


def test_labelme_masks_keep_their_holes(tmp_path, photos):
    mask = np.ones((4, 5), np.uint8)
    mask[1:3, 2] = 0
    content = io.BytesIO()
    Image.fromarray(mask).save(content, "PNG")
    encoded = base64.b64encode(content.getvalue()).decode()
    text = labelme([shape("x", [[3.0, 2.0], [7.0, 5.0]], "mask", mask=encoded)])
    expected = np.zeros(SIZE)
    expected[2:6, 3:8] = mask
    np.testing.assert_array_equal(read(tmp_path, photos, "labelme", text), expected)


def test_labelme_groups_are_one_instance(tmp_path, photos):
    """Two squares of one group have more pixels together than the box that one of them covers alone."""
    left, right, middle = (
        [[0, 0], [4, 0], [4, 4], [0, 4]],
        [[7, 0], [11, 0], [11, 4], [7, 4]],
        [[2, 0], [7, 0], [7, 4], [2, 4]],
    )  # noqa: E501
    grouped = labelme([shape("x", left, group_id=1), shape("x", right, group_id=1), shape("y", middle)])
    assert read(tmp_path, photos, "labelme", grouped)[1, 3] == 2
    (tmp_path / "out").rename(tmp_path / "grouped")
    alone = labelme([shape("x", left), shape("x", right), shape("y", middle)])
    assert read(tmp_path, photos, "labelme", alone)[1, 3] == 1


def test_labelme_labels_with_a_meaning(tmp_path, photos):
    text = labelme(
        [shape("x", LARGE), shape("__ignore__", SQUARE), shape("_background_", [[0, 0], [1, 0], [1, 1], [0, 1]])]
    )  # noqa: E501
    found = read(tmp_path, photos, "labelme", text)
    expected = square_in_large(255, 1)
    expected[0, 0] = 0
    np.testing.assert_array_equal(found, expected)


def test_labelme_folder_with_paths_of_another_system(tmp_path, photos):
    annotations = tmp_path / "json"
    (annotations / "sub").mkdir(parents=True)
    (annotations / "a.json").write_text(labelme([shape("x", SQUARE)], r"..\photos\a.png"))
    (annotations / "sub/b.json").write_text(labelme([shape("y", SQUARE)], "../../elsewhere/b.png"))
    assert imported("labelme", annotations, photos, tmp_path / "out") == 0
    assert label_of(tmp_path / "out").max() == 1
    assert label_of(tmp_path / "out", "sub/b.png").max() == 2


@pytest.mark.parametrize("kind", ["line", "linestrip", "point", "points", "cuboid", None, ["polygon"]])
def test_labelme_shapes_without_area_are_refused(kind, tmp_path, photos, capsys):
    text = labelme([shape("x", SQUARE), shape("x", [[1, 1], [2, 2]], kind)])
    message = refused(tmp_path, photos, "labelme", text, capsys)
    assert "shape 1" in message
    assert "polygon, rectangle, circle, mask" in message


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[]", "list"),
        ("{", "not JSON"),
        (labelme([shape("x", [[1, 1], [2, 2]])]), "4 coordinates"),
        (labelme([shape("x", [[1, 1], [2, 2], [math.nan, 3]])]), "nan"),
        (labelme([shape("x", [[1, 1], [2, 2], [1e300, 3]])]), "1e+300"),
        (labelme([shape("x", [[1, 1], [2, 2], [True, 3]])]), "True"),
        (labelme([shape("x", [[1, 1, 1]])]), "[x, y]"),
        (labelme([shape("x", 5)]), "'points' is 5"),
        (labelme([shape(None, SQUARE)]), "'label' is 'None'"),
        (labelme([shape("  ", SQUARE)]), "'label'"),
        (labelme([shape("x", [[1, 1]], "circle")]), "found 1 points, expected 2"),
        (labelme([shape("x", [[5, 5], [1, 1]], "mask", mask="")]), "ends before it begins"),
        (labelme([shape("x", [[1, 1], [5, 5]], "mask", mask="%%")]), "not base64"),
        (labelme([shape("x", [[1, 1], [5, 5]], "mask", mask=7)]), "not base64"),
        (labelme([shape("x", [[1, 1], [5, 5]], "mask")]), "'mask'"),
        (labelme(5), "'shapes' is 5"),
        (labelme([], imagePath=None), "'imagePath'"),
        (labelme([], imageHeight=None), "'imageHeight'"),
        (labelme([], imageWidth=0), "'imageWidth' is '0'"),
        (labelme([], imageWidth=1.5), "'imageWidth' is '1.5'"),
        (labelme([shape("x", SQUARE)], imageWidth=11), "11x8 pixels"),
        (labelme([shape("x", SQUARE)], imageWidth=8, imageHeight=12), "EXIF"),
        (labelme([shape("x", SQUARE)], "c.png"), "c.png is no file"),
        (labelme([]), "found 1 classes"),
    ],
)
def test_damaged_labelme_is_refused(text, named, tmp_path, photos, capsys):
    message = refused(tmp_path, photos, "labelme", text, capsys)
    assert named in message
    assert str(tmp_path) in message or "classes" in message


def test_no_labelme_files(tmp_path, photos, capsys):
    (tmp_path / "empty").mkdir()
    assert imported("labelme", tmp_path / "empty", photos, tmp_path / "out") == 2
    assert "no .json" in capsys.readouterr().err
