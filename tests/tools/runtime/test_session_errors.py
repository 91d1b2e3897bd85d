"""Errors of sessions in one line."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tools.errors import OutOfMemoryError
from tools.runtime.session_errors import memory_limits_named, reason


def failure(fetch, feed=None):
    """What a session raises."""
    with tf.Session() as session, pytest.raises(tf.errors.OpError) as caught:
        session.run(fetch, feed)
    return caught.value


def test_reason_is_without_the_place_in_the_graph():
    with tf.Graph().as_default():
        size = tf.placeholder(tf.int32, [])
        error = failure(tf.reshape(tf.zeros([6]), [size, size]), {size: 4})
    assert "\n" in error.message
    assert reason(error) == "Input to reshape is a tensor with 6 values, but the requested shape has 16"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (tf.errors.DataLossError(None, None, "checksum\n  differs"), "checksum differs"),
        (ValueError("word " * 100), ("word " * 100)[:200]),
    ],
)
def test_reason_without_a_stack(error, expected):
    assert reason(error) == expected


@pytest.mark.slow
def test_memory_that_is_not_there():
    with tf.Graph().as_default(), tf.Session() as session:
        size = tf.placeholder(tf.int32, [2])
        large = tf.random.uniform(size)
        with (
            pytest.raises(OutOfMemoryError) as caught,
            memory_limits_named("8 crops of 713x713 per tower", "lower --batch_size"),
        ):
            session.run(large, {size: [2**30, 2**20]})
    line = str(caught.value)
    assert line.startswith("out of memory with 8 crops of 713x713 per tower (")
    assert "shape[1073741824,1048576] and type float on /job:localhost/replica:0/task:0/device:CPU:0)" in line
    assert line.endswith(": lower --batch_size")


def test_memory_that_ran_out_without_a_tensor():
    error = tf.errors.ResourceExhaustedError(None, None, "Failed to allocate memory\nfor the batch")
    words = r"out of memory with a crop \(Failed to allocate memory for the batch\): lower it"
    with pytest.raises(OutOfMemoryError, match=words), memory_limits_named("a crop", "lower it"):
        raise error


def test_memory_that_numpy_does_not_find():
    with pytest.raises(OutOfMemoryError) as caught, memory_limits_named("an image", "make it smaller"):
        np.zeros((2**30, 2**30), np.float32)
    assert str(caught.value).startswith("out of memory with an image (Unable to allocate 4.00 EiB for an array")
    assert str(caught.value).endswith("): make it smaller")
    with pytest.raises(OutOfMemoryError, match=r"with an image \(MemoryError\): "), memory_limits_named("an image", ""):
        raise MemoryError


def test_other_errors_stay_what_they_are():
    with pytest.raises(tf.errors.InternalError), memory_limits_named("a crop", "lower it"):
        raise tf.errors.InternalError(None, None, "broken")
