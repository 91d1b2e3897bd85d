"""Tests which part of a source a crop is made from, and that no more is needed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from database.augment import NUM_DRAWS, Augmentation, augment, draw_affine, rows_shown
from database.warping import inside_source, part_shown, shows_only_source
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


@ROTATIONS
def test_the_part_shown_is_all_that_a_crop_reads(max_rotation):
    """The content of the rest of the source does not change the crop; and the rest is most of the source."""
    size = (90, 120)
    augmentation = replace(EVERYTHING, crop_size=(20, 30), scale_range=(1.0, 2.0), max_rotation=max_rotation)
    image, label = random_image(size), block_label(size)
    shares = []
    with tf.Graph().as_default(), tf.Session() as session:
        draws = tf.placeholder(tf.float32, [NUM_DRAWS])
        part = part_shown(draw_affine(draws[:5], tf.constant(size), augmentation), tf.constant(size), (20, 30))
        source, ids = tf.placeholder(tf.uint8, image.shape), tf.placeholder(tf.uint8, size)
        crops = augment(source, ids, draws, augmentation, NO_MEAN)
        for values in np.random.default_rng(8).random((12, NUM_DRAWS), dtype=np.float32):
            (row, column), (height, width) = session.run(part, {draws: values})
            shown = np.s_[row : row + height, column : column + width]
            other_image, other_label = 255 - image, np.full_like(label, 99)
            other_image[shown], other_label[shown] = image[shown], label[shown]
            expected = session.run(crops, {draws: values, source: image, ids: label})
            actual = session.run(crops, {draws: values, source: other_image, ids: other_label})
            np.testing.assert_array_equal(actual[0], expected[0])
            np.testing.assert_array_equal(actual[1], expected[1])
            shares.append(height * width / label.size)
    assert np.mean(shares) < 0.2


@ROTATIONS
def test_a_crop_shows_only_the_source_exactly_where_it_is_said_to(max_rotation):
    augmentation = replace(EVERYTHING, crop_size=(30, 38), max_rotation=max_rotation)
    with tf.Graph().as_default(), tf.Session() as session:
        row = tf.placeholder(tf.float32, [5])
        affine = draw_affine(row, tf.constant(SIZE), augmentation)
        fetches = [check(affine, tf.constant(SIZE), (30, 38)) for check in (shows_only_source, inside_source)]
        found = [session.run(fetches, {row: values}) for values in np.random.default_rng(9).random((60, 5))]
    complete = [only for only, inside in found if inside.all()]
    assert not any(only for only, inside in found if not inside.all())
    assert np.mean(complete) > 0.9
    assert 5 < len(complete) < 55


@ROTATIONS
@pytest.mark.parametrize("crop_size", [(20, 25), (60, 30), (120, 90)])
def test_the_first_rows_of_a_source_are_enough(max_rotation, crop_size):
    """Such crops equal those of the whole source bit for bit."""
    size, augmentation = (90, 120), replace(EVERYTHING, crop_size=crop_size, max_rotation=max_rotation)
    image, label = random_image(size), block_label(size)
    with tf.Graph().as_default(), tf.Session() as session:
        draws = tf.placeholder(tf.float32, [NUM_DRAWS])
        source, ids = tf.placeholder(tf.uint8, [None, None, 3]), tf.placeholder(tf.uint8, [None, None])
        crops = augment(source, ids, draws, augmentation, NO_MEAN, tf.constant(size[0], tf.int64))
        for values in np.random.default_rng(10).random((20, NUM_DRAWS), dtype=np.float32):
            rows = rows_shown(values, size[0], augmentation)
            expected = session.run(crops, {draws: values, source: image, ids: label})
            actual = session.run(crops, {draws: values, source: image[:rows], ids: label[:rows]})
            np.testing.assert_array_equal(actual[0], expected[0])
            np.testing.assert_array_equal(actual[1], expected[1])


def test_rows_that_are_missing_where_a_crop_shows_them_are_no_black_ones():
    augmentation = Augmentation((20, 20), (1.0, 1.0))
    with tf.Graph().as_default(), tf.Session() as session:
        image, label = tf.zeros([30, 40, 3], tf.uint8), tf.zeros([30, 40], tf.uint8)
        draws = tf.constant(draws_for(row=NEARLY_ONE))
        crop = augment(image, label, draws, augmentation, NO_MEAN, tf.constant(60))
        with pytest.raises(tf.errors.InvalidArgumentError):
            session.run(crop)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    st.integers(1, 3000),
    st.integers(1, 1200),
    st.floats(0.0, NEARLY_ONE, width=32),
    st.floats(0.0, NEARLY_ONE, width=32),
    st.sampled_from([(0.5, 2.0), (1.0, 1.0), (0.25, 0.75), (1.0, 8.0)]),
)
def test_rows_shown_are_those_of_the_crop_and_few_more(height, crop, scale, row, scale_range):
    """They include the last row that the crop shows, by the reference's map."""
    augmentation = Augmentation((crop, 1), scale_range)
    draws = draws_for(scale=scale, row=row)
    rows = rows_shown(draws, height, augmentation)
    matrix = reference.affine_map(draws, (height, 1), augmentation)
    last = (matrix @ (0.0, crop - 1.0, 1.0))[1]
    assert min(math.floor(last) + 3, height) <= rows <= height
    assert rows <= max(last, 0.0) + 3 * matrix[1, 1] + 7
