"""PSPNets of other projects as PyTorch modules, with those projects' names of weights, strides, dilation and grids.

Every network takes float32 images [N, 3, H, W], RGB in 0..255, and prepares them as its project does; it gives the
logits of its heads, [N, classes, H, W], the main one's first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from tests.parity.torch_resnets import (
    PLAIN,
    UNITS,
    Blocks,
    Kind,
    Pattern,
    TorchvisionResNet,
    convolution,
    layer,
    mmseg,
    normalized,
    pool,
    semseg,
    strided,
)

BINS = (1, 2, 3, 6)


def resized(x: torch.Tensor, size: Sequence[int], align_corners: bool) -> torch.Tensor:
    return functional.interpolate(x, tuple(size), mode="bilinear", align_corners=align_corners)


class SemsegPSPNet(Blocks):
    """hszhao/semseg's PSPNet: layer0, layer1 to layer4, ppm.features, cls, aux; align-corners, sizes 8n + 1."""

    def __init__(self, depth: int, classes: int) -> None:
        super().__init__()
        self.layer0 = nn.Sequential(
            *layer(3, 64, 3, 2), *layer(64, 64, 3), *layer(64, 128, 3), nn.MaxPool2d(3, 2, padding=1)
        )
        self.add_blocks(depth, 128, semseg)
        self.ppm = nn.Module()
        self.ppm.features = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), *layer(2048, 512, 1)) for bins in BINS
        )
        self.cls = nn.Sequential(*layer(4096, 512, 3), nn.Dropout2d(0.1), nn.Conv2d(512, classes, 1))
        self.aux = nn.Sequential(*layer(1024, 256, 3), nn.Dropout2d(0.1), nn.Conv2d(256, classes, 1))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        size = images.shape[2:]
        assert all(length % 8 == 1 for length in size)
        block3, block4 = self.run_blocks(self.layer0(normalized(images)))
        levels = [resized(level(block4), block4.shape[2:], align_corners=True) for level in self.ppm.features]
        logits = self.cls(torch.cat([block4, *levels], dim=1))
        return resized(logits, size, align_corners=True), resized(self.aux(block3), size, align_corners=True)


class ConvModule(nn.Module):
    """mmsegmentation's conv, bn and ReLU."""

    def __init__(self, channels: int, filters: int, size: int) -> None:
        super().__init__()
        self.conv, self.bn = convolution(channels, filters, size), nn.BatchNorm2d(filters)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.bn(self.conv(x)))


