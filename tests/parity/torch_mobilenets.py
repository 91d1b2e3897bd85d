"""MobileNetV2 as PyTorch modules, with the names of weights of torchvision, CSAILVision and timm.

Every network takes float32 images [N, 3, H, W], RGB in 0..255, and gives the output of its last block, of 320 channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from tests.parity.torch_resnets import convolution, normalized

# The paper's table 2: expansion, output channels, units, stride.
ROWS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def layer(channels: int, filters: int, size: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [convolution(channels, filters, size, stride, groups=groups), nn.BatchNorm2d(filters), nn.ReLU6()]


class Unit(nn.Module):
    """An inverted residual unit of torchvision, whose layers are in sequences, or of CSAILVision in one sequence."""

    def __init__(self, channels: int, filters: int, expansion: int, stride: int, is_flat: bool) -> None:
        super().__init__()
        width = channels * expansion
        parts = [layer(channels, width, 1)] if expansion > 1 else []
        parts.append(layer(width, width, 3, stride, groups=width))
        last = [convolution(width, filters, 1), nn.BatchNorm2d(filters)]
        if is_flat:
            self.conv = nn.Sequential(*(module for part in parts for module in part), *last)
        else:
            self.conv = nn.Sequential(*(nn.Sequential(*part) for part in parts), *last)
        self.adds_input = stride == 1 and channels == filters

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(x) if self.adds_input else self.conv(x)


class MobileNetV2(nn.Module):
    """features.0 to features.18 and the classifier of torchvision, or features.0 to features.17 of CSAILVision."""

    def __init__(self, is_flat: bool = False, output_stride: int = 32) -> None:
        super().__init__()
        modules: list[nn.Module] = [nn.Sequential(*layer(3, 32, 3, 2))]
        channels = 32
        for expansion, filters, count, first_stride in ROWS:
            for index in range(count):
                stride = first_stride if index == 0 else 1
                modules.append(Unit(channels, filters, expansion, stride, is_flat))
                channels = filters
        if not is_flat:
            modules.append(nn.Sequential(*layer(320, 1280, 1)))
            self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))
        self.features = nn.Sequential(*modules)
        dilate(self, output_stride)

    def blocks(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The outputs of units 3, 6, 14 and 17: CSAILVision's second head is on the first unit of the last stride."""
        x, outputs = normalized(images), []
        for number, module in enumerate(self.features[:18]):
            x = module(x)
            if number in (3, 6, 14, 17):
                outputs.append(x)
        return outputs

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.blocks(images)[-1]


def dilate(network: MobileNetV2, output_stride: int) -> None:
    """Replaces strides by dilation as CSAILVision's MobileNetV2Dilated does, for the output strides 8 and 16."""
    for first, last, dilation in {8: ((7, 14, 2), (14, 18, 4)), 16: ((14, 18, 2),), 32: ()}[output_stride]:
        for module in network.features[first:last].modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                own = dilation // 2 if module.stride == (2, 2) else dilation
                module.stride, module.dilation, module.padding = (1, 1), (own, own), (own, own)


def timm_names(network: MobileNetV2) -> dict[str, torch.Tensor]:
    """The weights of a network of torchvision's layout by timm's names, as its mobilenetv2_100 has them."""
    stages = [(stage, unit) for stage, row in enumerate(ROWS) for unit in range(row[2])]
    first = {"conv.0.0": "conv_dw", "conv.0.1": "bn1", "conv.1": "conv_pw", "conv.2": "bn2"}
    others = {
        "conv.0.0": "conv_pw", "conv.0.1": "bn1", "conv.1.0": "conv_dw", "conv.1.1": "bn2", "conv.2": "conv_pwl",
        "conv.3": "bn3",
    }  # fmt: skip
    whole = {"features.0.0": "conv_stem", "features.0.1": "bn1", "features.18.0": "conv_head", "features.18.1": "bn2"}

    def renamed(name: str) -> str:
        owner, _, tensor = name.rpartition(".")
        if owner in whole or owner == "classifier.1":
            return f"{whole.get(owner, 'classifier')}.{tensor}"
        _, number, *rest = owner.split(".")
        stage, unit = stages[int(number) - 1]
        return f"blocks.{stage}.{unit}.{(first if number == '1' else others)['.'.join(rest)]}.{tensor}"

    return {renamed(name): value for name, value in network.state_dict().items()}


class CsailMobileNet(nn.Module):
    """CSAILVision's mobilenetv2dilated with one of its decoders, see `torch_csail`."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = MobileNetV2(is_flat=True, output_stride=8)
        self.decoder = decoder

    def forward(self, images: torch.Tensor) -> Sequence[torch.Tensor]:
        return self.decoder(self.encoder.blocks(images), images.shape[2:])
