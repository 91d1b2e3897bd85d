"""PSPNets of projects that use TensorFlow, after their published code, with random weights by their names.

A network is a function of `Layers` and images, float32 [1, H, W, 3] as the project prepares them, with the logits at
the size of the images. Depths are parameters, for small networks; the layers are those of the project.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

UNITS = (3, 4, 6, 3)
# Of our ResNet-50 in these tests; the depths of the published networks are eight times these.
DEPTHS = (32, 64, 128, 256)
HEAD_DEPTH = 48
CLASSES = 7
VGG_MEAN = (123.68, 116.779, 103.939)


class Layers:
    """Draws the tensors of layers when they are first built, by the names of a project."""

    def __init__(self, normalization: dict[str, str]) -> None:
        """Starts with no tensors; `normalization` has the names of gamma, beta, mean and variance."""
        self._rng = np.random.default_rng(0)
        self._normalization = normalization
        self.arrays: dict[str, np.ndarray] = {}

    def _drawn(self, name: str, draw: Callable[[], np.ndarray]) -> np.ndarray:
        if name not in self.arrays:
            self.arrays[name] = draw().astype(np.float32)
        return self.arrays[name]

    def kernel(self, name: str, x: tf.Tensor, size: int, filters: int) -> np.ndarray:
        shape = (size, size, x.shape.as_list()[-1], filters)
        # Pixels have a deviation of about 64.
        scale = (2 / np.prod(shape[:3])) ** 0.5 / (64 if shape[2] == 3 else 1)
        return self._drawn(name, lambda: self._rng.normal(0, scale, shape))

    def vector(self, name: str, size: int, low: float, high: float) -> np.ndarray:
        return self._drawn(name, lambda: self._rng.uniform(low, high, size))

    def normalized(self, x: tf.Tensor, name: str) -> tf.Tensor:
        """Batch normalization with an epsilon of 1e-5, for prediction."""
        depth, names = x.shape.as_list()[-1], {key: f"{name}/{end}" for key, end in self._normalization.items()}
        gamma, variance = (self.vector(names[key], depth, 0.5, 1.5) for key in ("gamma", "variance"))
        beta, mean = (self.vector(names[key], depth, -0.5, 0.5) for key in ("beta", "mean"))
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-5)


def hellochick(layers: Layers, images: tf.Tensor) -> tf.Tensor:
    """hellochick/PSPNet-tensorflow's PSPNet50 (model.py, network.py), for sizes whose features 6 bins divide."""

    def conv(x, name, size, filters, stride=1, padding="VALID", rate=1, relu=True):
        kernel = layers.kernel(f"{name}/weights", x, size, filters)
        x = layers.normalized(tf.nn.conv2d(x, kernel, stride, padding, dilations=rate), f"{name}_bn")
        return tf.nn.relu(x) if relu else x

    x = images
    for name, filters, stride in (("conv1_1_3x3_s2", 64, 2), ("conv1_2_3x3", 64, 1), ("conv1_3_3x3", 128, 1)):
        x = conv(x, name, 3, filters, stride, "SAME")
    x = tf.nn.max_pool2d(x, 3, 2, "SAME")
    for stage, (units, depth, rate) in enumerate(zip(UNITS, DEPTHS, (1, 1, 2, 4), strict=True), start=2):
        for unit in range(1, units + 1):
            name, stride = f"conv{stage}_{unit}_1x1", 2 if (stage, unit) == (3, 1) else 1
            shortcut = conv(x, f"{name}_proj", 1, depth, stride, relu=False) if unit == 1 else x
            inner = conv(x, f"{name}_reduce", 1, depth // 4, stride)
            inner = tf.pad(inner, [[0, 0], [rate, rate], [rate, rate], [0, 0]])
            inner = conv(inner, f"conv{stage}_{unit}_3x3", 3, depth // 4, rate=rate)
            x = tf.nn.relu(shortcut + conv(inner, f"{name}_increase", 1, depth, relu=False))
    levels = [x]
    for bins in (6, 3, 2, 1):
        window = [size // bins for size in x.shape.as_list()[1:3]]
        pooled = conv(tf.nn.avg_pool2d(x, window, window, "VALID"), f"conv5_3_pool{bins}_conv", 1, DEPTHS[-1] // 4)
        levels.append(tf.image.resize_bilinear(pooled, x.shape[1:3], align_corners=True))
    x = conv(tf.concat(levels, axis=-1), "conv5_4", 3, HEAD_DEPTH, padding="SAME")
    x = tf.nn.conv2d(x, layers.kernel("conv6/weights", x, 1, CLASSES), 1, "VALID")
    x += layers.vector("conv6/biases", CLASSES, -1, 1)
    return tf.image.resize_bilinear(x, images.shape[1:3], align_corners=True)


class Slim:
    """The layers of tf-slim that fast-semantic-segmentation builds."""

    def __init__(self, layers: Layers, filter_scale: float = 1.0) -> None:
        """Takes the `filter_scale` of a configuration, of which the project's code has the inverse."""
        self.layers = layers
        self.filter_scale = 1 / filter_scale

    def filters(self, count: int) -> int:
        """As in `512//self._filter_scale`."""
        return int(count // self.filter_scale)

    def conv(self, x, name, size, filters, stride=1, rate=1, activation=tf.nn.relu6):
        """slim.conv2d with batch normalization, or resnet_utils.conv2d_same for a kernel with a stride.

        The activation is that of builders/hyperparams_builder.py, which holds outside the encoder.
        """
        kernel, padding = self.layers.kernel(f"{name}/weights", x, size, filters), "SAME"
        if stride > 1 and size > 1:
            x, padding = tf.pad(x, [[0, 0], [size // 2] * 2, [size // 2] * 2, [0, 0]]), "VALID"
        x = self.layers.normalized(tf.nn.conv2d(x, kernel, stride, padding, dilations=rate), f"{name}/BatchNorm")
        return x if activation is None else activation(x)

    def unit(self, x, name, depth, stride, rate):
        """dilated_resnet_v1.bottleneck."""
        name = f"{name}/bottleneck_v1"
        if x.shape.as_list()[-1] == depth:
            shortcut = tf.nn.max_pool2d(x, 1, stride, "SAME")
        else:
            shortcut = self.conv(x, f"{name}/shortcut", 1, depth, stride, activation=None)
        inner = self.conv(x, f"{name}/conv1", 1, depth // 4, activation=tf.nn.relu)
        inner = self.conv(inner, f"{name}/conv2", 3, depth // 4, stride, rate, activation=tf.nn.relu)
        return tf.nn.relu(shortcut + self.conv(inner, f"{name}/conv3", 1, depth, activation=None))

    def encoder(self, images, halves=False, output_stride=8):
        """dilated_resnet_v1_50 and resnet_utils.stack_blocks_dense; returns the outputs of blocks 1 and 4."""
        scope = "SharedFeatureExtractor/resnet_v1_50"
        x = self.conv(images, f"{scope}/conv1", 7, self.filters(64), 2, activation=tf.nn.relu)
        x = tf.nn.max_pool2d(x, 3, 2, "SAME")
        current, rate = 4, 1
        blocks = zip(UNITS, DEPTHS, (2, 2, 2, 1), (1, 1, 2, 4), strict=True)
        for block, (units, full_depth, last_stride, own_rate) in enumerate(blocks, start=1):
            for unit in range(1, units + 1):
                name, stride = f"{scope}/block{block}/unit_{unit}", last_stride if unit == units else 1
                depth = self.filters(full_depth)
                if current == output_stride:
                    x = self.unit(x, name, depth, 1, rate * own_rate)
                    rate *= stride
                else:
                    x = self.unit(x, name, depth, stride, own_rate)
                    current *= stride
            if block == 1:
                first, x = x, interpolated(x, 0.5) if halves else x
        return first, x


def interpolated(x, factor):
    """_dynamic_interpolation, and dilated_resnet_v1.downsample."""
    size = [int((length - 1) * factor) + 1 for length in x.shape.as_list()[1:3]]
    return tf.image.resize_bilinear(x, size, align_corners=True)


def fast_segmentation(layers: Layers, images: tf.Tensor, filter_scale: float = 1.0) -> tf.Tensor:
    """fast-semantic-segmentation's PSPNet (pspnet_architecture.py), for sizes whose features 6 bins divide.

    Its pooled levels have as many channels with every filter scale.
    """
    slim = Slim(layers, filter_scale)
    _, x = slim.encoder(images)
    levels = [x]
    for number, bins in enumerate((1, 2, 3, 6)):
        window = [size // bins for size in x.shape.as_list()[1:3]]
        pooled = tf.nn.avg_pool2d(x, window, window, "VALID")
        pooled = slim.conv(pooled, "PSPModule/Conv" + (f"_{number}" if number else ""), 1, DEPTHS[-1] // 4)
        levels.append(tf.image.resize_bilinear(pooled, x.shape[1:3], align_corners=True))
    x = slim.conv(tf.concat(levels, axis=-1), "PSPModule/Conv_4", 3, slim.filters(HEAD_DEPTH))
    x = tf.nn.conv2d(x, layers.kernel("Predictions/Conv/weights", x, 1, CLASSES), 1, "SAME")
    x += layers.vector("Predictions/Conv/biases", CLASSES, -1, 1)
    return tf.image.resize_bilinear(x, images.shape[1:3], align_corners=True)


def fast_icnet(layers: Layers, images: tf.Tensor, filter_scale: float = 1.0) -> tf.Tensor:
    """fast-semantic-segmentation's ICNet (icnet_architecture.py), for sizes whose smallest features 6 bins divide."""
    slim = Slim(layers, filter_scale)
    width, fused = slim.filters(HEAD_DEPTH), slim.filters(256)
    half, x = slim.encoder(interpolated(images, 0.5), halves=True)
    size = x.shape.as_list()[1:3]
    total = x
    for bins in (1, 2, 3, 6):
        window = [length // bins for length in size]
        total += tf.image.resize_bilinear(tf.nn.avg_pool2d(x, window, window, "VALID"), size, align_corners=True)
    x = slim.conv(total, "FastPSPModule/Conv", 1, width)
    full = images
    for number, (depth, stride) in enumerate(((64, 2), (64, 2), (128, 2), (256, 1))):
        full = slim.conv(full, "Conv" + (f"_{number}" if number else ""), 3, slim.filters(depth), stride)
    for number, fine in enumerate((half, full)):
        scope, x = f"CascadeFeatureFusion_{number}", interpolated(x, 2)
        layers.kernel(f"{scope}/AuxOutput/weights", x, 1, CLASSES)
        layers.vector(f"{scope}/AuxOutput/biases", CLASSES, -1, 1)
        coarse = slim.conv(x, f"{scope}/DilatedConv", 3, fused, rate=2, activation=None)
        x = tf.nn.relu(slim.conv(fine, f"{scope}/Conv", 1, fused, activation=None) + coarse)
    x = interpolated(x, 2)
    x = tf.nn.conv2d(x, layers.kernel("Predictions/postrain/weights", x, 1, CLASSES), 1, "SAME")
    x += layers.vector("Predictions/postrain/biases", CLASSES, -1, 1)
    return interpolated(x, 4)


def logits_of(
    network: Callable[[Layers, tf.Tensor], tf.Tensor], layers: Layers, images: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Runs a network on images that are prepared for it."""
    with tf.Graph().as_default(), tf.Session() as session:
        return session.run([network(layers, tf.constant(image)) for image in images])


def nested(arrays: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Returns tensors by layer and tensor, as the dictionaries have it that were made from Caffe's models."""
    content: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        layer, tensor = re.fullmatch(r"(.*)/(.*)", name).groups()
        content.setdefault(layer, {})[tensor] = array
    return content
