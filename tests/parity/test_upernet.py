"""The pyramid pooling head against the one in transformers' UPerNet, which follows OpenMMLab's."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import tf_slim as slim
import torch
from transformers import UperNetConfig
from transformers.models.upernet.modeling_upernet import UperNetConvModule, UperNetHead

from model import decoders
from model import utils_mg as layers
from tests.differences import relative_difference
from tests.model.sessions import open_session, towers
from tests.parity.memory_order import from_torch, kernel_from_torch, to_torch

BINS = (1, 2, 3, 6)
FEATURES, DEPTH, CLASSES = 2048, 512, 7


@pytest.fixture(scope="module")
def upernet() -> UperNetHead:
    """The head of UPerNet, weights and running statistics at random; its classifier applies to the pyramid's output."""
    torch.manual_seed(0)
    config = UperNetConfig(hidden_size=DEPTH, pool_scales=BINS, num_labels=CLASSES)
    head = UperNetHead(config, in_channels=[8, 8, 8, FEATURES]).eval()
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


def _converted(head: UperNetHead) -> dict[str, np.ndarray]:
    values = _layer_values("block4/unit_4", head.bottleneck)
    # There one bin follows the features and 6 x 6 come last; here it is the other way round.
    features, *levels = np.split(
        values["block4/unit_4/weights"], [FEATURES + DEPTH * i for i in range(len(BINS))], axis=2
    )
    values["block4/unit_4/weights"] = np.concatenate([features, *reversed(levels)], axis=2)
    for bins, block in zip(BINS, head.psp_modules.blocks, strict=True):
        values |= _layer_values(f"psp/pool{bins}", block.layers[1])
    values["logits/weights"] = kernel_from_torch(head.classifier.weight)
    values["logits/biases"] = head.classifier.bias.detach().numpy()
    return values


def _head_and_gradient(values: dict[str, np.ndarray], x: np.ndarray, dy: np.ndarray) -> list[np.ndarray]:
    """Logits and the gradient of sum(logits * dy) in the features."""
    with tf.Graph().as_default():
        xs, feed = towers([x])
        with slim.arg_scope([layers.batch_norm], is_training=False):
            (y,) = decoders.pyramid_pooling_head(xs, "resnet_v1_50", CLASSES, "half_pixel", None)
        variables = {v.op.name: v for v in tf.global_variables()}
        assert {name: v.shape.as_list() for name, v in variables.items()} == {n: [*a.shape] for n, a in values.items()}
        gradients = tf.gradients(y, xs, tf.constant(dy))
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
    difference = relative_difference(
        _head_and_gradient(_converted(upernet), x, dy), [from_torch(logits), from_torch(features.grad)]
    )
    record_property("logits and gradient", difference)
    assert difference < 1e-5
