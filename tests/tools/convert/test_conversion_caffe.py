"""Vectors and kernels of Caffe, whose vectors may have axes of size 1."""

from __future__ import annotations

import numpy as np
import pytest

from tools.convert.conversion import convert, examine
from tools.convert.layouts import WEIGHT_MAPS
from tools.errors import ConversionError

pytestmark = pytest.mark.usefixtures("narrow_resnet")


def test_matrix_in_the_place_of_a_kernel_of_caffe():
    """Its channels of the output are the last axis, which a matrix does not have."""
    pool, head = np.zeros((1, 1, 2048, 512), np.float32), np.zeros((3, 3, 4096, 512), np.float32)
    weights = {**caffe_layer((64,)), "conv5_3_pool6_conv/weights": pool, "conv5_4/weights": head}
    weights["conv6/weights"] = np.zeros((512, 19), np.float32)
    with pytest.raises(
        ConversionError, match=r"'conv6/weights' has the shape \[512, 19\], expected a kernel with 4 axes"
    ):
        examine(weights, WEIGHT_MAPS["caffe"])


def caffe_layer(shape):
    """The tensors of the first layer, its vectors of some shape, among units that make a ResNet-50 of them."""
    weights = {}
    for stage, units in {2: 3, 3: 4, 4: 6, 5: 3}.items():
        for unit in range(1, units + 1):
            weights[f"conv{stage}_{unit}_1x1_increase/weights"] = np.zeros((1, 1, 1, 1), np.float32)
    weights["conv1_1_3x3_s2/weights"] = np.arange(3 * 3 * 3 * 64, dtype=np.float32).reshape(3, 3, 3, 64)
    for name in ("scale", "offset", "mean", "variance"):
        weights[f"conv1_1_3x3_s2_bn/{name}"] = np.arange(64, dtype=np.float32).reshape(shape)
    return weights


@pytest.mark.parametrize("shape", [(64,), (1, 64), (1, 64, 1, 1), (1, 1, 1, 64)])
def test_vectors_and_kernels_of_caffe(shape):
    weights = caffe_layer(shape)
    source = examine(weights, WEIGHT_MAPS["caffe"])
    assert source.architecture.network == "resnet_v1_50"
    shapes = {"conv1_1/weights": (3, 3, 3, 64), "conv1_1/BatchNorm/moving_mean": (64,)}
    values = convert(source, {f"resnet_v1_50/{name}": shape for name, shape in shapes.items()}).values
    np.testing.assert_array_equal(values["resnet_v1_50/conv1_1/BatchNorm/moving_mean"], np.arange(64))
    np.testing.assert_array_equal(values["resnet_v1_50/conv1_1/weights"], weights["conv1_1_3x3_s2/weights"])


def test_matrix_in_the_place_of_a_vector():
    source = examine(caffe_layer((8, 8)), WEIGHT_MAPS["caffe"])
    with pytest.raises(ConversionError, match=r"'conv1_1_3x3_s2_bn/mean' has the shape \[8, 8\], expected \[64\]"):
        convert(source, {"resnet_v1_50/conv1_1/BatchNorm/moving_mean": (64,)})
