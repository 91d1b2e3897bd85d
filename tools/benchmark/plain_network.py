"""PSPNet in plain TensorFlow, for comparison.

`bare` uses TensorFlow's fused batch normalization and dilated convolution, which work on one device only. `reference`
uses the operations of PSPNet-TF-Reproduce: moments as means of values and of squares over all towers, batch
normalization from elementary operations, dilation by sorting pixels into batches, and automatic differentiation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow.compat.v1 as tf

from model.architecture import Architecture
from model.choices import NETWORKS, STEMS, ResNet
from model.decoders import AUXILIARY_DEPTH, HEAD_DEPTH, PYRAMID_BINS
from model.resnet import Unit, plan_blocks
from model.training_graph import AUXILIARY_WEIGHT
from model.utils_mg import TowerList, map_towers

_EPSILON = 1e-5
_DECAY = 0.9
_WEIGHT_DECAY = 1e-4


def _fused_batch_norm(xs: TowerList, scale: tf.Tensor, offset: tf.Tensor, averages: list, is_training: bool):
    [x] = xs
    if not is_training:
        return [tf.nn.fused_batch_norm(x, scale, offset, *averages, _EPSILON, is_training=False)[0]], None
    y, mean, variance = tf.nn.fused_batch_norm(x, scale, offset, epsilon=_EPSILON)
    return [y], (mean, variance)


def _elementary_batch_norm(xs: TowerList, scale: tf.Tensor, offset: tf.Tensor, averages: list, is_training: bool):
    moments = None
    mean, variance = averages
    if is_training:
        means = map_towers(lambda x: tf.reduce_mean(x, [0, 1, 2]), xs)
        squares = map_towers(lambda x: tf.reduce_mean(tf.square(x), [0, 1, 2]), xs)
        mean = tf.reduce_mean(tf.stack(means), axis=0)
        variance = tf.reduce_mean(tf.stack(squares), axis=0) - tf.square(mean)
        moments = mean, variance
    ys = map_towers(lambda x: tf.nn.batch_normalization(x, mean, variance, offset, scale, _EPSILON), xs)
    return ys, moments


def _dilated(x: tf.Tensor, kernel: tf.Tensor, rate: int) -> tf.Tensor:
    return tf.nn.conv2d(x, kernel, 1, "SAME", dilations=rate)


def _dilated_through_batches(x: tf.Tensor, kernel: tf.Tensor, rate: int) -> tf.Tensor:
    height, width = x.shape.as_list()[1:3]
    paddings = [[rate, rate + -size % rate] for size in (height, width)]
    crops = [[0, -size % rate] for size in (height, width)]
    sorted_pixels = tf.space_to_batch_nd(x, [rate, rate], paddings)
    return tf.batch_to_space_nd(tf.nn.conv2d(sorted_pixels, kernel, 1, "VALID"), [rate, rate], crops)


@dataclass(frozen=True)
class Style:
    """The implementation of layers.

    Attributes:
        batch_norm: takes a tower list, scale, offset, running averages and whether it is training; returns the
            normalized tower list and, in training, the moments.
        dilated: takes one tower, a 3x3 kernel and a rate; returns the dilated convolution.
    """

    batch_norm: Callable
    dilated: Callable[[tf.Tensor, tf.Tensor, int], tf.Tensor]


STYLES = {
    "bare": Style(_fused_batch_norm, _dilated),
    "reference": Style(_elementary_batch_norm, _dilated_through_batches),
}


@dataclass(frozen=True)
class PlainNetwork:
    """Builds the network in one style."""

    style: Style
    architecture: Architecture
    is_training: bool

    def logits(self, images: TowerList) -> list[TowerList]:
        """Returns logits float32 [N, H, W, classes] per tower: of the head and, in training, of the auxiliary head."""
        depths = NETWORKS[self.architecture.network]
        assert isinstance(depths, ResNet)  # see benchmark/flags.py
        xs = images
        for layer in STEMS[self.architecture.stem]:
            xs = self._layer(xs, layer.depth, layer.kernel_size, layer.stride, scope=layer.scope)
        xs = map_towers(lambda x: tf.nn.max_pool2d(x, 3, 2, "SAME"), xs)
        blocks = []
        plan = plan_blocks(self.architecture.network, "reference", self.architecture.output_stride)
        for unit in (unit for block in plan for unit in block):
            with tf.variable_scope(unit.scope):
                xs = self._unit(xs, unit, depths.bottleneck)
            blocks.append(xs)
        heads = [self._classifier(self._pyramid(xs), HEAD_DEPTH, images, "head")]
        if self.is_training:
            block3 = blocks[sum(depths.units[:3]) - 1]
            heads.append(self._classifier(block3, AUXILIARY_DEPTH, images, "auxiliary"))
        return heads

    def _unit(self, xs: TowerList, unit: Unit, bottleneck: bool) -> TowerList:
        shortcut = xs
        if unit.stride > 1 or xs[0].shape[-1] != unit.depth:
            shortcut = self._layer(xs, unit.depth, 1, unit.stride, activation=False, scope="shortcut")
        if bottleneck:
            xs = self._layer(xs, unit.depth // 4, 1, scope="conv1")
            xs = self._layer(xs, unit.depth // 4, 3, unit.stride, unit.rate, scope="conv2")
            xs = self._layer(xs, unit.depth, 1, activation=False, scope="conv3")
        else:
            xs = self._layer(xs, unit.depth, 3, unit.stride, unit.rate, scope="conv1")
            xs = self._layer(xs, unit.depth, 3, 1, unit.next_rate, activation=False, scope="conv2")
        return map_towers(lambda x, y: tf.nn.relu(x + y), shortcut, xs)

    def _pyramid(self, xs: TowerList) -> TowerList:
        height, width, depth = xs[0].shape.as_list()[1:]
        levels = [xs]
        for bins in PYRAMID_BINS:
            window = [max(1, height // bins), max(1, width // bins)]
            pooled = map_towers(lambda x, window=window: tf.nn.avg_pool2d(x, window, window, "SAME"), xs)
            pooled = self._layer(pooled, depth // len(PYRAMID_BINS), 1, scope=f"pool{bins}")
            levels.append(map_towers(lambda x: tf.image.resize_bilinear(x, [height, width]), pooled))
        return map_towers(lambda *parts: tf.concat(parts, -1), *levels)

    def _classifier(self, xs: TowerList, depth: int, images: TowerList, scope: str) -> TowerList:
        size = images[0].shape.as_list()[1:3]
        with tf.variable_scope(scope):
            xs = self._layer(xs, depth, 3, scope="conv")
            kernel = tf.get_variable("weights", [1, 1, depth, self.architecture.num_classes], use_resource=True)
            return map_towers(lambda x: tf.image.resize_bilinear(tf.nn.conv2d(x, kernel, 1, "SAME"), size), xs)

    def _layer(
        self,
        xs: TowerList,
        filters: int,
        size: int,
        stride: int = 1,
        rate: int = 1,
        *,
        activation: bool = True,
        scope: str,
    ) -> TowerList:
        with tf.variable_scope(scope):
            kernel = tf.get_variable("weights", [size, size, xs[0].shape.as_list()[-1], filters], use_resource=True)
            if rate > 1:
                xs = map_towers(lambda x: self.style.dilated(x, kernel, rate), xs)
            elif stride > 1:
                border = [size // 2] * 2
                xs = map_towers(lambda x: tf.nn.conv2d(x, kernel, stride, [[0, 0], border, border, [0, 0]]), xs)
            else:
                xs = map_towers(lambda x: tf.nn.conv2d(x, kernel, 1, "SAME"), xs)
            xs = self._normalized(xs, filters)
            return map_towers(tf.nn.relu, xs) if activation else xs

    def _normalized(self, xs: TowerList, channels: int) -> TowerList:
        def variable(name: str, value: float, trainable: bool = True) -> tf.Variable:
            initializer = tf.constant_initializer(value)
            return tf.get_variable(name, [channels], tf.float32, initializer, trainable=trainable, use_resource=True)

        averages = [variable("mean", 0.0, False), variable("variance", 1.0, False)]
        scale, offset = variable("scale", 1.0), variable("offset", 0.0)
        ys, moments = self.style.batch_norm(xs, scale, offset, averages, self.is_training)
        for average, moment in zip(averages, moments or (), strict=False):
            update = average.assign_sub((1 - _DECAY) * (average - moment), read_value=False)
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
        return ys


def plain_train_op(
    style: str, architecture: Architecture, images: TowerList, labels: TowerList, learning_rate: float
) -> tf.Operation:
    """Builds one training step: cross entropy of both heads, weight decay, momentum.

    Args:
        style: key of `STYLES`.
        architecture: only network, classes, stem and output stride are used.
        images: tower list float32 [N, H, W, 3] of known shape; one tower for `bare`.
        labels: tower list int32 [N, H, W].
        learning_rate: of the step.
    """
    heads = PlainNetwork(STYLES[style], architecture, is_training=True).logits(images)
    total = tf.zeros([])
    for logits, weight in zip(heads, (1.0, AUXILIARY_WEIGHT), strict=True):
        for x, ids in zip(logits, labels, strict=True):
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=ids, logits=x)
            total += weight / len(labels) * tf.reduce_mean(losses)
    weights = [v for v in tf.trainable_variables() if v.op.name.endswith("weights")]
    total += _WEIGHT_DECAY * tf.add_n([tf.nn.l2_loss(v) for v in weights])
    optimizer = tf.train.MomentumOptimizer(learning_rate, 0.9)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        return optimizer.minimize(total, colocate_gradients_with_ops=True)


def rewritten_to(float_type: str, num_devices: int = 1) -> tf.ConfigProto:
    """Returns a plain configuration with TensorFlow's rewriting of float32 graphs to half precision."""
    config = tf.ConfigProto(allow_soft_placement=True, device_count={"CPU": num_devices})
    rewriting = config.graph_options.rewrite_options
    if float_type == "bf16":
        rewriting.auto_mixed_precision_onednn_bfloat16 = rewriting.ON
    elif float_type == "16":
        rewriting.auto_mixed_precision = rewriting.ON
    return config
