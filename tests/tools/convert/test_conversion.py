"""Tensors of other projects become our variables, or are refused; whole networks are compared in tests/parity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.tools.source_weights import (
    CLASSES,
    csail_c1_weights,
    csail_upernet_weights,
    semseg_weights,
    torchvision_weights,
)
from tools.convert.conversion import convert, examine, recognize
from tools.convert.layouts import WEIGHT_MAPS
from tools.errors import ConversionError

pytestmark = pytest.mark.usefixtures("narrow_resnet")

NETWORK = "resnet_v1_18"


def converted(weights, layout, shapes):
    """Converts only the named variables."""
    source = examine(weights, WEIGHT_MAPS[layout])
    return convert(source, {f"{NETWORK}/{name}": shape for name, shape in shapes.items()})


@pytest.mark.parametrize(
    ("names", "layout"),
    [
        (torchvision_weights(), "torchvision"),
        (semseg_weights(), "semseg"),
        (["conv1.weight", "conv3.weight", "bn3.running_mean", "layer1.0.conv1.weight"], "semseg_resnet"),
        (
            ["conv3.weight", "bn3.running_mean", "layer1.0.conv1.weight", "bn1._tmp_running_mean"],
            "csail_encoder",
        ),
        (["conv1.weight", "layer4.0.conv2.weight", "ppm.0.1.weight", "conv_last.4.weight"], "csail"),
        (csail_c1_weights(), "csail_c1"),
        (["conv1.weight", "layer4.0.conv2.weight", "cbr.0.weight", "conv_last.weight"], "csail_c1"),
        (csail_upernet_weights(), "csail_upernet"),
        (["backbone.stem.0.weight", "decode_head.psp_modules.0.1.conv.weight"], "mmseg"),
        (["backbone.conv1.weight", "decode_head.psp_modules.3.1.conv.weight"], "mmseg_v1b"),
        (["backbone.stem.0.weight", "decode_head.lateral_convs.0.conv.weight"], "mmseg_upernet"),
        (["backbone.conv1.weight", "decode_head.lateral_convs.0.conv.weight"], "mmseg_upernet_v1b"),
        (
            ["backbone.embedder.embedder.convolution.weight", "decode_head.lateral_convs.0.batch_norm.weight"],
            "transformers_upernet",
        ),
        (
            ["embedder.embedder.convolution.weight", "encoder.stages.0.layers.0.layer.0.convolution.weight"],
            "transformers_resnet",
        ),
        (["conv1_1_3x3_s2/weights", "conv5_3_pool6_conv/weights"], "caffe"),
        (
            ["conv1_1_3x3_s2/weights", "conv5_3_pool6_conv/weights", "conv1_1_3x3_s2_bn/gamma"],
            "caffe_in_tensorflow",
        ),
        (["SharedFeatureExtractor/resnet_v1_50/conv1/weights", "PSPModule/Conv_4/weights"], "fast_segmentation"),
        (
            [
                "SharedFeatureExtractor/resnet_v1_50/conv1/weights",
                "FastPSPModule/Conv/weights",
                "CascadeFeatureFusion_1/Conv/weights",
            ],
            "fast_icnet",
        ),
        (["conv1_conv/kernel", "conv1_bn/moving_mean", "conv2_block1_1_conv/kernel"], "keras"),
        (["resnet_v1_101/conv1/weights"], "tensorflow"),
        (["resnet_v1_101/conv1_1/weights"], "tensorflow_deep"),
    ],
)
def test_layouts_are_recognized(names, layout):
    assert recognize(names) is WEIGHT_MAPS[layout]


@pytest.mark.parametrize(
    "names",
    [
        ["features.0.weight", "classifier.6.weight"],
        [],
        ["features.0.0.weight", "features.17.conv.0.weight", "cbr.0.weight", "conv_last.weight"],  # on MobileNetV2
        ["backbone.stem.0.weight", "decode_head.convs.0.conv.weight"],  # another head of mmsegmentation's
    ],
)
def test_unknown_layouts(names):
    with pytest.raises(ConversionError, match=rf"^{len(names)} tensors \(.*\) match no known layout, .* --format"):
        recognize(names)


def test_a_resnet_is_found():
    source = examine(torchvision_weights(), WEIGHT_MAPS["torchvision"])
    assert (source.architecture.network, source.has_heads, source.has_auxiliary) == (NETWORK, False, False)
    assert (source.architecture.stem, source.architecture.pool_padding) == ("conv7", "symmetric")


def test_a_pspnet_is_found():
    source = examine(semseg_weights(), WEIGHT_MAPS["semseg"])
    assert (source.has_heads, source.has_auxiliary) == (True, True)
    architecture = source.architecture
    assert (architecture.network, architecture.num_classes, architecture.auxiliary_depth) == (NETWORK, CLASSES, 256)
    assert (architecture.stem, architecture.resize_grid) == ("deep_128", "align_corners")


def test_depths_of_other_projects():
    weights = semseg_weights()
    assert examine(weights, WEIGHT_MAPS["semseg"]).architecture.pyramid_depth is None  # a quarter
    weights["ppm.features.3.1.weight"] = np.zeros((40, 128, 1, 1), np.float32)
    weights["cls.0.weight"] = np.zeros((96, 288, 3, 3), np.float32)
    weights["aux.0.weight"] = np.zeros((24, 64, 3, 3), np.float32)
    architecture = examine(weights, WEIGHT_MAPS["semseg"]).architecture
    assert (architecture.pyramid_depth, architecture.head_depth, architecture.auxiliary_depth) == (40, 96, 24)


def test_a_pspnet_without_auxiliary_head():
    weights = {name: array for name, array in semseg_weights().items() if not name.startswith("aux.")}
    assert examine(weights, WEIGHT_MAPS["semseg"]).has_auxiliary is False


def test_axes():
    weights = semseg_weights()
    conversion = converted(
        weights, "semseg", {"conv1_2/weights": (3, 3, 64, 64), "logits/biases": (3,), "logits/weights": (1, 1, 512, 3)}
    )
    kernel = conversion.values[f"{NETWORK}/conv1_2/weights"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel[0, 2, 5, 7], weights["layer0.3.weight"][7, 5, 0, 2])
    np.testing.assert_array_equal(conversion.values[f"{NETWORK}/logits/biases"], weights["cls.4.bias"])
    assert conversion.used[f"{NETWORK}/conv1_2/weights"] == "layer0.3.weight"


def test_deviation_goes_into_the_first_kernel():
    """The answer to a constant image: the sum of the kernel over its window times the prepared pixel."""
    weights = torchvision_weights()
    values = converted(weights, "torchvision", {"conv1/weights": (7, 7, 3, 64)}).values
    pixel = np.array([10.0, 100.0, 200.0])
    mean = np.array([0.485, 0.456, 0.406])
    theirs = weights["conv1.weight"].sum(axis=(2, 3), dtype=np.float64) @ ((pixel / 255 - mean) / [0.229, 0.224, 0.225])
    ours = (pixel - 255 * mean) @ values[f"{NETWORK}/conv1/weights"].sum(axis=(0, 1), dtype=np.float64)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_deviation_of_a_network_that_is_fed_bgr():
    """As above, with the deviation by RGB and the kernel's channels by BGR."""
    weights = torchvision_weights()
    deviation = np.array([50.0, 60.0, 90.0])
    weight_map = replace(WEIGHT_MAPS["torchvision"], feeds_bgr=True, image_std=tuple(deviation))
    values = convert(examine(weights, weight_map), {f"{NETWORK}/conv1/weights": (7, 7, 3, 64)}).values
    centred = np.array([10.0, 100.0, 200.0]) - 128
    theirs = weights["conv1.weight"].sum(axis=(2, 3), dtype=np.float64) @ (centred / deviation)[::-1]
    ours = centred[::-1] @ values[f"{NETWORK}/conv1/weights"].sum(axis=(0, 1), dtype=np.float64)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_pooled_levels_change_places():
    """Sources concatenate features, pool1, pool2, pool3, pool6; we features, pool6, pool3, pool2, pool1."""
    weights = semseg_weights()
    places = np.concatenate([np.full(128, 0), np.full(32, 1), np.full(32, 2), np.full(32, 3), np.full(32, 6)])
    weights["cls.0.weight"] = np.broadcast_to(places[:, None, None], (512, 256, 3, 3)).astype(np.float32)
    kernel = converted(weights, "semseg", {"block4/unit_2/weights": (3, 3, 256, 512)}).values
    levels = kernel[f"{NETWORK}/block4/unit_2/weights"][1, 1, :, 100]
    np.testing.assert_array_equal(levels, np.repeat([0, 0, 0, 0, 6, 3, 2, 1], 32))


