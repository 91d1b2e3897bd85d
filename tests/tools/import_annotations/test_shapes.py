"""Which pixels shapes cover: compared with an independent rasterizer, and with areas known from geometry."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tests.tools.import_annotations.even_odd import filled
from tools.errors import AnnotationError
from tools.import_annotations import shapes
from tools.import_annotations.annotated import AnnotatedImage, Instance, box
from tools.import_annotations.drawing import covered, draw_label
from tools.import_annotations.shapes import Ellipse, Picture, Polygon, RunLengths, Shape


def pixels(shape: Shape, height: int, width: int) -> np.ndarray:
    """The covered pixels as a whole image."""
    image = np.zeros((height, width), bool)
    window = shape.covered(height, width)
    window.of(image)[...] = window.mask
    return image


def polygon(*corners: tuple[float, float]) -> Polygon:
    return Polygon(np.array(corners, float))


@pytest.mark.parametrize("step", [1.0, 0.5, 0.25, 1 / 64], ids=["whole", "half", "quarter", "fine"])
def test_random_polygons_are_those_of_the_independent_rasterizer(step):
    """Corners on centres and edges of pixels, self-intersections, and parts outside of the image are among them."""
    random = np.random.default_rng(7)
    for _ in range(25):
        corners = random.integers(-3 / step, 14 / step, (random.integers(3, 8), 2)) * step
        np.testing.assert_array_equal(pixels(Polygon(corners), 9, 11), filled(corners, 9, 11), str(corners))


def test_centres_on_left_and_upper_edges_are_inside():
    np.testing.assert_array_equal(
        pixels(box(0.5, 0.5, 2.5, 1.5), 3, 4), np.pad(np.ones((1, 2), bool), ((0, 2), (0, 2)))
    )


def test_polygons_with_common_edges_tile_the_plane():
    random = np.random.default_rng(3)
    outer = np.array([[0, 0], [13, 0], [13, 9], [0, 9]], float)
    for _ in range(50):
        middle = random.uniform(0, 9, 2)
        parts = [pixels(Polygon(np.array([outer[i], outer[(i + 1) % 4], middle])), 9, 13) for i in range(4)]
        np.testing.assert_array_equal(np.sum(parts, axis=0), np.ones((9, 13)))


def test_a_ring_within_a_ring_is_a_hole():
    """The outline, a line to the ring, the ring, and the line back."""
    ring = polygon((0, 0), (8, 0), (8, 8), (0, 8), (0, 0), (2, 2), (2, 6), (6, 6), (6, 2), (2, 2))
    expected = np.ones((8, 8), bool)
    expected[2:6, 2:6] = False
    np.testing.assert_array_equal(pixels(ring, 8, 8), expected)


def test_many_crossings_are_computed_in_groups(monkeypatch):
    random = np.random.default_rng(1)
    shape = Polygon(random.uniform(-5, 40, (60, 2)))
    whole = pixels(shape, 30, 35)
    monkeypatch.setattr(shapes, "_CROSSINGS_AT_A_TIME", 7)
    np.testing.assert_array_equal(pixels(shape, 30, 35), whole)


@pytest.mark.parametrize("corners", [[(20, 20), (30, 20), (30, 30)], [(-9, -9), (-1, -9), (-1, -1)], [(1, 1)] * 3])
def test_what_is_outside_or_without_area_covers_nothing(corners):
    assert pixels(polygon(*corners), 9, 11).sum() == 0


def test_far_corners_need_no_memory():
    assert pixels(polygon((-1e9, -1e9), (1e9, -1e9), (1e9, 1e9), (-1e9, 1e9)), 5, 6).all()


def test_a_rotated_box_is_the_polygon_of_its_corners():
    """A square that is turned by 45 degrees has its corners at half of its diagonal."""
    half = 2 * np.sqrt(2)
    corners = [(8, 8 - half), (8 + half, 8), (8, 8 + half), (8 - half, 8)]
    np.testing.assert_array_equal(pixels(box(6, 6, 10, 10, 45), 16, 16), filled(corners, 16, 16))
    np.testing.assert_array_equal(pixels(box(2, 6, 14, 10, 90), 16, 16), pixels(box(6, 2, 10, 14), 16, 16))


def test_an_ellipse_holds_the_centres_of_its_equation():
    row, column = np.mgrid[:20, :30] + 0.5
    expected = ((column - 14) / 9) ** 2 + ((row - 11) / 4) ** 2 <= 1
    np.testing.assert_array_equal(pixels(Ellipse(14, 11, 9, 4), 20, 30), expected)
    np.testing.assert_array_equal(pixels(Ellipse(11, 14, 9, 4, 90), 30, 20), expected.T)
    assert abs(pixels(Ellipse(100, 100, 60, 60), 200, 200).sum() - np.pi * 3600) < 60
    assert pixels(Ellipse(3, 3, 0, 5), 9, 9).sum() == 0
    assert pixels(Ellipse(-40, 3, 5, 5), 9, 9).sum() == 0


def test_boxes_and_ellipses_turn_clockwise():
    """By 30 degrees, the right end of a long shape goes down: to (20 + 15 cos 30, 20 + 15 sin 30)."""
    for shape in (box(4, 18, 36, 22, 30), Ellipse(20, 20, 16, 2, 30)):
        found = pixels(shape, 40, 40)
        assert found[27, 32]
        assert found[12, 7]
        assert not found[12, 32]


def test_runs_by_columns_and_by_rows():
    mask = np.random.default_rng(0).random((5, 7)) < 0.5

    def counts(values: np.ndarray) -> list[int]:
        padded = np.concatenate([[False], values.ravel(), [not values.ravel()[-1]]])
        return np.diff(np.concatenate([[0], np.flatnonzero(np.diff(padded)), [values.size]])).tolist()

    by_columns = RunLengths("x", counts(mask.T), 5, 7, by_columns=True, is_whole=True)
    by_rows = RunLengths("x", counts(mask), 5, 7, by_columns=False, top=2, left=1)
    np.testing.assert_array_equal(pixels(by_columns, 5, 7), mask)
    np.testing.assert_array_equal(pixels(by_rows, 9, 9)[2:7, 1:8], mask)
    assert pixels(by_rows, 9, 9).sum() == mask.sum()


@pytest.mark.parametrize(
    ("counts", "place", "found"),
    [
        ([3, 9], {}, "12 pixels, expected 6"),
        ([3, -1, 4], {}, "6 pixels, expected 6"),
        ([10**30], {}, "expected 6"),
        ([], {}, "0 pixels"),
        ([6], {"is_whole": True}, "3x2 pixels, expected 5x4"),
        ([6], {"left": 3}, "columns 3 to 5"),
        ([6], {"top": 3}, "rows 3 to 4"),
    ],
)
def test_runs_that_do_not_fit(counts, place, found):
    with pytest.raises(AnnotationError, match=found):
        RunLengths("a.json", counts, 2, 3, by_columns=True, **place).covered(4, 5)


def png(mask: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(mask).save(content, "PNG")
    return content.getvalue()


def test_a_picture_is_clipped_to_the_image():
    mask = np.random.default_rng(2).random((4, 6)) < 0.5
    for content in (png(mask), png(mask.astype(np.uint8)), png(mask.astype(np.uint8) * 255)):
        for top, left in ((1, 2), (-2, -3), (3, 4), (-9, 0)):
            expected = np.zeros((30, 30), bool)
            expected[10 + top : 14 + top, 10 + left : 16 + left] = mask
            found = pixels(Picture("x", content, top, left, 4, 6), 5, 7)
            np.testing.assert_array_equal(found, expected[10:15, 10:17])


def test_pictures_that_do_not_fit():
    with pytest.raises(AnnotationError, match=r"a.json.*6x4 pixels, expected 3x2"):
        Picture("a.json", png(np.ones((4, 6), bool)), 0, 0, 2, 3).covered(9, 9)
    for content in (b"", b"no image", png(np.ones((4, 6), bool))[:50], png(np.zeros((4, 6, 3), np.uint8))):
        with pytest.raises(AnnotationError, match="a.json"):
            Picture("a.json", content, 0, 0, 4, 6).covered(9, 9)


def image_of(*instances: Instance) -> AnnotatedImage:
    return AnnotatedImage("x", ("x.png",), (8, 8), instances)


def test_small_instances_are_drawn_over_large_ones_and_levels_come_first():
    small, large = Instance("s", "1", (box(2, 2, 4, 4),)), Instance("l", "2", (box(0, 0, 8, 6),))
    label = draw_label(image_of(small, large), int, 0)
    assert (label[3, 3], label[0, 0], label[7, 7]) == (1, 2, 0)
    above = Instance("l", "2", (box(0, 0, 8, 6),), level=1)
    assert draw_label(image_of(above, small), int, 0)[3, 3] == 2
    equal = Instance("e", "3", (box(2, 2, 4, 4),))
    assert draw_label(image_of(small, equal), int, 0)[3, 3] == 3
    assert draw_label(image_of(equal, small), int, 0)[3, 3] == 1


def test_ignored_instances_and_background():
    label = draw_label(image_of(Instance("s", "1", (box(2, 2, 4, 4),), is_ignored=True)), int, 7)
    assert sorted(np.unique(label)) == [7, 255]
    assert (label == 255).sum() == 4


def test_shapes_of_one_instance_are_a_union():
    """Where they overlap, the pixels stay covered."""
    both = Instance("s", "1", (box(0, 0, 4, 4), box(2, 2, 7, 9), box(20, 20, 22, 22)))
    window = covered(both, 8, 8)
    expected = pixels(box(0, 0, 4, 4), 8, 8) | pixels(box(2, 2, 7, 9), 8, 8)
    image = np.zeros((8, 8), bool)
    window.of(image)[...] = window.mask
    np.testing.assert_array_equal(image, expected)
    assert window.area == expected.sum()
