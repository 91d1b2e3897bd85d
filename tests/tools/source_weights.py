"""Weights in the layouts of other projects, for ResNets of one basic unit per block and networks on them."""

from __future__ import annotations

import numpy as np

from tests.tools.toy_runs import NARROW

CLASSES = 3


class _Layers:
    """Random tensors by PyTorch's names."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.weights: dict[str, np.ndarray] = {}

    def convolution(self, name: str, filters: int, channels: int, size: int, has_bias: bool = False) -> None:
        kernel = self._rng.normal(0, (2 / (channels * size**2)) ** 0.5, (filters, channels, size, size))
        self.weights[f"{name}.weight"] = kernel.astype(np.float32)
        if has_bias:
            self.weights[f"{name}.bias"] = self._rng.normal(size=filters).astype(np.float32)

    def normalization(self, name: str, channels: int) -> None:
        for tensor, center in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            noise = self._rng.uniform(-0.5, 0.5, channels)
            self.weights[f"{name}.{tensor}"] = (center + noise).astype(np.float32)
        self.weights[f"{name}.num_batches_tracked"] = np.int64(5)

    def units(self, channels: int) -> None:
        for block, depth in enumerate(NARROW.depths, start=1):
            name = f"layer{block}.0"
            if channels != depth:
                self.convolution(f"{name}.downsample.0", depth, channels, 1)
                self.normalization(f"{name}.downsample.1", depth)
            self.convolution(f"{name}.conv1", depth, channels, 3)
            self.normalization(f"{name}.bn1", depth)
            self.convolution(f"{name}.conv2", depth, depth, 3)
            self.normalization(f"{name}.bn2", depth)
            channels = depth


def torchvision_weights(seed: int = 0) -> dict[str, np.ndarray]:
    """A ResNet of torchvision's layout, its classifier included."""
    layers = _Layers(seed)
    layers.convolution("conv1", 64, 3, 7)
    layers.normalization("bn1", 64)
    layers.units(64)
    layers.weights["fc.weight"] = np.zeros((1000, NARROW.depths[-1]), np.float32)
    layers.weights["fc.bias"] = np.zeros(1000, np.float32)
    return layers.weights


def semseg_weights(seed: int = 0) -> dict[str, np.ndarray]:
    """A PSPNet of hszhao/semseg's layout, its auxiliary head included."""
    layers = _Layers(seed)
    for index, (filters, channels) in {0: (64, 3), 3: (64, 64), 6: (128, 64)}.items():
        layers.convolution(f"layer0.{index}", filters, channels, 3)
        layers.normalization(f"layer0.{index + 1}", filters)
    layers.units(128)
    features = NARROW.depths[-1]
    for index in range(4):
        layers.convolution(f"ppm.features.{index}.1", features // 4, features, 1)
        layers.normalization(f"ppm.features.{index}.2", features // 4)
    for name, filters, channels in (("cls", 512, 2 * features), ("aux", 256, NARROW.depths[-2])):
        layers.convolution(f"{name}.0", filters, channels, 3)
        layers.normalization(f"{name}.1", filters)
        layers.convolution(f"{name}.4", CLASSES, filters, 1, has_bias=True)
    return layers.weights


def smp_weights(
    classes: int = CLASSES, blocks: int = 2, depth: int = 24, seed: int = 0, has_norm: bool = True
) -> dict[str, np.ndarray]:
    """segmentation_models.pytorch's PSPNet whose encoder ends after a block; later blocks are there all the same."""
    layers = _Layers(seed)
    layers.convolution("conv1", 64, 3, 7)
    layers.normalization("bn1", 64)
    layers.units(64)
    encoder = {f"encoder.{name}": array for name, array in layers.weights.items()}
    layers.weights = {}
    features = NARROW.depths[blocks - 1]
    sizes = {f"psp.blocks.{index}.pool.1": (features // 4, features) for index in range(4)}
    for name, (filters, channels) in {**sizes, "conv": (depth, 2 * features)}.items():
        is_normalized = has_norm and name != "psp.blocks.0.pool.1"
        layers.convolution(f"decoder.{name}.0", filters, channels, 1, has_bias=not is_normalized)
        if is_normalized:
            layers.normalization(f"decoder.{name}.1", filters)
    layers.convolution("segmentation_head.0", classes, depth, 3, has_bias=True)
    return {**encoder, **layers.weights}


def _csail_encoder(layers: _Layers) -> None:
    for number, (filters, channels) in enumerate([(64, 3), (64, 64), (128, 64)], start=1):
        layers.convolution(f"conv{number}", filters, channels, 3)
        layers.normalization(f"bn{number}", filters)
    layers.units(128)


def csail_c1_weights(classes: int = CLASSES, seed: int = 0) -> dict[str, np.ndarray]:
    """CSAILVision's encoder and its decoder c1_deepsup, whose layers have a quarter of the last block's channels."""
    layers = _Layers(seed)
    _csail_encoder(layers)
    depth = NARROW.depths[-1] // 4
    for suffix, channels in (("", NARROW.depths[-1]), ("_deepsup", NARROW.depths[-2])):
        layers.convolution(f"cbr{suffix}.0", depth, channels, 3)
        layers.normalization(f"cbr{suffix}.1", depth)
        layers.convolution(f"conv_last{suffix}", classes, depth, 1, has_bias=True)
    return layers.weights


def csail_upernet_weights(
    classes: int = CLASSES, pyramid_depth: int = 48, depth: int = 24, seed: int = 0
) -> dict[str, np.ndarray]:
    """CSAILVision's encoder and its decoder upernet, which has 512 channels in every level and 512 or 256 elsewhere."""
    layers = _Layers(seed)
    _csail_encoder(layers)
    *lower, last = NARROW.depths
    for index in range(4):
        layers.convolution(f"ppm_conv.{index}.0", pyramid_depth, last, 1)
        layers.normalization(f"ppm_conv.{index}.1", pyramid_depth)
    layers.convolution("ppm_last_conv.0", depth, last + 4 * pyramid_depth, 3)
    layers.normalization("ppm_last_conv.1", depth)
    for index, channels in enumerate(lower):
        layers.convolution(f"fpn_in.{index}.0", depth, channels, 1)
        layers.normalization(f"fpn_in.{index}.1", depth)
        layers.convolution(f"fpn_out.{index}.0.0", depth, depth, 3)
        layers.normalization(f"fpn_out.{index}.0.1", depth)
    layers.convolution("conv_last.0.0", depth, 4 * depth, 3)
    layers.normalization("conv_last.0.1", depth)
    layers.convolution("conv_last.1", classes, depth, 1, has_bias=True)
    return layers.weights
