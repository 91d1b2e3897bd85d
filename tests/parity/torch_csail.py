"""CSAILVision's networks as PyTorch modules, with their names of weights: an encoder, and one of three decoders.

A decoder takes the outputs of blocks 1 to 4 and a size, and gives the logits of its heads there, the main one's first;
all upsampling is on the half-pixel grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from tests.parity.torch_pspnets import BINS, resized
from tests.parity.torch_resnets import DeepResNet, Pattern, csail, layer

Tensors = Sequence[torch.Tensor]

# Channels of blocks 1 to 4 by the depth of the ResNet.
CHANNELS = {18: (64, 128, 256, 512), 50: (256, 512, 1024, 2048)}
LEVEL_CHANNELS = 512


def like(x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return resized(x, target.shape[2:], align_corners=False)


class DeeplySupervised(nn.Module):
    """A second head on block 3, cbr_deepsup and conv_last_deepsup, if it is wanted."""

    def add_deep_supervision(self, channels: int, classes: int, deep_supervision: bool) -> None:
        """Adds the second head, after a block 4 of so many channels."""
        if deep_supervision:
            self.cbr_deepsup = nn.Sequential(*layer(channels // 2, channels // 4, 3))
            self.conv_last_deepsup = nn.Conv2d(channels // 4, classes, 1)
        self.deep_supervision = deep_supervision

    def both(self, logits: torch.Tensor, blocks: Tensors, size: Sequence[int]) -> Tensors:
        outputs = [logits]
        if self.deep_supervision:
            outputs.append(self.conv_last_deepsup(self.cbr_deepsup(blocks[2])))
        return [resized(x, size, align_corners=False) for x in outputs]


class PyramidPooling(DeeplySupervised):
    """ppm, ppm_deepsup: averages through a 1x1 layer, then upsampled."""

    def __init__(self, channels: Sequence[int], classes: int, deep_supervision: bool) -> None:
        super().__init__()
        last = channels[-1]
        self.ppm = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), *layer(last, LEVEL_CHANNELS, 1)) for bins in BINS
        )
        self.conv_last = nn.Sequential(
            *layer(last + 4 * LEVEL_CHANNELS, 512, 3), nn.Dropout2d(0.1), nn.Conv2d(512, classes, 1)
        )
        self.add_deep_supervision(last, classes, deep_supervision)

    def forward(self, blocks: Tensors, size: Sequence[int]) -> Tensors:
        levels = [like(level(blocks[-1]), blocks[-1]) for level in self.ppm]
        return self.both(self.conv_last(torch.cat([blocks[-1], *levels], dim=1)), blocks, size)


class OneConvolution(DeeplySupervised):
    """c1, c1_deepsup."""

    def __init__(self, channels: Sequence[int], classes: int, deep_supervision: bool) -> None:
        super().__init__()
        last = channels[-1]
        self.cbr = nn.Sequential(*layer(last, last // 4, 3))
        self.conv_last = nn.Conv2d(last // 4, classes, 1)
        self.add_deep_supervision(last, classes, deep_supervision)

    def forward(self, blocks: Tensors, size: Sequence[int]) -> Tensors:
        return self.both(self.conv_last(self.cbr(blocks[-1])), blocks, size)


class UPerNet(nn.Module):
    """upernet, of 512 channels, and upernet_lite, of 256: averages upsampled, then through a 1x1 layer.

    CSAILVision's is for bottleneck units alone, whose blocks have 256 to 2048 channels.
    """

    def __init__(self, channels: Sequence[int], classes: int, depth: int, level_channels: int = LEVEL_CHANNELS) -> None:
        super().__init__()
        *lower, last = channels
        self.ppm_pooling = nn.ModuleList(nn.AdaptiveAvgPool2d(bins) for bins in BINS)
        self.ppm_conv = nn.ModuleList(nn.Sequential(*layer(last, level_channels, 1)) for _ in BINS)
        self.ppm_last_conv = nn.Sequential(*layer(last + 4 * level_channels, depth, 3))
        self.fpn_in = nn.ModuleList(nn.Sequential(*layer(count, depth, 1)) for count in lower)
        self.fpn_out = nn.ModuleList(nn.Sequential(nn.Sequential(*layer(depth, depth, 3))) for _ in lower)
        self.conv_last = nn.Sequential(nn.Sequential(*layer(4 * depth, depth, 3)), nn.Conv2d(depth, classes, 1))

    def fused(self, blocks: Tensors) -> torch.Tensor:
        """The logits at the size of block 1."""
        *lower, last = blocks
        pooled = [like(average(last), last) for average in self.ppm_pooling]
        levels = [conv(x) for conv, x in zip(self.ppm_conv, pooled, strict=True)]
        top = self.ppm_last_conv(torch.cat([last, *levels], dim=1))
        outputs = [top]
        for block, lateral, output in zip(lower[::-1], self.fpn_in[::-1], self.fpn_out[::-1], strict=True):
            x = lateral(block)
            top = x + like(top, x)
            outputs.insert(0, output(top))
        return self.conv_last(torch.cat([like(output, outputs[0]) for output in outputs], dim=1))

    def forward(self, blocks: Tensors, size: Sequence[int]) -> Tensors:
        return [resized(self.fused(blocks), size, align_corners=False)]


class CsailNetwork(nn.Module):
    """An encoder, dilated unless a pattern says otherwise, and a decoder; their weights are in two files."""

    def __init__(self, depth: int, decoder: nn.Module, pattern: Pattern = csail) -> None:
        super().__init__()
        self.encoder = DeepResNet(depth, pattern)
        self.decoder = decoder

    def forward(self, images: torch.Tensor) -> Tensors:
        return self.decoder(self.encoder.features(images), images.shape[2:])
