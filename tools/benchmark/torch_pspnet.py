"""PSPNet in PyTorch in its common form: eager, channels last, automatic mixed precision."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from model.architecture import Architecture
from model.choices import NETWORKS, STEMS, ResNet
from model.decoders import AUXILIARY_DEPTH, DROPOUT_RATE, HEAD_DEPTH, PYRAMID_BINS
from model.resnet import Unit, plan_blocks
from model.training_graph import AUXILIARY_WEIGHT

AUTOCAST = {"32": None, "16": torch.float16, "bf16": torch.bfloat16}


def _layer(channels: int, filters: int, size: int, stride: int = 1, rate: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, filters, size, stride, rate * (size // 2), rate, bias=False)
    return [convolution, nn.BatchNorm2d(filters), nn.ReLU(inplace=True)]


class _ResidualUnit(nn.Module):
    def __init__(self, channels: int, unit: Unit, bottleneck: bool) -> None:
        super().__init__()
        width = unit.depth // 4 if bottleneck else unit.depth
        if bottleneck:
            layers = [*_layer(channels, width, 1), *_layer(width, width, 3, unit.stride, unit.rate)]
            layers += _layer(width, unit.depth, 1)
        else:
            layers = [*_layer(channels, width, 3, unit.stride, unit.rate), *_layer(width, width, 3, 1, unit.next_rate)]
        self.residual = nn.Sequential(*layers[:-1])
        is_projected = unit.stride > 1 or channels != unit.depth
        self.shortcut = nn.Sequential(*_layer(channels, unit.depth, 1, unit.stride)[:-1] if is_projected else ())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.shortcut(x) + self.residual(x), inplace=True)


class TorchPSPNet(nn.Module):
    """Returns logits [N, classes, H, W] of the head and, in training, of the auxiliary head."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        network = NETWORKS[architecture.network]
        assert isinstance(network, ResNet)  # see benchmark/flags.py
        stem: list[nn.Module] = []
        channels = 3
        for layer in STEMS[architecture.stem]:
            stem.extend(_layer(channels, layer.depth, layer.kernel_size, layer.stride))
            channels = layer.depth
        self.stem = nn.Sequential(*stem, nn.MaxPool2d(3, 2, padding=1))
        blocks = []
        for units in plan_blocks(architecture.network, "reference", architecture.output_stride):
            modules = []
            for unit in units:
                modules.append(_ResidualUnit(channels, unit, network.bottleneck))
                channels = unit.depth
            blocks.append(nn.Sequential(*modules))
        self.before, self.block4 = nn.Sequential(*blocks[:3]), blocks[3]
        width = channels // len(PYRAMID_BINS)
        self.levels = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), *_layer(channels, width, 1)) for bins in PYRAMID_BINS
        )
        self.head = self._head(channels + width * len(PYRAMID_BINS), HEAD_DEPTH, architecture.num_classes)
        self.auxiliary = self._head(network.depths[2], AUXILIARY_DEPTH, architecture.num_classes)

    @staticmethod
    def _head(channels: int, depth: int, classes: int) -> nn.Sequential:
        return nn.Sequential(*_layer(channels, depth, 3), nn.Dropout(DROPOUT_RATE), nn.Conv2d(depth, classes, 1))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        size = images.shape[2:]
        block3 = self.before(self.stem(images))
        block4 = self.block4(block3)
        levels = [_resized(level(block4), block4.shape[2:]) for level in self.levels]
        heads = [self.head(torch.cat([block4, *levels], dim=1))]
        if self.training:
            heads.append(self.auxiliary(block3))
        return [_resized(logits, size) for logits in heads]


def _resized(x: torch.Tensor, size: torch.Size) -> torch.Tensor:
    return functional.interpolate(x, size, mode="bilinear", align_corners=False)


def _make_channels_last(model: nn.Module) -> None:
    for weights in model.parameters():
        if weights.ndim == 4:
            weights.data = weights.data.contiguous(memory_format=torch.channels_last)


def _channels_first(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def torch_inference(architecture: Architecture, float_type: str, images: np.ndarray) -> Callable[[], object]:
    """Returns a call that computes probabilities of float32 images [N, H, W, 3]."""
    model = TorchPSPNet(architecture).eval()
    _make_channels_last(model)
    inputs, half = _channels_first(images), AUTOCAST[float_type]

    def run() -> object:
        with torch.inference_mode(), torch.autocast("cpu", dtype=half, enabled=half is not None):
            return functional.softmax(model(inputs)[0].float(), dim=1).numpy()

    return run


def torch_training(
    architecture: Architecture, float_type: str, images: np.ndarray, labels: np.ndarray, learning_rate: float
) -> Callable[[], object]:
    """Returns a call that runs one step on float32 images [N, H, W, 3] and int labels [N, H, W]."""
    model = TorchPSPNet(architecture).train()
    _make_channels_last(model)
    optimizer = torch.optim.SGD(model.parameters(), learning_rate, momentum=0.9, weight_decay=1e-4)
    inputs, targets, half = _channels_first(images), torch.from_numpy(labels).long(), AUTOCAST[float_type]

    def run() -> object:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=half, enabled=half is not None):
            main, auxiliary = model(inputs)
        losses = [functional.cross_entropy(x.float(), targets, ignore_index=255) for x in (main, auxiliary)]
        loss = losses[0] + AUXILIARY_WEIGHT * losses[1]
        loss.backward()
        optimizer.step()
        return loss.item()

    return run
