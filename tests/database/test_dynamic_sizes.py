"""Tests sizes of whole images: short sides, padding, and batches that are all wide or all tall."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from database.dynamic_sizes import GroupedOrder, common_size, fitted, fitted_size, padded_batch
from database.errors import DatasetError


@pytest.mark.parametrize(
    ("size", "short_side", "max_size", "expected"),
    [
        ((512, 683), 300, 1000, (300, 400)),  # 683 * 300 / 512 = 400.2
        ((683, 512), 300, 1000, (400, 300)),
        ((100, 100), 450, 1000, (450, 450)),
        ((100, 1000), 300, 1000, (100, 1000)),  # 3000 wide without the limit
        ((2000, 200), 300, 1000, (1000, 100)),
        ((1, 5000), 300, 1000, (1, 1000)),  # a fifth of a pixel is rounded up to one
    ],
)
def test_short_side_and_aspect_ratio(size, short_side, max_size, expected):
    assert fitted_size(size, short_side, max_size) == expected


def test_common_size_holds_all_in_multiples():
    assert common_size([(300, 400), (320, 360)], 8) == (320, 400)
    assert common_size([(300, 401)], 32) == (320, 416)
    assert common_size([(7, 1)], 1) == (7, 1)


def test_fitted_averages_where_it_halves():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    label = rng.integers(0, 19, (12, 16), dtype=np.uint8)
    smaller, smaller_label = fitted(image, label, (6, 8), mirrored=False)
    # A triangle with a half width of two pixels, sampled at pixel centres: (1, 3, 3, 1) / 8, cut off at the edges.
    weights = np.zeros((8, 16))
    for column in range(8):
        for offset, weight in zip((-1, 0, 1, 2), (1, 3, 3, 1), strict=True):
            if 0 <= 2 * column + offset < 16:
                weights[column, 2 * column + offset] = weight
    weights /= weights.sum(1, keepdims=True)
    rows = weights[:6, :12] / weights[:6, :12].sum(1, keepdims=True)
    expected = np.einsum("yh,xw,hwc->yxc", rows, weights, image.astype(np.float64))
    np.testing.assert_allclose(smaller, expected, atol=1.01)  # both passes round to whole numbers
    np.testing.assert_array_equal(smaller_label, label[1::2, 1::2])


def test_fitted_keeps_what_has_the_size_and_mirrors():
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    label = rng.integers(0, 256, (5, 7), dtype=np.uint8)
    for mirrored, columns in ((False, slice(None)), (True, slice(None, None, -1))):
        same, same_label = fitted(image, label, (5, 7), mirrored=mirrored)
        np.testing.assert_array_equal(same, image[:, columns])
        np.testing.assert_array_equal(same_label, label[:, columns])


def test_image_and_label_stay_on_one_grid():
    """An edge in the middle of an image stays aligned with the label's edge, enlarged or shrunk."""
    label = np.zeros((40, 60), np.uint8)
    label[:, 30:] = 1
    image = np.repeat(label[..., np.newaxis] * np.uint8(255), 3, axis=2)
    for size in ((17, 25), (40, 61), (90, 130)):
        sized, sized_label = fitted(image, label, size, mirrored=False)
        clear = np.abs(sized[..., 0].astype(int) - 127) > 100
        assert clear.mean() > 0.9
        np.testing.assert_array_equal((sized[..., 0] > 127)[clear], (sized_label == 1)[clear])


def test_padded_batch_fills_up_with_ignored_pixels():
    rng = np.random.default_rng(2)
    sizes = [(5, 9), (7, 3)]
    pairs = [(rng.integers(0, 256, (*s, 3), dtype=np.uint8), rng.integers(0, 9, s, dtype=np.uint8)) for s in sizes]
    images, labels = padded_batch(pairs, 4)
    assert images.shape == (2, 8, 12, 3)
    assert labels.shape == (2, 8, 12)
    for index, ((height, width), (image, label)) in enumerate(zip(sizes, pairs, strict=True)):
        np.testing.assert_array_equal(images[index, :height, :width], image)
        np.testing.assert_array_equal(labels[index, :height, :width], label)
        assert (labels[index, height:] == 255).all()
        assert (labels[index, :, width:] == 255).all()
        np.testing.assert_array_equal(images[index, -1, -1], image[-1, -1])


WIDE, TALL, SQUARE = (3, 5), (5, 3), (4, 4)


def batches(sizes, batch_size, numbers, seed=0):
    order = GroupedOrder(sizes, batch_size, seed)
    return [order.batch(number).tolist() for number in numbers]


def test_batches_are_all_wide_or_all_tall():
    sizes = [WIDE, TALL, SQUARE] * 10
    kinds = {size == TALL: 0 for size in sizes}
    for batch in batches(sizes, 4, range(50)):
        [is_tall] = {sizes[index] == TALL for index in batch}
        kinds[is_tall] += 1
    assert min(kinds.values()) > 0


def test_an_epoch_shows_every_image_but_what_is_left_of_a_kind():
    sizes = [WIDE] * 8 + [TALL] * 5
    left = set()
    for epoch in range(6):
        seen = Counter(index for batch in batches(sizes, 2, range(6 * epoch, 6 * epoch + 6)) for index in batch)
        assert set(seen.values()) == {1}
        [missing] = set(range(13)) - set(seen)
        left.add(missing)
    assert left <= set(range(8, 13))
    assert len(left) > 1  # not always the same one


def test_order_is_a_function_of_number_and_seed():
    sizes = [WIDE, TALL] * 9
    straight = batches(sizes, 3, range(20))
    assert batches(sizes, 3, [13, 2, 19]) == [straight[13], straight[2], straight[19]]
    assert batches(sizes, 3, range(20), seed=1) != straight
    assert batches(sizes, 3, range(20), seed=-1) != straight
    assert straight[:6] != straight[6:12]


def test_too_few_of_both_kinds():
    with pytest.raises(DatasetError, match="2 wide and 1 tall images do not fill a batch of 3.*: lower --batch_size"):
        GroupedOrder([WIDE, TALL, WIDE], 3, 0)


def test_pillows_nearest_pixel_is_the_one_whose_centre_is_nearest():
    """This keeps labels on the grid of the images: output pixel i shows source pixel floor((i + 0.5) * n / m)."""
    source = np.arange(50, dtype=np.uint8)[np.newaxis]
    for width in (7, 33, 64, 113):
        found = np.asarray(Image.fromarray(source).resize((width, 1), Image.Resampling.NEAREST))[0]
        np.testing.assert_array_equal(found, np.floor((np.arange(width) + 0.5) * 50 / width))
