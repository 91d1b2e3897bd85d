"""UPerNet, and its pyramid pooling alone, against the one in transformers, which follows OpenMMLab's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import tf_slim as slim
import torch
from transformers import UperNetConfig
from transformers.models.upernet.modeling_upernet import UperNetConvModule, UperNetHead

from model import decoders
from model import utils_mg as layers
from model.utils_mg import TowerList
from tests.differences import relative_difference
from tests.model.sessions import open_session, towers
from tests.parity.memory_order import from_torch, kernel_from_torch, to_torch

BINS = (1, 2, 3, 6)
FEATURES, DEPTH, CLASSES = 2048, 512, 7
LOWER_FEATURES = (24, 40, 56)


@pytest.fixture(scope="module")
def upernet() -> UperNetHead:
    """The head of UPerNet, weights and running statistics at random; its classifier applies to the pyramid's output."""
    torch.manual_seed(0)
    config = UperNetConfig(hidden_size=DEPTH, pool_scales=BINS, num_labels=CLASSES)
    head = UperNetHead(config, in_channels=[*LOWER_FEATURES, FEATURES]).eval()
    for module in head.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_(0, 0.1)
    return head


def _layer_values(scope: str, module: UperNetConvModule) -> dict[str, np.ndarray]:
    """A convolution with batch normalization, under the names it has here."""
    batch_norm = module.batch_norm
    tensors = {"gamma": batch_norm.weight, "beta": batch_norm.bias,
               "moving_mean": batch_norm.running_mean, "moving_variance": batch_norm.running_var}  # fmt: skip
    values = {f"{scope}/BatchNorm/{name}": tensor.detach().numpy() for name, tensor in tensors.items()}
    return values | {f"{scope}/weights": kernel_from_torch(module.conv.weight)}


def _pyramid_values(head: UperNetHead) -> dict[str, np.ndarray]:
    """The layers of the feature pyramid."""
    values = _layer_values("fpn/fusion", head.fpn_bottleneck)
    for number, (lateral, output) in enumerate(zip(head.lateral_convs, head.fpn_convs, strict=True), start=1):
        values |= _layer_values(f"fpn/lateral{number}", lateral) | _layer_values(f"fpn/output{number}", output)
    return values


def _converted(head: UperNetHead, with_pyramid: bool = False) -> dict[str, np.ndarray]:
    values = _layer_values("block4/unit_4", head.bottleneck)
    # There one bin follows the features and 6 x 6 come last; here it is the other way round.
    features, *levels = np.split(
        values["block4/unit_4/weights"], [FEATURES + DEPTH * i for i in range(len(BINS))], axis=2
    )
    values["block4/unit_4/weights"] = np.concatenate([features, *reversed(levels)], axis=2)
    for bins, block in zip(BINS, head.psp_modules.blocks, strict=True):
        values |= _layer_values(f"psp/pool{bins}", block.layers[1])
    values |= _pyramid_values(head) if with_pyramid else {}
    values["logits/weights"] = kernel_from_torch(head.classifier.weight)
    values["logits/biases"] = head.classifier.bias.detach().numpy()
    return values


def _head_and_gradient(
    build: Callable[[list[TowerList]], TowerList],
    values: dict[str, np.ndarray],
    features: Sequence[np.ndarray],
    dy: np.ndarray,
) -> list[np.ndarray]:
    """Logits and the gradient of sum(logits * dy) in each of the features."""
    with tf.Graph().as_default():
        feed, xs = {}, []
        for array in features:
            tower_list, more = towers([array])
            xs.append(tower_list)
            feed |= more
        with slim.arg_scope([layers.batch_norm], is_training=False):
            (y,) = build(xs)
        variables = {v.op.name: v for v in tf.global_variables()}
        assert {name: v.shape.as_list() for name, v in variables.items()} == {n: [*a.shape] for n, a in values.items()}
        gradients = tf.gradients(y, [x for (x,) in xs], tf.constant(dy))
        with open_session() as session:
            for name, variable in variables.items():
                variable.load(values[name], session)
            return session.run([y, *gradients], feed)


@pytest.mark.parametrize("size", [(12, 18), (13, 7), (5, 4)], ids=str)
def test_pyramid_pooling_head(upernet, size, record_property):
    rng = np.random.default_rng(0)
    x = np.maximum(rng.normal(size=(2, *size, FEATURES)), 0).astype(np.float32)
    dy = rng.normal(size=(2, *size, CLASSES)).astype(np.float32)
    features = to_torch(x).requires_grad_()
    logits = upernet.classifier(upernet.psp_forward([features]))
    logits.backward(to_torch(dy))

    def build(xs: list[TowerList]) -> TowerList:
        return decoders.pyramid_pooling_head(xs[0], "resnet_v1_50", CLASSES, "half_pixel", None)

    difference = relative_difference(
        _head_and_gradient(build, _converted(upernet), [x], dy), [from_torch(logits), from_torch(features.grad)]
    )
    record_property("logits and gradient", difference)
    assert difference < 1e-5


@pytest.mark.parametrize("size", [(24, 40), pytest.param((26, 14), marks=pytest.mark.slow)], ids=str)
def test_upernet(upernet, size, record_property):
    rng = np.random.default_rng(1)
    height, width = size
    shapes = [
        (2, -(-height // 2**level), -(-width // 2**level), depth)
        for level, depth in enumerate((*LOWER_FEATURES, FEATURES))
    ]
    arrays = [np.maximum(rng.normal(size=shape), 0).astype(np.float32) for shape in shapes]
    dy = rng.normal(size=(2, *size, CLASSES)).astype(np.float32)
    features = [to_torch(x).requires_grad_() for x in arrays]
    logits = upernet(features)
    logits.backward(to_torch(dy))

    def build(xs: list[TowerList]) -> TowerList:
        return decoders.upernet_head(xs, "resnet_v1_50", CLASSES, "half_pixel", None)

    difference = relative_difference(
        _head_and_gradient(build, _converted(upernet, with_pyramid=True), arrays, dy),
        [from_torch(logits), *(from_torch(x.grad) for x in features)],
    )
    record_property("logits and gradients", difference)
    assert difference < 1e-5
