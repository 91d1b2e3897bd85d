"""Layers against PyTorch's modules, value and gradient."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import torch
from torch import nn

from model import pooling, resizing
from model import utils_mg as layers
from tests.differences import relative_difference
from tests.model.sessions import open_session, run, towers
from tests.parity.memory_order import from_torch, kernel_from_torch, to_torch

BOUND = 1e-5


def _arrays(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def _value_and_gradient(layer: Callable, x: np.ndarray, dy: np.ndarray, known: bool) -> list[np.ndarray]:
    """`layer(xs)` and the gradient of sum(layer(xs) * dy) in x, from a graph of its own."""
    with tf.Graph().as_default():
        xs, feed = towers([x], known=known)
        (y,) = layer(xs)
        return run([y, *tf.gradients(y, xs, tf.constant(dy))], feed)


def _torch_value_and_gradient(layer: Callable, x: np.ndarray, dy: np.ndarray) -> list[np.ndarray]:
    tensor = to_torch(x).requires_grad_()
    y = layer(tensor)
    y.backward(to_torch(dy))
    return [from_torch(y), from_torch(tensor.grad)]


@pytest.mark.parametrize("known", [True, False], ids=["known sizes", "unknown sizes"])
@pytest.mark.parametrize("size", [(60, 60), (59, 61), (13, 7), (7, 8), (4, 5), (1, 2)], ids=str)
@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_adaptive_average_pooling(bins, size, known, record_property):
    x, dy = _arrays((2, *size, 5), (2, bins, bins, 5))
    results = _value_and_gradient(lambda xs: pooling.adaptive_avg_pool(xs, [bins])[0], x, dy, known)
    difference = relative_difference(results, _torch_value_and_gradient(nn.AdaptiveAvgPool2d(bins), x, dy))
    record_property("value and gradient", difference)
    assert difference < BOUND


GRIDS = {"half_pixel": False, "align_corners": True}
SIZES = [((6, 6), (60, 60)), ((3, 3), (59, 61)), ((60, 45), (473, 353)), ((9, 6), (4, 11)), ((5, 7), (5, 7)),
         ((1, 1), (7, 9)), ((1, 4), (6, 1))]  # fmt: skip


@pytest.mark.parametrize("known", [True, False], ids=["known sizes", "unknown sizes"])
@pytest.mark.parametrize(("size", "new_size"), SIZES, ids=str)
@pytest.mark.parametrize("grid", GRIDS)
def test_bilinear_resize(grid, size, new_size, known, record_property):
    x, dy = _arrays((2, *size, 3), (2, *new_size, 3))

    def resize(xs):
        return resizing.resize_bilinear(xs, [tf.constant(dy)], grid)

    torch_resize = nn.Upsample(new_size, mode="bilinear", align_corners=GRIDS[grid])
    results = _value_and_gradient(resize, x, dy, known)
    difference = relative_difference(results, _torch_value_and_gradient(torch_resize, x, dy))
    record_property(f"{grid}, value and gradient", difference)
    assert difference < BOUND


@pytest.mark.parametrize(("kernel_size", "stride", "rate"), [(7, 2, 1), (3, 2, 1), (3, 1, 2), (3, 1, 4), (1, 2, 1)])
@pytest.mark.parametrize("size", [(17, 24), (12, 9)], ids=str)
def test_convolution(kernel_size, stride, rate, size, record_property):
    """PyTorch pads by hand, rate * (kernel_size // 2) on each side, as its ResNets do."""
    torch.manual_seed(0)
    torch_layer = nn.Conv2d(3, 8, kernel_size, stride, rate * (kernel_size // 2), rate, bias=False)
    x, dy = _arrays((2, *size, 3), (2, *(-(-length // stride) for length in size), 8))
    with tf.Graph().as_default():
        xs, feed = towers([x])
        (y,) = layers.conv2d(xs, 8, kernel_size, stride, rate, scope="layer")
        (weights,) = tf.trainable_variables()
        gradients = tf.gradients(y, [*xs, weights], tf.constant(dy))
        with open_session() as session:
            weights.load(kernel_from_torch(torch_layer.weight), session)
            results = session.run([y, *gradients], feed)
    expected = _torch_value_and_gradient(torch_layer, x, dy)
    difference = relative_difference(results, [*expected, kernel_from_torch(torch_layer.weight.grad)])
    record_property("value and gradients", difference)
    assert difference < BOUND


def _torch_batch_norm(xs: list[np.ndarray], dys: list[np.ndarray], decay: float) -> list[np.ndarray]:
    """y, dx, dgamma, dbeta and the running statistics of one step on the pixels of all towers, [1, C, pixels, 1]."""
    layer = nn.BatchNorm2d(xs[0].shape[-1], eps=1e-5, momentum=1 - decay)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(1.0, 6.0))
        layer.bias.copy_(torch.arange(5.0))
    y, dx = _torch_value_and_gradient(layer, _pixels(xs), _pixels(dys))
    others = (layer.weight.grad, layer.bias.grad, layer.running_mean, layer.running_var)
    return [y, dx, *(tensor.numpy() for tensor in others)]


def _pixels(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([array.reshape(1, -1, 1, array.shape[-1]) for array in arrays], axis=1)


@pytest.mark.parametrize("num_towers", [1, 4])
def test_batch_normalization_in_training(num_towers, record_property):
    """Towers together are one batch of PyTorch; its momentum is the share of the new, ours, the decay, of the old."""
    shapes = [(2, 9, 8, 5), (1, 7, 11, 5), (3, 4, 4, 5), (1, 1, 9, 5)][:num_towers]
    arrays = _arrays(*shapes, *shapes)
    inputs, dys = arrays[:num_towers], arrays[num_towers:]
    with tf.Graph().as_default():
        xs, feed = towers(inputs)
        ys = layers.batch_norm(xs, decay=0.9)
        gamma, beta, mean, variance = tf.global_variables()
        gradients = tf.gradients(ys, [*xs, gamma, beta], [tf.constant(dy) for dy in dys])
        with open_session() as session:
            session.run(tf.global_variables_initializer())
            gamma.load(np.arange(1, 6), session)
            beta.load(np.arange(5), session)
            ys, gradients, _ = session.run([ys, gradients, tf.get_collection(tf.GraphKeys.UPDATE_OPS)], feed)
            averages = session.run([mean, variance])
    results = [_pixels(ys), _pixels(gradients[:num_towers]), *gradients[num_towers:], *averages]
    difference = relative_difference(results, _torch_batch_norm(inputs, dys, 0.9))
    record_property("outputs, gradients and running statistics", difference)
    assert difference < BOUND
