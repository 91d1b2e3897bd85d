"""Tests the encoders: unit plans, variable names, and that dense output, subsampled, equals strided output."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import choices, encoder_blocks, resnet
from model.errors import ConventionError
from tests.differences import relative_difference
from tests.model.sessions import open_session, towers

BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
UNITS = {"resnet_v1_50": (3, 4, 6, 3), "resnet_v1_101": (3, 4, 23, 3)}

# By block: (stride, dilation of the 3x3 layer) of the first, the middle and the last unit.
PLAIN, STRIDED, BY_2, BY_4 = (1, 1), (2, 1), (1, 2), (1, 4)
STRIDE_FIRST = {
    8: [[PLAIN] * 3, [STRIDED, PLAIN, PLAIN], [BY_2] * 3, [BY_4] * 3],
    16: [[PLAIN] * 3, [STRIDED, PLAIN, PLAIN], [STRIDED, PLAIN, PLAIN], [BY_2] * 3],
    32: [[PLAIN] * 3, [STRIDED, PLAIN, PLAIN], [STRIDED, PLAIN, PLAIN], [STRIDED, PLAIN, PLAIN]],
}
STRIDE_LAST = {
    8: [[PLAIN, PLAIN, STRIDED], [PLAIN] * 3, [BY_2] * 3, [BY_4] * 3],
    16: [[PLAIN, PLAIN, STRIDED], [PLAIN, PLAIN, STRIDED], [PLAIN] * 3, [BY_2] * 3],
    32: [[PLAIN, PLAIN, STRIDED], [PLAIN, PLAIN, STRIDED], [PLAIN, PLAIN, STRIDED], [PLAIN] * 3],
}
HALF_FIRST = {
    8: [[PLAIN] * 3, [STRIDED, PLAIN, PLAIN], [PLAIN, BY_2, BY_2], [BY_2, BY_4, BY_4]],
    16: [[PLAIN] * 3, [STRIDED, PLAIN, PLAIN], [STRIDED, PLAIN, PLAIN], [PLAIN, BY_2, BY_2]],
    32: STRIDE_FIRST[32],
}
# Blocks 3 and 4 have 2 and 4 times the dilation of slim's.
MORE_DILATION = {
    8: [*STRIDE_LAST[8][:2], [BY_4] * 3, [(1, 16)] * 3],
    16: [*STRIDE_LAST[16][:2], [BY_2] * 3, [(1, 8)] * 3],
}
PLANS = {
    "reference": STRIDE_FIRST,
    "caffe": STRIDE_FIRST,
    "slim": STRIDE_LAST,
    "contracted": HALF_FIRST,
    "mmseg": HALF_FIRST,
    "fast_segmentation": MORE_DILATION,
}


@pytest.mark.parametrize(
    ("convention", "output_stride"), [(convention, stride) for convention, plans in PLANS.items() for stride in plans]
)
@pytest.mark.parametrize("network", ["resnet_v1_50", "resnet_v1_101"])
def test_plan(network, convention, output_stride):
    blocks = resnet.plan_blocks(network, convention, output_stride)
    for block, (units, count) in enumerate(zip(blocks, UNITS[network], strict=True)):
        first, middle, last = PLANS[convention][output_stride][block]
        # In the `caffe` convention the 3x3 layer comes after the strided layer.
        rates = [unit.next_rate if convention == "caffe" else unit.rate for unit in units]
        strides = [unit.stride for unit in units]
        assert list(zip(strides, rates, strict=True)) == [first, *[middle] * (count - 2), last]
        assert [unit.scope for unit in units] == [f"block{block + 1}/unit_{i}" for i in range(1, count + 1)]
        assert {unit.depth for unit in units} == {256 * 2**block}


def test_strided_layers_are_not_dilated():
    assert set(PLANS) == set(choices.STRIDE_CONVENTIONS)
    with pytest.raises(ConventionError, match="fast_segmentation has no output stride 32"):
        resnet.plan_blocks("resnet_v1_50", "fast_segmentation", 32)


@pytest.mark.parametrize(
    ("network", "block", "scope"),
    [
        ("resnet_v1_50", 4, "block4/unit_4"),
        ("resnet_v1_50", 3, "block3/unit_7"),
        ("resnet_v1_101", 4, "block4/unit_4"),
        ("resnet_v1_101", 3, "block3/unit_24"),
        ("resnet_v1_18", 3, "block3/unit_3"),
    ],
)
def test_scope_of_the_layer_after_a_block(network, block, scope):
    assert encoder_blocks.extra_unit_scope(network, block) == scope


def _with_batch_norm(weights: dict[str, list[int]]) -> dict[str, list[int]]:
    """Returns the shapes by name of convolutions without biases and their batch normalization."""
    shapes = {}
    for scope, shape in weights.items():
        shapes[f"{scope}/weights"] = shape
        shapes |= {f"{scope}/BatchNorm/{name}": shape[-1:] for name in BATCH_NORM}
    return shapes


def _weights(units: tuple[int, ...], bottleneck: bool) -> dict[str, list[int]]:
    weights, channels = {"conv1": [7, 7, 3, 64]}, 64
    for block, count in enumerate(units, start=1):
        width = 32 * 2**block
        depth = 4 * width if bottleneck else width
        for unit in range(1, count + 1):
            size = 1 if bottleneck else 3
            layers = {"conv1": [size, size, channels, width], "conv2": [3, 3, width, width]}
            if bottleneck:
                layers["conv3"] = [1, 1, width, depth]
            if channels != depth:
                layers["shortcut"] = [1, 1, channels, depth]
            scope = f"block{block}/unit_{unit}/{'bottleneck_v1' if bottleneck else 'basic_v1'}"
            weights |= {f"{scope}/{name}": shape for name, shape in layers.items()}
            channels = depth
    return weights


def _variable_shapes(network: str, *, stem: str = "conv7"):
    with tf.Graph().as_default():
        with tf.variable_scope(network):
            resnet.resnet_v1(
                [tf.placeholder(tf.float32, [1, 33, 33, 3])] * 2,
                network,
                convention="reference",
                output_stride=8,
                stem=stem,
            )
        variables = tf.global_variables()
        assert tf.model_variables() == variables
        return {v.op.name.removeprefix(f"{network}/"): v.shape.as_list() for v in variables}


def test_names_of_resnet_50_are_those_of_slim():
    shapes = _variable_shapes("resnet_v1_50")
    assert shapes == _with_batch_norm(_weights((3, 4, 6, 3), bottleneck=True))
    # The variables of slim's resnet_v1_50 without its classifier, and some from its published checkpoint.
    assert len(shapes) == 265
    assert shapes["block4/unit_1/bottleneck_v1/shortcut/weights"] == [1, 1, 1024, 2048]
    assert shapes["block2/unit_4/bottleneck_v1/conv2/weights"] == [3, 3, 128, 128]
    assert shapes["block1/unit_3/bottleneck_v1/conv3/BatchNorm/moving_variance"] == [256]


@pytest.mark.parametrize(
    ("network", "units", "count"),
    [
        ("resnet_v1_18", (2, 2, 2, 2), 100),
        pytest.param("resnet_v1_34", (3, 4, 6, 3), 180, marks=pytest.mark.slow),
    ],
)
def test_names_of_basic_networks(network, units, count):
    shapes = _variable_shapes(network)
    assert shapes == _with_batch_norm(_weights(units, bottleneck=False))
    assert len(shapes) == count


@pytest.mark.parametrize(("stem", "narrow", "wide"), [("deep_128", 64, 128), ("deep_64", 32, 64)])
def test_names_of_the_three_convolution_stems(stem, narrow, wide):
    shapes = _variable_shapes("resnet_v1_18", stem=stem)
    expected = _weights((2, 2, 2, 2), bottleneck=False)
    del expected["conv1"]
    expected |= {"conv1_1": [3, 3, 3, narrow], "conv1_2": [3, 3, narrow, narrow], "conv1_3": [3, 3, narrow, wide]}
    if wide != 64:
        expected["block1/unit_1/basic_v1/shortcut"] = [1, 1, wide, 64]
        expected["block1/unit_1/basic_v1/conv1"] = [3, 3, wide, 64]
    assert shapes == _with_batch_norm(expected)


def _encode(images, network, convention, output_strides, known=True):
    """Computes the endpoints at several output strides with the same weights, normalizing with running averages."""
    with tf.Graph().as_default():
        tf.set_random_seed(3)
        xs, feed = towers(images, known=known)
        outputs = []
        for output_stride in output_strides:
            with tf.variable_scope(network, reuse=bool(outputs)):
                outputs.append(
                    resnet.resnet_v1(
                        xs,
                        network,
                        convention=convention,
                        output_stride=output_stride,
                    )
                )
        with open_session() as session:
            session.run(tf.global_variables_initializer())
            return session.run(outputs, feed)


def _frozen_batch_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    # Only for a fixed normalization: subsampling changes the moments of the batch.
    batch_norm = resnet.layers.batch_norm
    monkeypatch.setattr(resnet.layers, "batch_norm", lambda xs: batch_norm(xs, is_training=False))


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 50, (1, 65, 49, 3)).astype(np.float32)


# In the `reference` convention the first dilated 3x3 layer has the dilation of the layers after it, so the
# outputs differ by design.
@pytest.mark.parametrize("convention", ["slim", "caffe", "contracted"])
@pytest.mark.parametrize("bottleneck", [True, False])
def test_subsampled_dense_output_is_the_output_at_nominal_stride(
    bottleneck, convention, image, monkeypatch, record_property
):
    network, depth = "resnet_v1_18", 64
    monkeypatch.setitem(resnet.NETWORKS, network, choices.ResNet((2, 2, 2, 2), (16, 24, 40, depth), bottleneck))
    _frozen_batch_norm(monkeypatch)
    dense, middle, nominal = _encode([image], network, convention, (8, 16, 32))
    expected = nominal["block4"][0]
    assert [e["block4"][0].shape for e in (dense, middle, nominal)] == [
        (1, 9, 7, depth),
        (1, 5, 4, depth),
        (1, 3, 2, depth),
    ]
    for subsampled in (dense["block4"][0][:, ::4, ::4], middle["block4"][0][:, ::2, ::2]):
        difference = relative_difference(subsampled, expected)
        record_property("block4", difference)
        assert difference < 1e-5


@pytest.mark.slow
def test_subsampled_dense_output_of_a_resnet_d(image, monkeypatch, record_property):
    """In the `contracted` convention the averages of shortcuts are dilated too; without them, the output differs."""
    network = "resnet_v1d_50"
    size = choices.ResNet((1, 1, 1, 1), (16, 24, 40, 64), bottleneck=True, averaged_shortcut=True, stem="deep_64")
    monkeypatch.setitem(resnet.NETWORKS, network, size)
    _frozen_batch_norm(monkeypatch)
    dense, middle, nominal = _encode([image], network, "contracted", (8, 16, 32))
    expected = nominal["block4"][0]
    for subsampled in (dense["block4"][0][:, ::4, ::4], middle["block4"][0][:, ::2, ::2]):
        difference = relative_difference(subsampled, expected)
        record_property("block4", difference)
        assert difference < 1e-5
    (without,) = _encode([image], network, "mmseg", (8,))
    assert relative_difference(without["block4"][0][:, ::4, ::4], expected) > 0.01


@pytest.mark.parametrize(
    ("network", "width", "groups", "parameters"),
    [
        # torchvision's counts, without the classifier of 2048 x 1000 weights and 1000 biases.
        pytest.param("resnext_50_32x4d", 128, 32, 25_028_904, marks=pytest.mark.slow),
        pytest.param("resnext_101_32x8d", 256, 32, 88_791_336, marks=pytest.mark.slow),
        pytest.param("wide_resnet_50_2", 128, 1, 68_883_240, marks=pytest.mark.slow),
        pytest.param("wide_resnet_101_2", 128, 1, 126_886_696, marks=pytest.mark.slow),
        # timm's resnet50d and resnet101d.
        ("resnet_v1d_50", 64, 1, 25_576_264),
        pytest.param("resnet_v1d_101", 64, 1, 44_568_392, marks=pytest.mark.slow),
    ],
)
def test_parameters(network, width, groups, parameters):
    stem = choices.NETWORKS[network].stem
    shapes = _variable_shapes(network, stem=stem)
    assert shapes["block1/unit_1/bottleneck_v1/conv2/weights"] == [3, 3, width // groups, width]
    trained = sum(np.prod(shape) for name, shape in shapes.items() if "moving" not in name)
    assert trained == parameters - (2048 * 1000 + 1000)


def test_unknown_size_gives_the_values_of_the_static_graph(image, monkeypatch):
    _frozen_batch_norm(monkeypatch)
    images = [image, image[:, :40, :33]]
    (known,) = _encode(images, "resnet_v1_18", "reference", (8,))
    (unknown,) = _encode(images, "resnet_v1_18", "reference", (8,), known=False)
    assert list(known) == ["conv1", "pool1", "block1", "block2", "block3", "block4"]
    assert [x.shape for x in known["block4"]] == [(1, 9, 7, 512), (1, 5, 5, 512)]
    assert [known[name][0].shape[1:3] for name in ("conv1", "pool1", "block1", "block3")] == [
        (33, 25),
        (17, 13),
        (17, 13),
        (9, 7),
    ]
    for name, outputs in known.items():
        for x, y in zip(outputs, unknown[name], strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5 * np.abs(x).max())


@pytest.mark.parametrize(("convention", "rates"), [("contracted", [1, 2, 2, 2]), ("mmseg", [1, 1, 2, 1])])
def test_dilation_of_basic_units(convention, rates):
    with tf.Graph().as_default() as graph:
        image = tf.placeholder(tf.float32, [1, 33, 33, 3])
        resnet.resnet_v1([image], "resnet_v1_18", convention=convention, output_stride=8)
        layers = [op for op in graph.get_operations() if op.type == "Conv2D" and "block3/" in op.name]
        assert [op.get_attr("dilations")[1] for op in layers if op.inputs[1].shape[0] == 3] == rates
