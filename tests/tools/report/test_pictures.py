"""The choice of images, and their encoding, against NumPy and Pillow."""

from __future__ import annotations

import base64
import io
import math
import zlib

import numpy as np
import pytest
from PIL import Image

from tools.report.pictures import BEST, MEDIAN, UNSCORED, WORST, Views, choose_images, encode, packed

NAN = math.nan


@pytest.mark.parametrize(
    ("scores", "count", "expected"),
    [
        ([0.1, 0.9, 0.5, 0.7, 0.3], 1, [(BEST, 1), (MEDIAN, 2), (WORST, 0)]),
        (
            [0.1, NAN, 0.9, 0.5, 0.7, 0.3, 0.6],
            2,
            [(BEST, 2), (BEST, 4), (MEDIAN, 6), (MEDIAN, 3), (WORST, 5), (WORST, 0)],
        ),
        ([0.4], 3, [(BEST, 0)]),
        ([0.4, 0.2], 3, [(BEST, 0), (WORST, 1)]),
        ([0.4, 0.2, 0.3], 3, [(BEST, 0), (MEDIAN, 2), (WORST, 1)]),
        ([NAN] * 7, 1, [(UNSCORED, 0), (UNSCORED, 3), (UNSCORED, 6)]),
        ([NAN], 2, [(UNSCORED, 0)]),
        ([], 2, []),
    ],
)
def test_choice(scores, count, expected):
    assert choose_images(scores, count) == expected


def views_of(height: int, width: int, runs: int = 1, seed: int = 0) -> Views:
    rng = np.random.default_rng(seed)
    ids = [rng.integers(0, 19, (height, width)).astype(np.uint8) for _ in range(runs + 1)]
    ids[0][0, 0] = 255
    return Views(rng.integers(0, 256, (height, width, 3)).astype(np.uint8), ids[0], ids[1:])


def unpacked(text: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)


def test_ids_come_back():
    ids = np.random.default_rng(0).integers(0, 256, (7, 5)).astype(np.uint8)
    np.testing.assert_array_equal(unpacked(packed(ids)).reshape(7, 5), ids)
    np.testing.assert_array_equal(unpacked(packed(ids[:, ::2])).reshape(7, 3), ids[:, ::2])


def test_small_pictures_keep_their_pixels():
    views = views_of(40, 60, runs=2)
    [encoded], side = encode([views], 10**7)
    assert (encoded.height, encoded.width, side) == (40, 60, 640)
    np.testing.assert_array_equal(unpacked(encoded.truth).reshape(40, 60), views.truth)
    for text, ids in zip(encoded.predictions, views.predictions, strict=True):
        np.testing.assert_array_equal(unpacked(text).reshape(40, 60), ids)
    picture = Image.open(io.BytesIO(base64.b64decode(encoded.image.removeprefix("data:image/jpeg;base64,"))))
    assert picture.size == (60, 40)
    assert abs(np.asarray(picture).astype(int).mean() - views.image.mean()) < 3


@pytest.mark.parametrize("size", [(1000, 700), (700, 1280), (641, 3)])
def test_large_pictures_are_reduced_with_the_nearest_ids(size):
    views = views_of(*size).reduced(640)
    assert max(views.image.shape[:2]) == 640
    assert views.image.shape[:2] == views.truth.shape == views.predictions[0].shape
    original = views_of(*size).truth
    for row, column in ((0, 0), (views.truth.shape[0] - 1, views.truth.shape[1] - 1), (300, 1)):
        if row < views.truth.shape[0]:
            place = [int((at + 0.5) * old / new) for at, old, new in
                     zip((row, column), original.shape, views.truth.shape, strict=True)]  # fmt: skip
            assert views.truth[row, column] == original[tuple(place)]


def test_pictures_stay_below_a_limit():
    views = [views_of(640, 640, seed=seed) for seed in range(3)]
    lengths = {}
    for limit in (10**7, 10**6, 3 * 10**5, 5 * 10**4):
        encoded, side = encode(views, limit)
        assert sum(view.length for view in encoded) <= limit
        lengths[limit] = (len(encoded), side)
    assert lengths[10**7] == (3, 640)
    assert lengths[10**6][1] < 640
    assert lengths[5 * 10**4][0] < 3


def test_without_a_label():
    views = views_of(10, 10)
    [encoded], _ = encode([Views(views.image, None, views.predictions)], 10**6)
    assert encoded.truth is None
