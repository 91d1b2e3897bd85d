"""Adapts the first layer of a network for RGB to images of other channels."""

from __future__ import annotations

import math

import numpy as np

from model.choices import NETWORKS, STEMS

# Channels of the images of pre-trained networks.
COLORS = 3
# The layer of ICNet that gets the images at their full size; it belongs to the head.
_DETAIL_LAYER = "icnet/detail1"


def is_first_kernel(name: str) -> bool:
    """Returns whether a variable is the kernel of a layer that gets the images."""
    layers = {_DETAIL_LAYER, *(stem[0].scope for stem in STEMS.values())}
    return any(name == f"{network}/{layer}/weights" for network in NETWORKS for layer in layers)


def adapted_kernel(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Makes the kernel for other channels: repeats those for red, green and blue, and keeps the sum of the weights.

    The k-th channel gets the weights for colour k mod 3, times 3 / channels, so that the outputs keep their magnitude.
    A single channel gets the sum over the colours. Source: `adapt_input_conv` of timm (Wightman, pytorch-image-models).

    Args:
        kernel: [height, width, 3, filters].
        channels: 1 or more; 3 changes nothing.

    Returns:
        [height, width, channels, filters] of the kernel's type.
    """
    if channels == COLORS:
        return kernel
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    repeated = np.tile(kernel, (1, 1, math.ceil(channels / COLORS), 1))[:, :, :channels]
    return repeated * kernel.dtype.type(COLORS / channels)
