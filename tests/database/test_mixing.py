"""Cutout and class-mix against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from database.mixing import class_mix, cutout, half_of_classes
from tests.database.pictures import NEARLY_ONE, SIZE, block_label, random_image


@pytest.mark.parametrize("draws", [(0.0, 0.0), (0.5, 0.5), (0.3, 0.95), (NEARLY_ONE, NEARLY_ONE)])
@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.5, 1.0])
def test_cutout(draws, fraction):
    image, label = random_image(low=1).astype(np.float32), block_label()
    with tf.Graph().as_default(), tf.Session() as session:
        cut, cut_label = session.run(cutout(tf.constant(image), tf.constant(label), tf.constant(draws), fraction))
    side = round(fraction * min(SIZE))
    first = [int(draw * length) - side // 2 for draw, length in zip(draws, SIZE, strict=True)]
    rows, columns = (slice(max(start, 0), max(start + side, 0)) for start in first)
    expected, expected_label = image.copy(), label.copy()
    expected[rows, columns] = 0.0
    expected_label[rows, columns] = 255
    np.testing.assert_array_equal(cut, expected)
    np.testing.assert_array_equal(cut_label, expected_label)


def mixed(label, other_label, scores):
    """Mixes crops whose images are their labels, and returns (image, label)."""
    with tf.Graph().as_default(), tf.Session() as session:
        arrays = [
            array
            for ids in (label, other_label)
            for array in (tf.constant(np.stack([ids] * 3, -1).astype(np.float32)), tf.constant(ids.astype(np.int32)))
        ]
        image, ids = session.run(class_mix(*arrays, tf.constant(scores, tf.float32)))
    assert image.dtype == np.float32
    assert ids.dtype == np.int32
    return image, ids


@pytest.mark.parametrize("ids", [[3], [0, 254], [1, 2, 3], [0, 5, 9, 100, 254], []])
def test_half_of_the_classes_are_pasted_at_their_place(ids):
    rng = np.random.default_rng(len(ids))
    label = rng.choice([0, 50, 255], SIZE).astype(np.int32)
    other = rng.choice([*ids, 255], SIZE).astype(np.int32)
    scores = rng.random(255)
    image, found = mixed(label, other, scores)
    chosen = sorted(ids, key=lambda train_id: scores[train_id])[: (len(ids) + 1) // 2]
    expected = np.where(np.isin(other, chosen), other, label)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(image, np.stack([expected] * 3, -1))


def test_each_half_is_equally_likely():
    scores = np.random.default_rng(3).random((600, 255), np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        row = tf.placeholder(tf.float32, [255])
        chosen = half_of_classes(tf.constant([[4, 8], [15, 255]]), row)
        halves = [tuple(np.flatnonzero(session.run(chosen, {row: values}))) for values in scores]
    times = {half: halves.count(half) for half in set(halves)}
    assert times.keys() == {(4, 8), (4, 15), (8, 15)}
    assert min(times.values()) > 150
