"""Tests the heads: variable names, the order of concatenation, and values compared with float64."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import decoders
from tests.model import reference
from tests.model.sessions import open_session, run, towers

BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")

# Shapes of convolution variables in heads of ResNet-50 and deeper.
PYRAMID = {
    "psp/pool6/weights": [1, 1, 2048, 512],
    "psp/pool3/weights": [1, 1, 2048, 512],
    "psp/pool2/weights": [1, 1, 2048, 512],
    "psp/pool1/weights": [1, 1, 2048, 512],
    "block4/unit_4/weights": [3, 3, 4096, 512],
}
CLASSIFIER = {
    "logits/weights": [1, 1, 512, 19],
    "logits/biases": [19],
}


def _shapes() -> dict[str, list[int]]:
    """Returns the shapes of the convolution variables by name, after checking those of batch normalization."""
    shapes = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
    normalized = {name.split("/BatchNorm/")[0] for name in shapes if "/BatchNorm/" in name}
    for scope in normalized:
        depth = shapes[f"{scope}/weights"][-1:]
        assert [shapes.pop(f"{scope}/BatchNorm/{name}") for name in BATCH_NORM] == [depth] * 4
    return shapes


def test_names_of_the_pyramid_pooling_head():
    with tf.Graph().as_default():
        features = [tf.placeholder(tf.float32, [1, None, None, 2048]) for _ in range(2)]
        logits = decoders.pyramid_pooling_head(features, "resnet_v1_50", 19, "half_pixel", None)
        assert [x.shape.as_list() for x in logits] == [[1, None, None, 19]] * 2
        assert _shapes() == PYRAMID | CLASSIFIER


def test_names_of_the_pyramid_pooling_head_of_other_kernels():
    with tf.Graph().as_default():
        features = [tf.placeholder(tf.float32, [1, None, None, 2048]) for _ in range(2)]
        logits = decoders.pyramid_pooling_head(
            features, "resnet_v1_50", 19, "half_pixel", None, kernel_size=1, classifier_kernel_size=3
        )
        assert [x.shape.as_list() for x in logits] == [[1, None, None, 19]] * 2
        kernels = {"block4/unit_4/weights": [1, 1, 4096, 512], "logits/weights": [3, 3, 512, 19]}
        assert _shapes() == PYRAMID | CLASSIFIER | kernels


def test_names_of_the_head_of_one_convolution():
    with tf.Graph().as_default():
        features = [tf.placeholder(tf.float32, [1, None, None, 2048]) for _ in range(2)]
        logits = decoders.c1_head(features, "resnet_v1_101", 19)
        assert [x.shape.as_list() for x in logits] == [[1, None, None, 19]] * 2
        assert _shapes() == CLASSIFIER | {"block4/unit_4/weights": [3, 3, 2048, 512]}


def test_names_of_upernet():
    with tf.Graph().as_default():
        features = [
            [tf.placeholder(tf.float32, [1, None, None, depth]) for _ in range(2)] for depth in (256, 512, 1024, 2048)
        ]
        logits = decoders.upernet_head(features, "resnet_v1_50", 19, "half_pixel", None)
        assert [x.shape.as_list() for x in logits] == [[1, None, None, 19]] * 2
        assert _shapes() == PYRAMID | CLASSIFIER | {
            "fpn/lateral3/weights": [1, 1, 1024, 512],
            "fpn/lateral2/weights": [1, 1, 512, 512],
            "fpn/lateral1/weights": [1, 1, 256, 512],
            "fpn/output3/weights": [3, 3, 512, 512],
            "fpn/output2/weights": [3, 3, 512, 512],
            "fpn/output1/weights": [3, 3, 512, 512],
            "fpn/fusion/weights": [3, 3, 2048, 512],
        }


def test_head_of_one_convolution_equals_float64():
    rng = np.random.default_rng(3)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in ((2, 7, 8, 16), (1, 5, 9, 16))]
    with tf.Graph().as_default():
        xs, feed = towers(arrays)
        logits = decoders.c1_head(xs, "resnet_v1_18", 3, depth=8)
        weights = {v.op.name: v for v in tf.global_variables()}
        outputs, weights = run([logits, weights], feed)
    hidden = reference.batch_norm(
        [reference.conv2d(x, weights["block4/unit_3/weights"]) for x in arrays], np.ones(8), np.zeros(8)
    )
    for output, h in zip(outputs, hidden, strict=True):
        expected = reference.conv2d(np.maximum(h, 0), weights["logits/weights"]) + weights["logits/biases"]
        np.testing.assert_allclose(output, expected, atol=1e-4)


def test_depths_of_the_heads():
    with tf.Graph().as_default():
        features = [tf.placeholder(tf.float32, [1, None, None, 512])]
        decoders.pyramid_pooling_head(features, "resnet_v1_18", 19, "half_pixel", None, pyramid_depth=200, depth=96)
        decoders.auxiliary_head(features, "resnet_v1_18", 19, None, depth=40)
        shapes = _shapes()
    assert shapes["psp/pool6/weights"] == shapes["psp/pool1/weights"] == [1, 1, 512, 200]
    assert shapes["block4/unit_3/weights"] == [3, 3, 512 + 4 * 200, 96]
    assert shapes["logits/weights"] == [1, 1, 96, 19]
    assert shapes["block3/unit_3/weights"] == [3, 3, 512, 40]


@pytest.mark.parametrize(("network", "scope"), [("resnet_v1_50", "unit_7"), ("resnet_v1_101", "unit_24")])
def test_names_of_the_auxiliary_head(network, scope):
    with tf.Graph().as_default():
        logits = decoders.auxiliary_head([tf.placeholder(tf.float32, [1, 5, 5, 1024])], network, 19, None)
        assert logits[0].shape.as_list() == [1, 5, 5, 19]
        assert _shapes() == {
            f"block3/{scope}/weights": [3, 3, 1024, 256],
            "aux_logits/weights": [1, 1, 256, 19],
            "aux_logits/biases": [19],
        }


def test_pyramid_levels_equal_float64_over_uneven_towers():
    rng = np.random.default_rng(1)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in ((2, 7, 8, 16), (1, 5, 9, 16))]
    with tf.Graph().as_default():
        xs, feed = towers(arrays)
        levels = decoders.pyramid_levels(xs)
        weights = [variable for bins in (6, 3, 2, 1) for variable in tf.global_variables(f"psp/pool{bins}/weights")]
        outputs, weights = run([levels, weights], feed)
    for level, kernel, bins in zip(outputs, weights, (6, 3, 2, 1), strict=True):
        pooled = [reference.conv2d(reference.adaptive_avg_pool(x, bins), kernel) for x in arrays]
        normalized = reference.batch_norm(pooled, np.ones(4), np.zeros(4))
        for output, expected in zip(level, normalized, strict=True):
            np.testing.assert_allclose(output, np.maximum(expected, 0), atol=3e-4)


def _layer(xs: list[np.ndarray], kernel: np.ndarray) -> list[np.ndarray]:
    """Computes convolution, batch normalization over all towers and ReLU in float64."""
    convolved = [reference.conv2d(x, kernel) for x in xs]
    return [np.maximum(x, 0) for x in reference.batch_norm(convolved, np.ones(kernel.shape[-1]), np.zeros(1))]


def _like(xs: list[np.ndarray], targets: list[np.ndarray], grid: str) -> list[np.ndarray]:
    return [reference.resize_bilinear(x, *y.shape[1:3], grid) for x, y in zip(xs, targets, strict=True)]


def _concatenated(*parts: list[np.ndarray]) -> list[np.ndarray]:
    return [np.concatenate(arrays, axis=-1) for arrays in zip(*parts, strict=True)]


def _pyramid(features: list[np.ndarray], weights: dict[str, np.ndarray], grid: str, order: str) -> list[np.ndarray]:
    """Concatenates the features and the levels from six bins to one and applies the last layer, in float64."""
    levels = []
    for bins in (6, 3, 2, 1):
        averages, kernel = [reference.adaptive_avg_pool(x, bins) for x in features], weights[f"psp/pool{bins}"]
        levels.append({
            "reduce_first": lambda averages, kernel: _like(_layer(averages, kernel), features, grid),
            "upsample_first": lambda averages, kernel: _layer(_like(averages, features, grid), kernel),
        }[order](averages, kernel))  # fmt: skip
    return _layer(_concatenated(features, *levels), weights["block4/unit_3"])


def _outputs_and_kernels(logits, feed):
    weights = {v.op.name.removesuffix("/weights"): v for v in tf.trainable_variables() if v.shape.ndims == 4}
    return run([logits, weights], feed)


def _assert_classified(actual, hidden, weights):
    """Checks that the logits of each tower are its features times the classifier's weights; biases start at zero."""
    for logits, x in zip(actual, hidden, strict=True):
        expected = reference.conv2d(x, weights["logits"])
        np.testing.assert_allclose(logits, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("kernel_sizes", [(3, 1), (1, 3)])
@pytest.mark.parametrize("order", ["reduce_first", "upsample_first"])
@pytest.mark.parametrize("grid", ["half_pixel", "align_corners", "legacy"])
def test_head_sees_features_and_levels_from_six_to_one(grid, order, kernel_sizes):
    """Compares the whole head with float64, in training, over towers of different sizes."""
    rng = np.random.default_rng(2)
    features = [rng.normal(size=shape).astype(np.float32) for shape in ((2, 7, 8, 16), (1, 5, 9, 16))]
    with tf.Graph().as_default():
        xs, feed = towers(features)
        logits = decoders.pyramid_pooling_head(xs, "resnet_v1_18", 3, grid, None, 5, 12, order, *kernel_sizes)
        actual, weights = _outputs_and_kernels(logits, feed)
    assert (weights["block4/unit_3"].shape[0], weights["logits"].shape[0]) == kernel_sizes
    _assert_classified(actual, _pyramid(features, weights, grid, order), weights)


@pytest.mark.parametrize("order", ["reduce_first", "upsample_first"])
def test_upernet_equals_float64(order):
    """Compares top-down path and fusion with float64, in training, over towers of different sizes."""
    rng = np.random.default_rng(4)
    sizes = [[(2, 14, 20), (2, 7, 10), (2, 4, 5), (2, 4, 5)], [(1, 9, 12), (1, 5, 6), (1, 3, 3), (1, 3, 3)]]
    depths = (3, 5, 6, 8)
    blocks = [
        [rng.normal(size=(*tower[number], depth)).astype(np.float32) for tower in sizes]
        for number, depth in enumerate(depths)
    ]
    with tf.Graph().as_default():
        feed, xs = {}, []
        for arrays in blocks:
            tensors, more = towers(arrays)
            xs.append(tensors)
            feed |= more
        logits = decoders.upernet_head(
            xs, "resnet_v1_18", 4, "half_pixel", None, depth=7, pyramid_depth=9, pyramid_order=order
        )
        actual, weights = _outputs_and_kernels(logits, feed)
    assert weights["psp/pool3"].shape == (1, 1, 8, 9)
    top = _pyramid(blocks[3], weights, "half_pixel", order)
    outputs = [top]
    for number in (3, 2, 1):
        lateral = _layer(blocks[number - 1], weights[f"fpn/lateral{number}"])
        top = [x + y for x, y in zip(lateral, _like(top, lateral, "half_pixel"), strict=True)]
        outputs.insert(0, _layer(top, weights[f"fpn/output{number}"]))
    fused = _concatenated(*(_like(output, outputs[0], "half_pixel") for output in outputs))
    _assert_classified(actual, _layer(fused, weights["fpn/fusion"]), weights)


def test_orders_of_the_pyramid_share_their_variables():
    """Names, shapes and initial values are equal, but the logits differ."""
    features = np.random.default_rng(5).normal(size=(2, 7, 8, 16)).astype(np.float32)
    logits, variables = [], []
    for order in ("reduce_first", "upsample_first"):
        with tf.Graph().as_default():
            xs, feed = towers([features])
            head = decoders.pyramid_pooling_head(xs, "resnet_v1_18", 3, "half_pixel", None, pyramid_order=order)
            names = [v.op.name for v in tf.global_variables()]
            (output,), values = run([head, tf.global_variables()], feed)
        logits.append(output)
        variables.append(dict(zip(names, values, strict=True)))
    assert variables[0].keys() == variables[1].keys()
    for name, value in variables[0].items():
        np.testing.assert_array_equal(variables[1][name], value)
    assert np.abs(logits[1] - logits[0]).max() > 0.05 * np.abs(logits[0]).max()


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16, tf.float16])
def test_logits_are_float32(dtype):
    with tf.Graph().as_default():
        features = [tf.placeholder(dtype, [2, 6, 6, 16])]
        for logits in (
            decoders.pyramid_pooling_head(features, "resnet_v1_18", 3, "half_pixel", None),
            decoders.auxiliary_head(features, "resnet_v1_18", 3, None),
        ):
            assert logits[0].dtype == tf.float32
        assert {v.dtype.base_dtype for v in tf.global_variables()} == {tf.float32}


def test_dropout_in_both_heads_follows_the_seed():
    features = np.random.default_rng(0).normal(size=(2, 6, 6, 16)).astype(np.float32)
    with tf.Graph().as_default():
        xs, feed = towers([features])
        seed = tf.placeholder(tf.int32, [2])
        heads = [
            decoders.pyramid_pooling_head(xs, "resnet_v1_18", 3, "half_pixel", seed),
            decoders.auxiliary_head(xs, "resnet_v1_18", 3, seed),
        ]
        with open_session() as session:
            session.run(tf.global_variables_initializer())
            first, again, other = (session.run(heads, feed | {seed: value}) for value in ([0, 1], [0, 1], [0, 2]))
    for (a,), (b,), (c,) in zip(first, again, other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
        assert np.abs(a - c).max() > 1e-2
