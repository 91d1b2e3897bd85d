"""Operations counted by hand."""

from __future__ import annotations

import pytest
import tensorflow.compat.v1 as tf

from tools.runtime.flops import convolution_flops, flops_per_image


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


def test_grouped_and_depthwise_convolutions_count_the_channels_of_their_groups():
    with tf.Graph().as_default() as graph:
        x = tf.zeros([2, 6, 8, 12])
        tf.nn.conv2d(x, tf.zeros([3, 3, 3, 8]), 1, "SAME")
        tf.nn.depthwise_conv2d(x, tf.zeros([3, 3, 12, 1]), [1, 2, 2, 1], "SAME")
        assert convolution_flops(graph) == 2 * 2 * (6 * 8 * 9 * 3 * 8 + 3 * 4 * 9 * 12)


def test_operations_of_an_image():
    """Two towers of 2 and 3 images; what the outputs do not depend on does not count."""
    with tf.Graph().as_default():
        kernel = tf.zeros([3, 3, 5, 7])
        towers = [tf.nn.conv2d(tf.zeros([images, 6, 8, 5]), kernel, 1, "SAME") for images in (2, 3)]
        tf.nn.conv2d(towers[0], tf.zeros([1, 1, 7, 4]), 1, "SAME")
        assert flops_per_image([tf.nn.relu(tower) for tower in towers]) == 2 * 6 * 8 * 9 * 5 * 7


def test_images_of_several_sizes_have_no_count():
    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [2, None, None, 3])
        assert flops_per_image([tf.nn.conv2d(images, tf.zeros([1, 1, 3, 4]), 1, "SAME")]) is None
