"""Tests the augmentation against SciPy, float64 NumPy and examples computed by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from database.augment import NUM_DRAWS, Augmentation, augment, draw_affine
from database.warping import inside_source, shows_only_source, warp
from tests.database import reference
from tests.database.pictures import (
    EVERYTHING,
    NEARLY_ONE,
    NO_MEAN,
    ROTATIONS,
    SIZE,
    block_label,
    draws_for,
    random_image,
)
from tests.differences import relative_difference


def run_warps(image, label, draws, augmentation):
    """Returns one (image, label with 255 outside, inside) for each row of draws."""
    with tf.Graph().as_default(), tf.Session() as session:
        row = tf.placeholder(tf.float32, [5])
        affine = draw_affine(row, tf.constant(label.shape), augmentation)
        arguments = tf.constant(image), tf.constant(label), affine, tf.constant(label.shape), augmentation.crop_size
        crop, crop_label = tf.cond(
            shows_only_source(affine, tf.constant(label.shape), augmentation.crop_size),
            lambda: warp(*arguments, upright=augmentation.is_upright),
            lambda: warp(*arguments),
        )
        inside = inside_source(affine, tf.constant(label.shape), augmentation.crop_size)
        fetches = crop, tf.where_v2(inside, crop_label, np.uint8(255)), inside
        return [session.run(fetches, {row: values[:5]}) for values in draws]


def run_warp(image, label, draws, augmentation):
    return run_warps(image, label, [draws], augmentation)[0]


def run_augments(image, label, draws, augmentation, image_mean=NO_MEAN):
    """Returns one (image, label) for each row of draws."""
    with tf.Graph().as_default(), tf.Session() as session:
        row = tf.placeholder(tf.float32, [NUM_DRAWS])
        crop = augment(tf.constant(image), tf.constant(label), row, augmentation, image_mean)
        return [session.run(crop, {row: values}) for values in draws]


def run_augment(image, label, draws, augmentation, image_mean=NO_MEAN):
    return run_augments(image, label, [draws], augmentation, image_mean)[0]


def run_affines(draws, source_size, augmentation):
    """Computes the maps [n, 6] of the draws [n, 5]."""
    with tf.Graph().as_default(), tf.Session() as session:
        draws = tf.constant(draws, tf.float32)
        return session.run(tf.map_fn(lambda row: draw_affine(row, source_size, augmentation), draws))


@pytest.mark.parametrize("scale", [0.5, 0.73, 1.37, 2.0])
def test_scaling_is_scipys_zoom_of_pixel_areas(scale, record_property):
    image, label = random_image(), block_label()
    frame = (round(SIZE[0] * scale), round(SIZE[1] * scale))
    augmentation = Augmentation(frame, (scale, scale))
    crop, crop_label, inside = run_warp(image, label, draws_for(), augmentation)
    options = {"mode": "nearest", "grid_mode": True}
    factors = np.array(frame) / SIZE
    expected = ndimage.zoom(image.astype(np.float64), (*factors, 1.0), order=1, **options)
    record_property("image", relative_difference(crop, expected))
    assert relative_difference(crop, expected) < 1e-4
    clear = reference.warp(image, label, draws_for(), augmentation)[3]
    np.testing.assert_array_equal(crop_label[clear], ndimage.zoom(label, factors, order=0, **options)[clear])
    assert inside.all()


@pytest.mark.parametrize(("draw", "degrees"), [(0.0, -40.0), (0.25, -20.0), (0.625, 10.0), (0.875, 30.0)])
def test_rotation_is_scipys_rotation(draw, degrees, record_property):
    image, label = random_image(), block_label()
    crop, crop_label, inside = run_warp(image, label, draws_for(rotation=draw), Augmentation(SIZE, max_rotation=40.0))
    expected = ndimage.rotate(image.astype(np.float64), degrees, reshape=False, order=1, mode="nearest")
    record_property("image", relative_difference(crop, expected))
    assert relative_difference(crop, expected) < 1e-4
    expected_label = ndimage.rotate(label, degrees, reshape=False, order=0, cval=255)
    # SciPy's outside begins at the outer pixel centres, half a pixel before ours.
    away_from_edge = ndimage.binary_erosion(inside) | ~inside
    assert (crop_label == expected_label)[away_from_edge].mean() > 0.999


@pytest.mark.parametrize("size", [(3, 3), (5, 7)])
@pytest.mark.parametrize(("draw", "quarter_turns"), [(0.0, -1), (NEARLY_ONE, 1)])
def test_a_quarter_turn_goes_about_the_centre(size, draw, quarter_turns):
    label = np.arange(size[0] * size[1], dtype=np.uint8).reshape(size)
    image = np.stack([label, 2 * label, 3 * label], axis=-1)
    augmentation = Augmentation((size[1], size[0]), max_rotation=90.0)
    # The rotated source is as large as the crop, but its frame is not, so the crop's position in the frame matters.
    crop, crop_label, _ = run_warp(image, label, draws_for(rotation=draw, column=0.5), augmentation)
    middle = slice((size[1] - size[0]) // 2, (size[1] + size[0]) // 2)
    turned, turned_label = (np.rot90(pixels, quarter_turns) for pixels in (image, label))
    np.testing.assert_array_equal(crop_label[middle], turned_label[middle])
    np.testing.assert_allclose(crop[middle], turned[middle], atol=1e-3)


def test_the_centre_of_the_source_stays_in_place_under_rotation():
    label = np.zeros((9, 13), np.uint8)
    label[4, 6] = 77
    angles = np.linspace(0.0, NEARLY_ONE, 9)
    draws = [draws_for(rotation=angle, row=NEARLY_ONE, column=NEARLY_ONE) for angle in angles]
    for _, crop_label, _ in run_warps(
        random_image(label.shape), label, draws, Augmentation((7, 10), max_rotation=180.0)
    ):
        assert crop_label[4 - 2, 6 - 3] == 77


def test_mirroring_is_a_flip():
    image, label = random_image(), block_label()
    augmentation = Augmentation(SIZE, mirror=True)
    draws = [draws_for(mirror=draw) for draw in (0.0, 0.499, 0.5, NEARLY_ONE)]
    crops = run_warps(image, label, draws, augmentation)
    for (crop, crop_label, inside), flipped in zip(crops, (True, True, False, False), strict=True):
        np.testing.assert_array_equal(crop, np.flip(image, 1) if flipped else image)
        np.testing.assert_array_equal(crop_label, np.flip(label, 1) if flipped else label)
        assert inside.all()


def test_no_mirror_unless_asked_for():
    crop, _, _ = run_warp(random_image(), block_label(), draws_for(mirror=0.0), Augmentation(SIZE))
    np.testing.assert_array_equal(crop, random_image())


# Without rotation, another kernel samples.
@ROTATIONS
@pytest.mark.parametrize("crop_size", [(20, 25), (37, 46), (61, 30), (90, 120), (1, 1)])
def test_all_together_matches_scipy(crop_size, max_rotation):
    image, label = random_image(), block_label()
    augmentation = replace(EVERYTHING, crop_size=crop_size, max_rotation=max_rotation)
    many_draws = np.random.default_rng(2).random((8, 5), dtype=np.float32)
    crops = run_warps(image, label, many_draws, augmentation)
    for draws, (crop, crop_label, inside) in zip(many_draws, crops, strict=True):
        expected, expected_label, expected_inside, clear = reference.warp(image, label, draws, augmentation)
        # Without rotation, whole rows or columns can lie where rounding decides.
        assert clear.mean() > (0.98 if max_rotation else 0.95) or clear.size == 1
        np.testing.assert_allclose(crop, expected, atol=0.05)
        np.testing.assert_array_equal(crop_label[clear], expected_label[clear])
        np.testing.assert_array_equal(inside[clear], expected_inside[clear])


@ROTATIONS
def test_a_mirrored_crop_is_the_flip_of_the_unmirrored_one(max_rotation):
    image, label = random_image(), block_label()
    draws = np.random.default_rng(3).random((8, 5), dtype=np.float32)
    draws[:, 4] = [0.9, 0.1] * 4
    draws[1::2, :4] = draws[::2, :4]
    crops = run_warps(image, label, draws, replace(EVERYTHING, max_rotation=max_rotation))
    for plain, mirrored in zip(crops[::2], crops[1::2], strict=True):
        np.testing.assert_allclose(mirrored[0], np.flip(plain[0], 1), atol=0.05)
        assert (mirrored[1] == np.flip(plain[1], 1)).mean() > 0.999


@ROTATIONS
def test_image_and_label_move_together(record_property, max_rotation):
    label = block_label((60, 80), block=15)
    painted = np.repeat(label[..., np.newaxis], 3, axis=-1)
    border = ndimage.maximum_filter(label, 3) != ndimage.minimum_filter(label, 3)
    borders = np.repeat(border[..., np.newaxis], 3, axis=-1)
    augmentation = replace(EVERYTHING, crop_size=(50, 70), max_rotation=max_rotation)
    many_draws = np.random.default_rng(4).random((8, 5), dtype=np.float32)
    crops = run_warps(painted, label, many_draws, augmentation)
    for draws, (crop, crop_label, inside) in zip(many_draws, crops, strict=True):
        interior = inside & (reference.warp(borders, label, draws, augmentation)[0][..., 0] == 0)
        assert interior.sum() > 0.5 * inside.sum()
        difference = relative_difference(crop[..., 0][interior], crop_label[interior])
        record_property("label painted as an image", difference)
        assert difference < 1e-5


def test_a_source_smaller_than_the_crop_is_centred_in_it():
    image, label = random_image((4, 6), low=1), block_label((4, 6), block=2)
    crop, crop_label = run_augment(image, label, draws_for(row=0.9, column=0.1), Augmentation((8, 11)))
    expected, expected_label = np.zeros((8, 11, 3)), np.full((8, 11), 255)
    expected[2:6, 3:9], expected_label[2:6, 3:9] = image, label
    np.testing.assert_array_equal(crop, expected)
    np.testing.assert_array_equal(crop_label, expected_label)


def test_corners_turned_in_are_the_mean_and_ignored():
    image, label = random_image(low=200), block_label()
    augmentation = Augmentation(SIZE, max_rotation=45.0, jitter_colors=True, gaussian_blur=True)
    draws = draws_for(rotation=0.0, colors=(0.6, 0.5, 0.4), blur=(0.0, 0.9))
    crop, crop_label = run_augment(image, label, draws, augmentation, (10.0, 20.0, 30.0))
    outside = ~reference.warp(image, label, draws, augmentation)[2]
    assert outside[[0, 0, -1, -1], [0, -1, 0, -1]].all()
    np.testing.assert_array_equal(crop_label == 255, outside)
    np.testing.assert_array_equal((crop == 0.0).all(axis=-1), outside)


def test_ignored_pixels_of_the_source_keep_their_image():
    image, label = random_image(low=1), block_label()
    label[5:20, 8:30] = 255
    crop, crop_label = run_augment(image, label, draws_for(), Augmentation(SIZE))
    np.testing.assert_array_equal(crop_label, label)
    np.testing.assert_array_equal(crop, image)


def test_identity_returns_the_pixels_less_the_mean():
    image, label = random_image(), block_label()
    mean = (123.68, 116.779, 103.939)
    crop, crop_label = run_augment(image, label, draws_for(), Augmentation(SIZE), mean)
    np.testing.assert_array_equal(crop, image.astype(np.float32) - np.array(mean, np.float32))
    np.testing.assert_array_equal(crop_label, label)


sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))
eighths = st.integers(0, 7).map(lambda number: number / 8.0)


@pytest.mark.parametrize("max_rotation", [0.0, 45.0, 90.0])
def test_ids_are_never_mixed_and_image_and_label_end_at_the_same_pixel(max_rotation):
    augmentation = Augmentation((8, 9), (0.5, 2.0), max_rotation, mirror=True)
    with tf.Graph().as_default(), tf.Session() as session:
        image, label = tf.placeholder(tf.uint8, [None, None, 3]), tf.placeholder(tf.uint8, [None, None])
        draws = tf.placeholder(tf.float32, [NUM_DRAWS])
        crops = augment(image, label, draws, augmentation, NO_MEAN)

        @settings(max_examples=60, deadline=None, derandomize=True, database=None)
        @given(size=sizes, values=st.lists(eighths, min_size=NUM_DRAWS, max_size=NUM_DRAWS))
        def check(size, values):
            ids = np.random.default_rng(5).choice([3, 50, 120], size).astype(np.uint8)
            feed = {image: random_image(size, low=1), label: ids, draws: values}
            crop, crop_label = session.run(crops, feed)
            assert set(np.unique(crop_label)) <= {*np.unique(ids), 255}
            np.testing.assert_array_equal((crop == 0.0).all(axis=-1), crop_label == 255)

        check()


@pytest.mark.parametrize("draw", [0.0, NEARLY_ONE])
def test_image_and_label_end_at_the_same_pixel_where_the_edge_falls_between_two(draw):
    size = (5, 4)  # a quarter turn puts this source's edges on pixel centres
    label = np.arange(20, dtype=np.uint8).reshape(size)
    crop, crop_label = run_augment(
        random_image(size, low=1), label, draws_for(rotation=draw), Augmentation((7, 7), max_rotation=90.0)
    )
    np.testing.assert_array_equal((crop == 0.0).all(axis=-1), crop_label == 255)


def test_scale_draws_span_the_range():
    augmentation = Augmentation((50, 50), (0.5, 2.0))
    draws = np.stack([draws_for(scale=draw)[:5] for draw in (0.0, 0.5, NEARLY_ONE)])
    affines = run_affines(draws, (100, 200), augmentation)
    np.testing.assert_allclose(affines[:, 0], [1 / 0.5, 1 / 1.25, 1 / 2.0], rtol=1e-6)
    np.testing.assert_allclose(affines[:, 4], [1 / 0.5, 1 / 1.25, 1 / 2.0], rtol=1e-6)
    np.testing.assert_array_equal(affines[:, [1, 3]], 0.0)


def test_rotation_draws_span_the_range_to_either_side():
    draws = np.stack([draws_for(rotation=draw)[:5] for draw in (0.0, 0.5, NEARLY_ONE)])
    affines = run_affines(draws, (30, 30), Augmentation((30, 30), max_rotation=10.0))
    angles = np.degrees(np.arctan2(affines[:, 3], affines[:, 0]))
    np.testing.assert_allclose(angles, [-10.0, 0.0, 10.0], atol=1e-4)


def test_crops_reach_every_place_equally_often_and_no_other():
    grid = (np.arange(36) + 0.5) / 36
    grid = np.array([0.0, *grid[1:-1], NEARLY_ONE])
    draws = np.stack([draws_for(row=row, column=column)[:5] for row in grid for column in grid])
    affines = run_affines(draws, (10, 13), Augmentation((8, 8)))
    np.testing.assert_array_equal(affines[:, [0, 1, 3, 4]], np.tile([1.0, 0.0, 0.0, 1.0], (36 * 36, 1)))
    places, counts = np.unique(affines[:, [5, 2]], axis=0, return_counts=True)
    np.testing.assert_array_equal(places, [(row, column) for row in range(3) for column in range(6)])
    np.testing.assert_array_equal(counts, 36 * 36 // 18)


@pytest.mark.parametrize("length", [16, 17, 1000, 2048, 4095])
def test_the_last_place_of_a_crop_is_not_overshot(length):
    draws = draws_for(row=NEARLY_ONE, column=NEARLY_ONE)[np.newaxis, :5]
    affine = run_affines(draws, (length, length), Augmentation((1, 1)))[0]
    np.testing.assert_array_equal(affine[[2, 5]], length - 1)


def test_types_and_shapes_are_static():
    with tf.Graph().as_default():
        image = tf.placeholder(tf.uint8, [None, None, 3])
        label = tf.placeholder(tf.uint8, [None, None])
        crop, crop_label = augment(image, label, tf.zeros([NUM_DRAWS]), EVERYTHING, (1.0, 2.0, 3.0))
        assert (crop.dtype, crop.shape.as_list()) == (tf.float32, [33, 40, 3])
        assert (crop_label.dtype, crop_label.shape.as_list()) == (tf.int32, [33, 40])


@pytest.mark.parametrize(("draw", "blurs"), [(0.0, True), (0.499, True), (0.5, False), (NEARLY_ONE, False)])
def test_half_of_the_draws_blur(draw, blurs):
    image, augmentation = random_image(), Augmentation(SIZE, gaussian_blur=True)
    crop, _ = run_augment(image, block_label(), draws_for(blur=(draw, 0.5)), augmentation)
    expected = reference.gaussian_blur(image, 0.2 + 0.5 * 1.3) if blurs else image
    np.testing.assert_allclose(crop, expected, atol=1e-3)


@ROTATIONS
def test_the_whole_chain_matches_scipy_and_numpy(max_rotation):
    image, label, mean = random_image(), block_label(), (72.0, 83.0, 73.0)
    many_draws = np.random.default_rng(7).random((6, NUM_DRAWS), dtype=np.float32)
    augmentation = replace(EVERYTHING, max_rotation=max_rotation)
    crops = run_augments(image, label, many_draws, augmentation, mean)
    for draws, (crop, crop_label) in zip(many_draws, crops, strict=True):
        expected, expected_label, inside, clear = reference.warp(image, label, draws, augmentation)
        expected = reference.jitter_colors(expected, inside, draws[5:8].astype(np.float64))
        if draws[8] < 0.5:
            expected = reference.gaussian_blur(expected, 0.2 + 1.3 * float(draws[9]))
        expected = np.where(inside[..., np.newaxis], expected - mean, 0.0)
        np.testing.assert_allclose(crop[clear], expected[clear], atol=0.2)
        np.testing.assert_array_equal(crop_label[clear], expected_label[clear])