class MmsegBackbone(Blocks):
    """ResNetV1c: a stem of 32, 32 and 64 channels; ResNet (V1b): torchvision's stem."""

    def __init__(self, depth: int, deep_stem: bool, pattern: Pattern = mmseg) -> None:
        super().__init__()
        if deep_stem:
            self.stem = nn.Sequential(*layer(3, 32, 3, 2), *layer(32, 32, 3), *layer(32, 64, 3))
        else:
            self.conv1, self.bn1 = convolution(3, 64, 7, 2), nn.BatchNorm2d(64)
        self.deep_stem = deep_stem
        self.add_blocks(depth, 64, pattern)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The outputs of blocks 1 to 4."""
        x = self.stem(x) if self.deep_stem else functional.relu(self.bn1(self.conv1(x)))
        return self.run_all_blocks(pool(x))


class MmsegInput(NamedTuple):
    """How it prepares pixels: mean and deviation are in the order of its channels."""

    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    bgr: bool = False


IMAGENET_RGB = MmsegInput()


class MmsegPSPNet(nn.Module):
    """mmsegmentation's EncoderDecoder: backbone, decode_head (PSPHead), auxiliary_head (FCNHead)."""

    def __init__(
        self,
        depth: int,
        classes: int,
        deep_stem: bool = True,
        *,
        pattern: Pattern = mmseg,
        align_corners: bool = False,
        pixels: MmsegInput = IMAGENET_RGB,
    ) -> None:
        super().__init__()
        channels, width = (2048, 512) if depth >= 50 else (512, 128)
        self.align_corners, self.pixels = align_corners, pixels
        self.backbone = MmsegBackbone(depth, deep_stem, pattern)
        self.decode_head = nn.Module()
        self.decode_head.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), ConvModule(channels, width, 1)) for bins in BINS
        )
        self.decode_head.bottleneck = ConvModule(channels + 4 * width, width, 3)
        self.decode_head.conv_seg = nn.Conv2d(width, classes, 1)
        self.auxiliary_head = nn.Module()
        self.auxiliary_head.convs = nn.Sequential(ConvModule(channels // 2, width // 2, 3))
        self.auxiliary_head.conv_seg = nn.Conv2d(width // 2, classes, 1)

    def forward(self, images: torch.Tensor) -> Sequence[torch.Tensor]:
        mean, deviation = torch.tensor([self.pixels.mean, self.pixels.std])[:, None, :, None, None]
        blocks = self.backbone(((images.flip(1) if self.pixels.bgr else images) - mean) / deviation)
        logits = self.decode_head.conv_seg(self.features(blocks))
        auxiliary = self.auxiliary_head.conv_seg(self.auxiliary_head.convs(blocks[2]))
        return [resized(x, images.shape[2:], self.align_corners) for x in (logits, auxiliary)]

    def features(self, blocks: Sequence[torch.Tensor]) -> torch.Tensor:
        """What the classifier gets."""
        last = blocks[-1]
        levels = [resized(level(last), last.shape[2:], self.align_corners) for level in self.decode_head.psp_modules]
        return self.decode_head.bottleneck(torch.cat([last, *levels], dim=1))


class MmsegUPerNet(MmsegPSPNet):
    """mmsegmentation's UPerHead in the place of the PSPHead, whose layers it has too."""

    def __init__(self, depth: int, classes: int, deep_stem: bool = True, *, align_corners: bool = False) -> None:
        super().__init__(depth, classes, deep_stem, pattern=strided, align_corners=align_corners)
        channels, width = ((256, 512, 1024), 512) if depth >= 50 else ((64, 128, 256), 128)
        head = self.decode_head
        head.lateral_convs = nn.ModuleList(ConvModule(count, width, 1) for count in channels)
        head.fpn_convs = nn.ModuleList(ConvModule(width, width, 3) for _ in channels)
        head.fpn_bottleneck = ConvModule((len(channels) + 1) * width, width, 3)

    def features(self, blocks: Sequence[torch.Tensor]) -> torch.Tensor:
        head, grid = self.decode_head, self.align_corners
        laterals = [lateral(block) for lateral, block in zip(head.lateral_convs, blocks[:-1], strict=True)]
        laterals.append(super().features(blocks))
        for i in range(len(laterals) - 1, 0, -1):
            laterals[i - 1] = laterals[i - 1] + resized(laterals[i], laterals[i - 1].shape[2:], grid)
        outputs = [layer(x) for layer, x in zip(head.fpn_convs, laterals[:-1], strict=True)] + laterals[-1:]
        return head.fpn_bottleneck(torch.cat([resized(x, outputs[0].shape[2:], grid) for x in outputs], dim=1))


class SmpNormalized(nn.Sequential):
    """Convolution, batch normalization and ReLU, or a convolution with biases and ReLU: 0 and, if there is one, 1."""

    def __init__(self, channels: int, filters: int, is_normalized: bool) -> None:
        norm = nn.BatchNorm2d(filters) if is_normalized else nn.Identity()
        super().__init__(nn.Conv2d(channels, filters, 1, bias=not is_normalized), norm, nn.ReLU())


class SmpPSPNet(nn.Module):
    """segmentation_models.pytorch's PSPNet: encoder, decoder.psp.blocks, decoder.conv, segmentation_head.

    Its encoder is torchvision's ResNet of which only the first blocks run, without dilation.
    """

    def __init__(self, depth: int, classes: int, blocks: int = 2, kind: Kind = PLAIN, head_channels: int = 512) -> None:
        super().__init__()
        self.encoder = TorchvisionResNet(depth, kind=kind)
        del self.encoder.fc
        channels = (64 if depth < 50 else 256) * 2 ** (blocks - 1)
        self.blocks = blocks
        self.decoder = nn.Module()
        self.decoder.psp = nn.Module()
        self.decoder.psp.blocks = nn.ModuleList(nn.Module() for _ in BINS)
        for level, bins in zip(self.decoder.psp.blocks, BINS, strict=True):
            reduced = SmpNormalized(channels, channels // len(BINS), is_normalized=bins > 1)
            level.pool = nn.Sequential(nn.AdaptiveAvgPool2d(bins), reduced)
        self.decoder.conv = SmpNormalized(2 * channels, head_channels, is_normalized=True)
        self.segmentation_head = nn.Sequential(nn.Conv2d(head_channels, classes, 3, padding=1))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        x = self.encoder.all_features(images)[self.blocks - 1]
        levels = [resized(level.pool(x), x.shape[2:], align_corners=True) for level in self.decoder.psp.blocks]
        logits = self.segmentation_head(self.decoder.conv(torch.cat([*levels, x], dim=1)))
        return [resized(logits, images.shape[2:], align_corners=True)]


class CaffePSPNet(nn.Module):
    """The authors' Caffe model: strides on the first 1x1 layer, BGR, align-corners, plain average pooling.

    `layers` holds convolutions by the names of the Caffe model, and batch normalizations by those names with `_bn`.
    """

    def __init__(self, depth: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        self.units = UNITS[depth]
        for name, channels, filters, size in self._shapes():
            self.layers[name] = convolution(channels, filters, size)
            self.layers[f"{name}_bn"] = nn.BatchNorm2d(filters)
        self.layers["conv6"] = nn.Conv2d(512, classes, 1)

    def _shapes(self) -> Iterator[tuple[str, int, int, int]]:
        yield from [("conv1_1_3x3_s2", 3, 64, 3), ("conv1_2_3x3", 64, 64, 3), ("conv1_3_3x3", 64, 128, 3)]
        channels = 128
        for stage, (units, width) in enumerate(zip(self.units, (64, 128, 256, 512), strict=True), start=2):
            for unit in range(1, units + 1):
                name = f"conv{stage}_{unit}"
                yield f"{name}_1x1_reduce", channels, width, 1
                yield f"{name}_3x3", width, width, 3
                yield f"{name}_1x1_increase", width, 4 * width, 1
                if unit == 1:
                    yield f"{name}_1x1_proj", channels, 4 * width, 1
                channels = 4 * width
        yield from [(f"conv5_3_pool{bins}_conv", 2048, 512, 1) for bins in BINS]
        yield "conv5_4", 4096, 512, 3

    def _run(self, name: str, x: torch.Tensor, stride: int = 1, dilation: int = 1) -> torch.Tensor:
        weight = self.layers[name].weight
        padding = dilation * (weight.shape[2] // 2)
        return self.layers[f"{name}_bn"](functional.conv2d(x, weight, None, stride, padding, dilation))

    def _unit(self, name: str, x: torch.Tensor, stride: int, dilation: int, project: bool) -> torch.Tensor:
        shortcut = self._run(f"{name}_1x1_proj", x, stride) if project else x
        x = functional.relu(self._run(f"{name}_1x1_reduce", x, stride))
        x = functional.relu(self._run(f"{name}_3x3", x, 1, dilation))
        return functional.relu(self._run(f"{name}_1x1_increase", x) + shortcut)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        x = (images - torch.tensor([123.68, 116.779, 103.939])[:, None, None]).flip(1)
        for name, stride in (("conv1_1_3x3_s2", 2), ("conv1_2_3x3", 1), ("conv1_3_3x3", 1)):
            x = functional.relu(self._run(name, x, stride))
        x = pool(x)
        for stage, (stride, dilation) in {2: (1, 1), 3: (2, 1), 4: (1, 2), 5: (1, 4)}.items():
            for unit in range(1, self.units[stage - 2] + 1):
                x = self._unit(f"conv{stage}_{unit}", x, stride if unit == 1 else 1, dilation, unit == 1)
        levels = [x]
        for bins in (6, 3, 2, 1):
            window = [length // bins for length in x.shape[2:]]
            assert all(length % bins == 0 for length in x.shape[2:])
            pooled = functional.relu(self._run(f"conv5_3_pool{bins}_conv", functional.avg_pool2d(x, window, window)))
            levels.append(resized(pooled, x.shape[2:], align_corners=True))
        logits = self.layers["conv6"](functional.relu(self._run("conv5_4", torch.cat(levels, dim=1))))
        return [resized(logits, images.shape[2:], align_corners=True)]