def test_order_within_a_level_stays():
    weights = semseg_weights()
    weights["cls.0.weight"] = np.broadcast_to(np.arange(256.0)[:, None, None], (512, 256, 3, 3)).astype(np.float32)
    kernel = converted(weights, "semseg", {"block4/unit_2/weights": (3, 3, 256, 512)}).values
    starts = kernel[f"{NETWORK}/block4/unit_2/weights"][0, 0, :, 0].reshape(8, 32)
    np.testing.assert_array_equal(starts - starts[:, :1], np.broadcast_to(np.arange(32), (8, 32)))


def test_a_deviation_that_makes_kernels_infinite():
    weights = torchvision_weights()
    weights["conv1.weight"][0] = 3e38
    weight_map = replace(WEIGHT_MAPS["torchvision"], image_std=(0.01, 0.01, 0.01))
    with pytest.raises(ConversionError, match="'conv1.weight' has .*the first is inf"):
        convert(examine(weights, weight_map), {f"{NETWORK}/conv1/weights": (7, 7, 3, 64)})


def test_output_stride_of_the_layout():
    weights = semseg_weights()
    assert examine(weights, WEIGHT_MAPS["semseg"]).architecture.output_stride == 8
    weight_map = replace(WEIGHT_MAPS["semseg"], output_stride=32)
    assert examine(weights, weight_map).architecture.output_stride == 32


