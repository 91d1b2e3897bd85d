"""Compares the features of converted encoders with those of PyTorch modules."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from tests.differences import relative_difference
from tests.parity.memory_order import from_torch, to_torch
from tests.tools.converted_networks import converted_features, random_images

# Of the images.
SIZES = ((64, 64), (49, 71))


def features_difference(
    network: nn.Module, folder: Path, output_stride: int = 32, convention: str | None = None
) -> float:
    """The largest difference of block 4 at every size."""
    images = [random_images(size, seed) for seed, size in enumerate(SIZES)]
    with torch.no_grad():
        expected = [from_torch(network(to_torch(batch))) for batch in images]
    return relative_difference(converted_features(folder, images, output_stride, convention), expected)
