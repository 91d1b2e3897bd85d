"""Operations counted by hand."""

from __future__ import annotations

import pytest
import tensorflow.compat.v1 as tf

from tools.benchmark.flops import convolution_flops


@pytest.mark.parametrize(("stride", "pixels"), [(1, 6 * 8), (2, 3 * 4)])
def test_operations_of_a_convolution(stride, pixels):
    with tf.Graph().as_default() as graph:
        x = tf.nn.conv2d(tf.zeros([2, 6, 8, 5]), tf.zeros([3, 3, 5, 7]), stride, "SAME")
        tf.nn.conv2d(x, tf.zeros([1, 1, 7, 4]), 1, "SAME")
        assert convolution_flops(graph) == 2 * 2 * pixels * (9 * 5 * 7 + 7 * 4)


def test_dilation_costs_nothing():
    with tf.Graph().as_default() as graph:
        tf.nn.conv2d(tf.zeros([1, 9, 9, 2]), tf.zeros([3, 3, 2, 3]), 1, "SAME", dilations=2)
        assert convolution_flops(graph) == 2 * 81 * 9 * 2 * 3