@pytest.mark.parametrize("name", ["layer3.0.conv2.weight", "layer3.0.bn2.running_var"])
def test_missing_tensor(name):
    weights = torchvision_weights()
    del weights[name]
    shapes = {"block3/unit_1/basic_v1/conv2/weights": (3, 3, 64, 64),
              "block3/unit_1/basic_v1/conv2/BatchNorm/moving_variance": (64,)}  # fmt: skip
    with pytest.raises(
        ConversionError, match=rf"'{name}' is missing, expected with shape \[64.*\] for {NETWORK}/block3/unit_1"
    ):
        converted(weights, "torchvision", shapes)


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("layer1.0.conv1.weight", np.zeros((16, 64, 3, 5)), r"\[16, 64, 3, 5\], expected \[16, 64, 3, 3\]"),
        ("layer1.0.conv1.weight", np.zeros((64, 16, 3, 3)), r"\[64, 16, 3, 3\], expected \[16, 64, 3, 3\]"),
        ("layer1.0.conv1.weight", np.zeros((16, 64)), r"\[16, 64\], expected \[16, 64, 3, 3\]"),
        ("layer1.0.bn1.bias", np.zeros(17), r"\[17\], expected \[16\]"),
        ("layer1.0.bn1.bias", np.zeros((1, 16)), r"\[1, 16\], expected \[16\]"),
    ],
)
def test_other_shape(name, array, words):
    weights = {**torchvision_weights(), name: array}
    shapes = {"block1/unit_1/basic_v1/conv1/weights": (3, 3, 64, 16),
              "block1/unit_1/basic_v1/conv1/BatchNorm/beta": (16,)}  # fmt: skip
    with pytest.raises(ConversionError, match=rf"'{name}' has the shape {words} for {NETWORK}/block1/unit_1"):
        converted(weights, "torchvision", shapes)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("bn1.running_var", -1, r"the first is -1 at \[2\]\), expected variances"), ("bn1.bias", np.nan, "is nan"),
     ("bn1.weight", np.inf, "the first is inf at"), ("bn1.running_mean", None, "is of dtype int64, expected floating")],
)  # fmt: skip
def test_values_that_no_network_computes_with(name, value, words):
    weights = torchvision_weights()
    weights[name] = weights[name].astype(np.int64 if value is None else np.float32)
    if value is not None:
        weights[name][2] = value
    parts = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    shapes = {f"conv1/BatchNorm/{parts[name.split('.')[1]]}": weights[name].shape}
    with pytest.raises(ConversionError, match=f"'{name}' .*{words}"):
        converted(weights, "torchvision", shapes)


def test_bias_before_batch_normalization():
    weights = {**torchvision_weights(), "layer1.0.conv1.bias": np.ones(16, np.float32)}
    shapes = {"block1/unit_1/basic_v1/conv1/BatchNorm/beta": (16,)}
    with pytest.raises(ConversionError, match=r"'layer1.0.conv1.bias' is a bias before batch normalization"):
        converted(weights, "torchvision", shapes)
    weights["layer1.0.conv1.bias"] = np.zeros(16, np.float32)
    assert "layer1.0.conv1.bias" in converted(weights, "torchvision", shapes).left


def test_units_of_no_known_resnet():
    weights = torchvision_weights()
    weights["layer3.4.conv1.weight"] = weights["layer3.0.conv1.weight"]
    with pytest.raises(
        ConversionError, match=r"found \(1, 1, 5, 1\) basic units in the blocks, expected one of \(1, 1, 1"
    ):
        examine(weights, WEIGHT_MAPS["torchvision"])
    with pytest.raises(ConversionError, match=r"found \(0, 0, 0, 0\) basic units"):
        examine(weights, WEIGHT_MAPS["caffe"])


@pytest.mark.parametrize("name", ["cls.4.weight", "cls.0.weight", "aux.0.weight", "ppm.features.3.1.weight"])
def test_missing_kernel_that_determines_a_size(name):
    weights = semseg_weights()
    del weights[name]
    with pytest.raises(ConversionError, match=f"'{name}' is missing from hszhao/semseg's PSPNet"):
        examine(weights, WEIGHT_MAPS["semseg"])


@pytest.mark.parametrize("name", ["cls.4.weight", "cls.0.weight", "aux.0.weight", "ppm.features.3.1.weight"])
def test_matrix_in_the_place_of_a_kernel(name):
    weights = {**semseg_weights(), name: np.zeros((512, 19), np.float32)}
    words = rf"'{name}' has the shape \[512, 19\], expected a kernel with 4 axes"
    with pytest.raises(ConversionError, match=words):
        examine(weights, WEIGHT_MAPS["semseg"])
