"""ResNets of other projects as PyTorch modules, with those projects' names of weights, strides and dilation.

Every network takes float32 images [N, 3, H, W], RGB in 0..255, and prepares them as its project does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

# Units of the four blocks; three layers a unit from ResNet-50 on.
UNITS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class Spacing(NamedTuple):
    """Stride of the first 3x3 layer of a unit, its dilation, and that of the second 3x3 layer of a basic unit."""

    stride: int = 1
    dilation: int = 1
    second_dilation: int = 1


# Of the unit of a block: (block from 1, whether it is the block's first) -> Spacing.
Pattern = Callable[[int, bool], Spacing]


def strided(block: int, first: bool) -> Spacing:
    """torchvision's, for classification: output stride 32."""
    return Spacing(2 if first and block > 1 else 1)


def torchvision_dilated(block: int, first: bool) -> Spacing:
    """torchvision's with replace_stride_with_dilation=(False, True, True), as `_make_layer` computes it.

    The dilation of the block before is that of the block's first unit.
    """
    dilation = previous = 1
    for replaced in (False, False, True, True)[:block]:
        previous = dilation
        dilation *= 2 if replaced else 1
    return Spacing(2 if first and block == 2 else 1, previous if first else dilation, dilation)


def semseg(block: int, first: bool) -> Spacing:
    """hszhao/semseg's PSPNet: every 3x3 layer of blocks 3 and 4 has dilation 2 and 4."""
    if block < 3:
        return strided(block, first)
    return Spacing(1, *((2, 2) if block == 3 else (4, 4)))


