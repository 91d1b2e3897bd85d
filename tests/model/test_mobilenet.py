"""MobileNetV2: plan of the units, variable names, ReLU6, and that dense output, subsampled, equals strided output."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import tf_slim as slim

from model import choices, encoders, mobilenet
from model import utils_mg as layers
from model.errors import ConventionError
from tests.differences import relative_difference
from tests.model.sessions import open_session, towers

NETWORK = "mobilenet_v2"
# The paper's table 2, one row per unit: expansion, output channels, stride.
UNITS = [
    (1, 16, 1), (6, 24, 2), (6, 24, 1),
    (6, 32, 2), (6, 32, 1), (6, 32, 1),
    (6, 64, 2), (6, 64, 1), (6, 64, 1), (6, 64, 1), (6, 96, 1), (6, 96, 1), (6, 96, 1),
    (6, 160, 2), (6, 160, 1), (6, 160, 1), (6, 320, 1),
]  # fmt: skip
BLOCK_ENDS = (3, 6, 13, 17)
# Strides of units 4, 7 and 14, then the dilation of the units of blocks 3 and 4, the first of each and the others.
SPACINGS = {
    ("contracted", 32): ((2, 2, 2), (1, 1), (1, 1)),
    ("contracted", 16): ((2, 2, 1), (1, 1), (1, 2)),
    ("contracted", 8): ((2, 1, 1), (1, 2), (2, 4)),
    ("reference", 16): ((2, 2, 1), (1, 1), (2, 2)),
    ("reference", 8): ((2, 1, 1), (2, 2), (4, 4)),
}


def test_sizes():
    size = choices.NETWORKS[NETWORK]
    assert size.units == (3, 3, 7, 4)
    assert size.depths == (24, 32, 96, 320)


@pytest.mark.parametrize(("convention", "output_stride"), SPACINGS)
def test_plan(convention, output_stride):
    strides, *rates = SPACINGS[convention, output_stride]
    blocks = mobilenet.plan_blocks(NETWORK, convention, output_stride)
    units = [unit for block in blocks for unit in block]
    assert tuple(np.cumsum([len(block) for block in blocks])) == BLOCK_ENDS
    assert [(unit.expansion, unit.depth) for unit in units] == [row[:2] for row in UNITS]
    assert [unit.scope for unit in blocks[3]] == [f"block4/unit_{number}" for number in (1, 2, 3, 4)]
    expected = [stride for _, _, stride in UNITS]
    for number, stride in zip((3, 6, 13), strides, strict=True):
        expected[number] = stride
    assert [unit.stride for unit in units] == expected
    for block, (first, others) in zip(blocks[2:], rates, strict=True):
        assert [unit.rate for unit in block] == [first] + [others] * (len(block) - 1)


def test_names_and_shapes():
    expected, channels = {"conv1": [3, 3, 3, 32]}, 32
    for index, (expansion, depth, _) in enumerate(UNITS):
        block = sum(index >= end for end in BLOCK_ENDS)
        unit = index + 1 - (0, *BLOCK_ENDS)[block]
        scope, width = f"block{block + 1}/unit_{unit}/inverted_v2", channels * expansion
        if expansion > 1:
            expected[f"{scope}/expand"] = [1, 1, channels, width]
        expected[f"{scope}/depthwise"] = [3, 3, 1, width]
        expected[f"{scope}/project"] = [1, 1, width, depth]
        channels = depth
    with tf.Graph().as_default():
        mobilenet.mobilenet_v2([tf.zeros([1, 32, 32, 3])], NETWORK, convention="reference", output_stride=32)
        shapes = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
    weights = {name.removesuffix("/weights"): shape for name, shape in shapes.items() if name.endswith("/weights")}
    assert weights == expected
    assert len(shapes) == 5 * len(expected)
    # torchvision's mobilenet_v2 has 3 504 872 parameters: without its last layer and its classifier, so many.
    trained = sum(np.prod(shape) for name, shape in shapes.items() if "moving" not in name)
    assert trained == 3_504_872 - (320 * 1280 + 2 * 1280) - (1280 * 1000 + 1000)


@pytest.fixture(scope="module")
def outputs():
    """Endpoints of an image by output stride, normalized with running averages."""
    image = np.random.default_rng(0).normal(0, 50, (1, 65, 49, 3)).astype(np.float32)
    with tf.Graph().as_default() as graph, slim.arg_scope([layers.batch_norm], is_training=False):
        tf.set_random_seed(3)
        xs, feed = towers([image])
        endpoints = []
        for output_stride in (8, 16, 32):
            with tf.variable_scope(NETWORK, reuse=bool(endpoints)):
                build = encoders.encoder(NETWORK, "contracted")
                endpoints.append(build(xs, NETWORK, convention="contracted", output_stride=output_stride))
        activations = [op.type for op in graph.get_operations() if op.type in ("Relu", "Relu6", "LeakyRelu")]
        with open_session() as session:
            session.run(tf.global_variables_initializer())
            return session.run(endpoints, feed), activations


def test_endpoints(outputs):
    (dense, middle, nominal), _ = outputs
    assert list(nominal) == ["conv1", "block1", "block2", "block3", "block4/unit_1", "block4"]
    sizes = {name: xs[0].shape for name, xs in nominal.items()}
    assert sizes == {
        "conv1": (1, 33, 25, 32), "block1": (1, 17, 13, 24), "block2": (1, 9, 7, 32), "block3": (1, 5, 4, 96),
        "block4/unit_1": (1, 3, 2, 160), "block4": (1, 3, 2, 320),
    }  # fmt: skip
    assert middle["block4"][0].shape == (1, 5, 4, 320)
    assert dense["block4"][0].shape == (1, 9, 7, 320)
    assert dense["block4/unit_1"][0].shape == (1, 9, 7, 160)


def test_subsampled_dense_output_is_the_output_at_nominal_stride(outputs):
    (dense, middle, nominal), _ = outputs
    for name in ("block4/unit_1", "block4"):
        expected = nominal[name][0]
        assert relative_difference(dense[name][0][:, ::4, ::4], expected) < 1e-5
        assert relative_difference(middle[name][0][:, ::2, ::2], expected) < 1e-5


def test_every_activation_is_a_relu6(outputs):
    _, activations = outputs
    # Per unit one after the depthwise layer and, but in the first, one before it; and the stem.
    assert activations == ["Relu6"] * 3 * (2 * len(UNITS) - 1 + 1)


def test_relu6_against_its_definition():
    x = np.linspace(-3, 9, 25, dtype=np.float32).reshape(1, 5, 5, 1)
    with tf.Graph().as_default(), open_session() as session:
        [y] = layers.Ending(None, choices.RELU6).apply([tf.constant(x)])
        np.testing.assert_array_equal(session.run(y), np.minimum(np.maximum(x, 0), 6))


@pytest.mark.parametrize("network", [NETWORK, "resnet_v1d_50"])
@pytest.mark.parametrize("convention", ["slim", "caffe"])
def test_conventions_that_are_not_defined(network, convention):
    with pytest.raises(ConventionError, match=rf"{network} has no stride convention {convention}, expected one of ref"):
        encoders.encoder(network, convention)
