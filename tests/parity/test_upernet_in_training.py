"""UPerNet as CSAILVision has it, averages upsampled before their 1x1 layers, with the moments of the batch."""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf
import torch

from model import decoders
from tests.differences import relative_difference
from tests.model.sessions import open_session, towers
from tests.parity.memory_order import from_torch, kernel_from_torch, to_torch
from tests.parity.torch_csail import UPerNet
from tools.convert.layouts import WEIGHT_MAPS
from tools.convert.names import SourceNames, split_variable

NETWORK, CLASSES, DEPTH, LEVEL_DEPTH = "resnet_v1_18", 5, 6, 9
CHANNELS = (4, 6, 8, 10)
SIZES = ((26, 38), (13, 19), (7, 10), (4, 5))


def _random_upernet() -> UPerNet:
    torch.manual_seed(0)
    network = UPerNet(CHANNELS, CLASSES, DEPTH, LEVEL_DEPTH).train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.5, 0.5)
    return network


def _laid_out(variable: str, tensors: dict[str, torch.Tensor]) -> np.ndarray:
    """The tensor that stands for a variable, with our axes and our order of pooled levels, which is theirs reversed."""
    scope, tensor = split_variable(f"{NETWORK}/{variable}")
    value = tensors[SourceNames(WEIGHT_MAPS["csail_upernet"], NETWORK).tensors(scope)[tensor]]
    if tensor != "weights":
        return value.detach().numpy().copy()
    kernel = kernel_from_torch(value)
    if scope == "block4/unit_3":
        features, *levels = np.split(kernel, [CHANNELS[-1] + LEVEL_DEPTH * number for number in range(4)], axis=2)
        kernel = np.concatenate([features, *reversed(levels)], axis=2)
    return kernel.copy()


def test_logits_gradients_and_running_averages(record_property):
    rng = np.random.default_rng(0)
    blocks = [
        rng.normal(size=(3, *size, channels)).astype(np.float32) for size, channels in zip(SIZES, CHANNELS, strict=True)
    ]
    dy = rng.normal(size=(3, *SIZES[0], CLASSES)).astype(np.float32)
    theirs = _random_upernet()
    with tf.Graph().as_default(), open_session() as session:
        feed, xs = {}, []
        for array in blocks:
            tensors, more = towers([array])
            xs.append(tensors)
            feed |= more
        (logits,) = decoders.upernet_head(
            xs, NETWORK, CLASSES, "half_pixel", None, DEPTH, LEVEL_DEPTH, pyramid_order="upsample_first"
        )
        trained = {variable.op.name: variable for variable in tf.trainable_variables()}
        averages = {variable.op.name: variable for variable in tf.global_variables() if "/moving_" in variable.op.name}
        gradients = tf.gradients(logits, [*(x for (x,) in xs), *trained.values()], tf.constant(dy))
        session.run(tf.global_variables_initializer())
        start = theirs.state_dict()
        for name, variable in (trained | averages).items():
            variable.load(_laid_out(name, start), session)
        actual = session.run([logits, *gradients], feed)
        session.run(tf.get_collection(tf.GraphKeys.UPDATE_OPS), feed)
        moved = session.run(list(averages.values()))
    inputs = [to_torch(array).requires_grad_() for array in blocks]
    expected = theirs.fused(inputs)
    expected.backward(to_torch(dy))
    their_gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    assert len(trained) == len(their_gradients)
    assert len(averages) == 2 * sum(isinstance(module, torch.nn.BatchNorm2d) for module in theirs.modules())
    differences = {
        "logits": relative_difference(actual[0], from_torch(expected)),
        "gradients": relative_difference(
            actual[1:],
            [*(from_torch(x.grad) for x in inputs), *(_laid_out(name, their_gradients) for name in trained)],
        ),
        "running averages": relative_difference(moved, [_laid_out(name, theirs.state_dict()) for name in averages]),
    }
    for name, difference in differences.items():
        record_property(name, difference)
        assert difference < 1e-4, name
