"""Tests the random numbers that all towers share, by means of dropout."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import utils_mg as layers
from tests.model.sessions import device_of, open_session, random_arrays, run, towers


def test_no_seed_no_dropout():
    with tf.Graph().as_default():
        xs, _ = towers(random_arrays((1, 2, 2, 1), (1, 2, 2, 1)))
        assert all(y is x for x, y in zip(xs, layers.dropout(xs, 0.5, None), strict=True))


def test_dropout_is_a_function_of_the_seed():
    with tf.Graph().as_default():
        xs, feed = towers([np.ones((4, 40, 50, 3), np.float32)])
        seed = tf.placeholder(tf.int64, [2])
        ys = layers.dropout(xs, 0.1, seed)
        with open_session() as session:
            (first,), (again,), (later,), (other,) = (
                session.run(ys, feed | {seed: value}) for value in ([7, 100], [7, 100], [7, 101], [2**40 + 7, 100])
            )
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(np.unique(first), [0, 1 / 0.9], rtol=1e-6)
    # With 6000 values, the share kept is 0.9 +- 0.0039; independent masks differ in a share of 0.18 +- 0.005.
    masks = [image for y in (first, later, other) for image in y > 0]
    for index, mask in enumerate(masks):
        assert abs(mask.mean() - 0.9) < 0.02
        for earlier in masks[:index]:
            assert abs(np.mean(mask != earlier) - 0.18) < 0.025


@pytest.mark.parametrize("known", [True, False], ids=["known sizes", "unknown sizes"])
@pytest.mark.parametrize("shape", [(4, 6, 7, 8), (4, 5, 7, 3)], ids=["whole blocks", "blocks cut short"])
@pytest.mark.parametrize("counts", [(3, 1), (1, 2, 1), (1, 1, 1, 1), (2, 0, 2)], ids=str)
def test_dropout_of_an_image_is_that_of_its_place_in_the_whole_batch(counts, shape, known):
    (images,) = random_arrays(shape)
    with tf.Graph().as_default():
        seed = tf.constant([3, 5], tf.int64)
        (one, feed), (several, more) = (
            towers([images], known=known), towers(np.split(images, np.cumsum(counts)[:-1]), known=known)
        )  # fmt: skip
        (whole,), parts = run([layers.dropout(one, 0.5, seed), layers.dropout(several, 0.5, seed)], feed | more)
    assert [len(part) for part in parts] == list(counts)
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert 0.3 < np.mean(whole == 0) < 0.7


def test_dropout_of_towers_of_different_sizes():
    """Each tower starts where the previous one ends, for any size."""
    first, second, long = random_arrays((2, 3, 5, 8), (1, 7, 4, 8), (1, 2 * 3 * 5 + 7 * 4, 8))
    with tf.Graph().as_default():
        seed = tf.constant([3, 5], tf.int64)
        (xs, feed), (whole, more) = towers([first, second], known=False), towers([long])
        parts, (expected,) = run([layers.dropout(xs, 0.5, seed), layers.dropout(whole, 0.5, seed)], feed | more)
    mask = np.concatenate([part.ravel() != 0 for part in parts])
    np.testing.assert_array_equal(mask, expected.ravel() != 0)


def test_dropout_drops_where_tensorflows_generator_is_below_the_rate():
    (x,) = random_arrays((2, 6, 7, 8))
    with tf.Graph().as_default():
        xs, feed = towers([x])
        seed = tf.constant([3, 5], tf.int64)
        (y,), uniform = run([layers.dropout(xs, 0.25, seed), tf.random.stateless_uniform(x.shape, seed)], feed)
    np.testing.assert_allclose(y, np.where(uniform < 0.25, 0, x / 0.75), rtol=1e-6)


@pytest.mark.usefixtures("half_precision")
@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_dropout_mask_is_the_same_in_half_precision(dtype):
    arrays = [np.ones((2, 20, 20, 8), np.float32)]
    with tf.Graph().as_default():
        seed = tf.constant([3, 5])
        (xs, feed), (halves, more) = towers(arrays), towers(arrays, dtype)
        dropped = layers.dropout(halves, 0.1, seed)
        assert dropped[0].dtype == dtype
        (y,), (half,) = run([layers.dropout(xs, 0.1, seed), layers.cast(dropped, tf.float32)], feed | more)
    np.testing.assert_array_equal(half > 0, y > 0)


def test_every_tower_draws_its_mask_on_its_own_device():
    with tf.Graph().as_default() as graph:
        xs, _ = towers(random_arrays((2, 3, 4, 8), (1, 3, 4, 8), (1, 3, 4, 8)), known=False)
        ys = layers.dropout(xs, 0.1, tf.constant([0, 1]))
        draws = [op.outputs[0] for op in graph.get_operations() if op.type == "StatelessRandomUniformV2"]
    assert [device_of(y) for y in ys] == [device_of(draw) for draw in draws] == [0, 1, 2]
