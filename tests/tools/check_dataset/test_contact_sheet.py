"""Small pictures and the page of them."""

from __future__ import annotations

import numpy as np
import pytest

from database.palettes import legend
from tools.check_dataset.contact_sheet import contact_sheet, sheet_width, thumbnail

PALETTE = ((255, 0, 0), (0, 255, 0))
WHITE = 255


@pytest.mark.parametrize(
    ("size", "fitted"), [((400, 200), (40, 20)), ((100, 300), (17, 50)), ((8, 10), (40, 50)), ((1, 900), (1, 50))]
)
def test_thumbnail_fits_the_box(size, fitted):
    picture = thumbnail(np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8), PALETTE, (40, 50))
    assert picture.shape == (*fitted, 3)
    assert picture.dtype == np.uint8


def test_thumbnail_blends_the_colours_of_classes():
    """Half of the image and half of the class's colour; where ignored, half of the image and black."""
    image = np.full((4, 6, 3), (100, 50, 200), np.uint8)
    ids = np.repeat(np.array([[0, 0, 1, 1, 255, 255]], np.uint8), 4, axis=0)
    picture = thumbnail(image, ids, PALETTE, (8, 12))
    assert picture.shape == (8, 12, 3)
    for columns, color in ((slice(0, 4), (178, 25, 100)), (slice(4, 8), (50, 152, 100)), (slice(8, 12), (50, 25, 100))):
        assert np.abs(picture[:, columns].astype(int) - color).max() <= 1


def test_thumbnail_leaves_the_untinted_class_as_it_is():
    """Unlike ignored pixels, which are dark."""
    image = np.full((4, 6, 3), (100, 50, 200), np.uint8)
    ids = np.repeat(np.array([[0, 0, 1, 1, 255, 255]], np.uint8), 4, axis=0)
    picture = thumbnail(image, ids, PALETTE, (8, 12), untinted=0)
    for columns, color in ((slice(0, 4), (100, 50, 200)), (slice(4, 8), (50, 152, 100)), (slice(8, 12), (50, 25, 100))):
        assert np.abs(picture[:, columns].astype(int) - color).max() <= 1


def test_small_things_leave_a_trace():
    ids = np.zeros((400, 500), np.uint8)
    ids[:, 250:252] = 1
    picture = thumbnail(np.zeros((400, 500, 3), np.uint8), ids, PALETTE, (40, 50)).astype(int)
    assert picture[20, :, 1].max() > 10
    assert picture[20, 10, 1] == 0


@pytest.fixture
def strip():
    return legend(("road", "sky"), PALETTE, sheet_width(3, (20, 60)))


def place_of(page, color):
    """Rows and columns, first and last, that are exactly of a colour."""
    rows, columns = np.nonzero((page == color).all(axis=2))
    return (rows.min(), rows.max() + 1), (columns.min(), columns.max() + 1)


def test_sheet(strip):
    colors = [(10 * n + 10, 0, 0) for n in range(5)]
    sizes = [(20, 40), (10, 60), (5, 5), (20, 60), (20, 60)]
    pictures = [(f"n{n}", np.full((*sizes[n], 3), colors[n], np.uint8)) for n in range(5)]
    page = contact_sheet("title", pictures, strip, 3, (20, 60))
    assert page.shape[1] == sheet_width(3, (20, 60)) == strip.shape[1]
    np.testing.assert_array_equal(page[-strip.shape[0] :], strip)
    places = [place_of(page, color) for color in colors]
    assert [(rows[1] - rows[0], columns[1] - columns[0]) for rows, columns in places] == sizes
    # In a row the pictures have a common bottom line and are centred in their places, which have equal distances.
    assert places[0][0][1] == places[1][0][1] == places[2][0][1] < places[3][0][0]
    middles = [sum(columns) / 2 for _, columns in places]
    assert middles[1] - middles[0] == 72
    assert abs(middles[2] - middles[1] - 72) < 1
    assert middles[3:] == middles[:2]
    for (_, bottom), (left, right) in places:  # something is written below each
        assert page[bottom + 1 : bottom + 19, left - 5 : right + 5].min() < 200


def test_long_names_stay_in_their_place(strip):
    black = np.zeros((20, 60, 3), np.uint8)
    page = contact_sheet("title", [("x" * 500, black), ("y", black)], strip, 3, (20, 60))
    between = place_of(page, (0, 0, 0))[0][0], page.shape[0] - strip.shape[0]
    gap = page[between[0] : between[1], 12 + 60 + 1 : 12 + 60 + 11]
    assert (gap == WHITE).all()
