"""Crops on a pixel of a class, against the label that the crop shows."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image

from database.augment import NUM_DRAWS, Augmentation, augment, draw_affine, draws_showing
from database.class_crops import load_class_crop
from database.layouts import Sample
from database.loading import load_sample
from tests.database.pictures import NO_MEAN, random_image

SIZE = (37, 46)
RARE = 7


def affines(draws, augmentation):
    """Returns the maps from crops to sources, float64 [n, 2, 3]: rows give column and row of the source."""
    with tf.Graph().as_default(), tf.Session() as session:
        row = tf.placeholder(tf.float32, [5])
        affine = draw_affine(row, tf.constant(SIZE), augmentation)
        return [session.run(affine, {row: values[:5]}).astype(np.float64).reshape(2, 3) for values in draws]


@pytest.mark.parametrize("max_rotation", [0.0, 20.0])
@pytest.mark.parametrize("scale_range", [(1.0, 1.0), (0.9, 2.0), (0.3, 0.6)])
@pytest.mark.parametrize("crop_size", [(11, 19), (30, 20), (60, 8)])
def test_the_crop_shows_the_pixel(crop_size, scale_range, max_rotation):
    augmentation = Augmentation(crop_size, scale_range, max_rotation, mirror=True)
    rng = np.random.default_rng(0)
    # Rotated, the corners of the source are outside the frame.
    low, high = ((0, 0), SIZE) if not max_rotation else ((9, 12), (28, 34))
    pixels = rng.integers(low, high, (40, 2))
    draws = rng.random((40, NUM_DRAWS), np.float32)
    moved = [
        draws_showing(tuple(pixel), SIZE, rng.random(2), row, augmentation)
        for pixel, row in zip(pixels, draws, strict=True)
    ]
    np.testing.assert_array_equal(np.delete(moved, [2, 3], 1), np.delete(draws, [2, 3], 1))
    for pixel, affine in zip(pixels, affines(moved, augmentation), strict=True):
        x, y = np.linalg.solve(affine[:, :2], pixel[::-1] - affine[:, 2])
        assert -0.51 <= x <= crop_size[1] - 0.49
        assert -0.51 <= y <= crop_size[0] - 0.49


def test_every_place_that_shows_the_pixel_is_equally_likely():
    augmentation = Augmentation((5, 6))
    grid = (np.arange(300) + 0.5) / 300
    draws = np.full(NUM_DRAWS, 0.5, np.float32)
    moved = np.array([draws_showing((2, 20), SIZE, np.array([at, at]), draws, augmentation) for at in grid])
    room = np.array(SIZE) - (5, 6)
    offsets = np.floor(moved[:, 2:4] * (room + 1)).astype(int)
    assert np.bincount(offsets[:, 0]).tolist() == [100, 100, 100]  # the pixel is in the third row
    assert np.bincount(offsets[:, 1]).tolist() == [0] * 15 + [50] * 6


def write_sample(folder, label):
    image_path, label_path = folder / "image.png", folder / "label.png"
    Image.fromarray(random_image(label.shape)).save(image_path)
    Image.fromarray(label).save(label_path)
    return Sample("0", str(image_path), str(label_path), {0: 0, 1: RARE, 255: 255})


def test_a_crop_from_the_rows_that_were_read_is_that_of_the_whole_image(tmp_path):
    label = np.zeros(SIZE, np.uint8)
    label[5:8, 30:33] = 1
    sample = write_sample(tmp_path, label)
    augmentation = Augmentation((9, 12), (1.0, 1.5))
    rng = np.random.default_rng(1)
    with tf.Graph().as_default(), tf.Session() as session:
        source, ids = tf.placeholder(tf.uint8, [None, None, 3]), tf.placeholder(tf.uint8, [None, None])
        draws, height = tf.placeholder(tf.float32, [NUM_DRAWS]), tf.placeholder(tf.int64, [])
        crop = augment(source, ids, draws, augmentation, NO_MEAN, height)
        for _ in range(10):
            row = rng.random(NUM_DRAWS, np.float32)
            image, found, rows, moved = load_class_crop(sample, RARE, rng.random(3), row, augmentation)
            assert rows == SIZE[0]
            part = session.run(crop, {source: image, ids: found, draws: moved, height: rows})
            whole = dict(zip((source, ids), load_sample(sample), strict=True))
            expected = session.run(crop, {**whole, draws: moved, height: rows})
            np.testing.assert_allclose(part[0], expected[0], atol=1e-3)
            np.testing.assert_array_equal(part[1], expected[1])
            assert (part[1] == RARE).any()


def test_each_pixel_of_the_class_is_chosen(tmp_path):
    label = np.zeros(SIZE, np.uint8)
    pixels = [(0, 3), (17, 40), (36, 0)]
    for pixel in pixels:
        label[pixel] = 1
    sample, augmentation = write_sample(tmp_path, label), Augmentation((1, 1))
    draws = np.full(NUM_DRAWS, 0.5, np.float32)
    found = []
    for place in (0.0, 0.33, 0.34, 0.66, 0.67, 0.999):
        moved = load_class_crop(sample, RARE, np.array([place, 0.5, 0.5]), draws, augmentation)[3]
        found.append(tuple(np.floor(moved[2:4] * SIZE).astype(int).tolist()))
    assert found == [pixel for pixel in pixels for _ in range(2)]


def test_a_label_without_the_class_leaves_the_crop_where_it_is(tmp_path):
    sample = write_sample(tmp_path, np.zeros(SIZE, np.uint8))
    draws = np.random.default_rng(2).random(NUM_DRAWS, np.float32)
    moved = load_class_crop(sample, RARE, np.zeros(3), draws, Augmentation((5, 5)))[3]
    np.testing.assert_array_equal(moved, draws)