def csail(block: int, first: bool) -> Spacing:
    """CSAILVision's ResnetDilated: the layer that had the stride keeps half the dilation of the others."""
    if block < 3:
        return strided(block, first)
    dilation = 2 if block == 3 else 4
    return Spacing(1, dilation // 2 if first else dilation, dilation)


def mmseg(block: int, first: bool) -> Spacing:
    """mmsegmentation's with contract_dilation: as CSAILVision's, and a basic unit's second layer is not dilated."""
    return csail(block, first)._replace(second_dilation=1)


class Kind(NamedTuple):
    """What ResNeXt, wide ResNets and ResNet-D change in a bottleneck.

    Attributes:
        widening: channels of the 3x3 layer as a multiple of a ResNet's.
        groups: groups of the 3x3 layer.
        averaged: whether a strided shortcut averages before its convolution; its layers are then downsample.1 and .2.
    """

    widening: int = 1
    groups: int = 1
    averaged: bool = False


PLAIN = Kind()
RESNEXT_32X4D = Kind(widening=2, groups=32)
RESNEXT_32X8D = Kind(widening=4, groups=32)
WIDE = Kind(widening=2)
AVERAGED = Kind(averaged=True)


def convolution(
    channels: int, filters: int, size: int, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Conv2d:
    """A convolution without bias that keeps the size but for its stride."""
    return nn.Conv2d(channels, filters, size, stride, dilation * (size // 2), dilation, groups, bias=False)


def layer(channels: int, filters: int, size: int, stride: int = 1) -> list[nn.Module]:
    """Convolution, batch normalization and ReLU."""
    return [convolution(channels, filters, size, stride), nn.BatchNorm2d(filters), nn.ReLU()]


class Unit(nn.Module):
    """A residual unit: conv1, bn1, conv2, bn2, perhaps conv3, bn3, and downsample.0, downsample.1."""

    def __init__(self, channels: int, width: int, spacing: Spacing, bottleneck: bool, kind: Kind = PLAIN) -> None:
        super().__init__()
        stride, dilation, second_dilation = spacing
        depth = 4 * width if bottleneck else width
        if bottleneck:
            width *= kind.widening
            self.conv1 = convolution(channels, width, 1)
            self.conv2 = convolution(width, width, 3, stride, dilation, kind.groups)
            self.conv3 = convolution(width, depth, 1)
            self.bn3 = nn.BatchNorm2d(depth)
        else:
            self.conv1 = convolution(channels, width, 3, stride, dilation)
            self.conv2 = convolution(width, width, 3, 1, second_dilation)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.bottleneck = bottleneck
        self.downsample = None
        if stride != 1 or channels != depth:
            layers = [convolution(channels, depth, 1, stride), nn.BatchNorm2d(depth)]
            if kind.averaged:  # AvgPool2d(1) has no effect
                average = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
                layers = [average, convolution(channels, depth, 1), nn.BatchNorm2d(depth)]
            self.downsample = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.bottleneck:
            x = self.bn3(self.conv3(functional.relu(x)))
        return functional.relu(x + shortcut)


class Blocks(nn.Module):
    """layer1 to layer4."""

    def add_blocks(self, depth: int, channels: int, pattern: Pattern, kind: Kind = PLAIN) -> None:
        """Adds the residual units of a ResNet after a stem of so many channels."""
        bottleneck = depth >= 50
        for block, (units, width) in enumerate(zip(UNITS[depth], (64, 128, 256, 512), strict=True), start=1):
            modules = []
            for index in range(units):
                modules.append(Unit(channels, width, pattern(block, index == 0), bottleneck, kind))
                channels = 4 * width if bottleneck else width
            self.add_module(f"layer{block}", nn.Sequential(*modules))

    def run_all_blocks(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The outputs of blocks 1 to 4."""
        outputs = []
        for block in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = block(x)
            outputs.append(x)
        return outputs

    def run_blocks(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The outputs of blocks 3 and 4."""
        _, _, block3, block4 = self.run_all_blocks(x)
        return block3, block4


def pool(x: torch.Tensor) -> torch.Tensor:
    return functional.max_pool2d(x, 3, 2, padding=1)


def normalized(images: torch.Tensor) -> torch.Tensor:
    """As torchvision's: scaled to 0..1, less ImageNet's mean, over its deviation."""
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, None, :, None, None]
    return (images / 255 - mean) / deviation


class TorchvisionResNet(Blocks):
    """torchvision's ResNet, v1.5: conv1, bn1, layer1 to layer4, fc. Gives the output of block 4."""

    def __init__(self, depth: int, pattern: Pattern = strided, classes: int = 1000, kind: Kind = PLAIN) -> None:
        super().__init__()
        self.conv1, self.bn1 = convolution(3, 64, 7, 2), nn.BatchNorm2d(64)
        self.add_blocks(depth, 64, pattern, kind)
        self.fc = nn.Linear(2048 if depth >= 50 else 512, classes)

    def all_features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The outputs of blocks 1 to 4."""
        return self.run_all_blocks(pool(functional.relu(self.bn1(self.conv1(normalized(images))))))

    def features(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The outputs of blocks 3 and 4."""
        _, _, block3, block4 = self.all_features(images)
        return block3, block4

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.features(images)[1]


class TimmResNetD(Blocks):
    """timm's resnet50d: three layers conv1.0 to conv1.6 and bn1, averages in the shortcuts. Gives block 4's output.

    Without a stride nothing is averaged, as in GluonCV and mmsegmentation; timm averages there too.
    """

    def __init__(self, depth: int, pattern: Pattern = strided) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(*layer(3, 32, 3, 2), *layer(32, 32, 3), convolution(32, 64, 3))
        self.bn1 = nn.BatchNorm2d(64)
        self.add_blocks(depth, 64, pattern, AVERAGED)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.run_blocks(pool(functional.relu(self.bn1(self.conv1(normalized(images))))))[1]


class SqueezeExcitation(nn.Module):
    """timm's, as `se` in the units of its seresnet."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, channels // 16, 1), nn.Conv2d(channels // 16, channels, 1)


def with_squeeze_excitation(network: TorchvisionResNet) -> TorchvisionResNet:
    """Adds the layers of timm's seresnet; the names of the others are torchvision's."""
    for module in network.modules():
        if isinstance(module, Unit):
            last = module.conv3 if module.bottleneck else module.conv2
            module.se = SqueezeExcitation(last.out_channels)
    return network


class DeepResNet(Blocks):
    """hszhao/semseg's ResNet and CSAILVision's: three layers conv1, bn1 to conv3, bn3 in the stem."""

    def __init__(self, depth: int, pattern: Pattern = strided) -> None:
        super().__init__()
        for number, (channels, filters, stride) in enumerate([(3, 64, 2), (64, 64, 1), (64, 128, 1)], start=1):
            self.add_module(f"conv{number}", convolution(channels, filters, 3, stride))
            self.add_module(f"bn{number}", nn.BatchNorm2d(filters))
        self.add_blocks(depth, 128, pattern)

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        x = normalized(images)
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = functional.relu(norm(conv(x)))
        return self.run_all_blocks(pool(x))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.features(images)[-1]
