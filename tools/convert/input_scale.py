"""Estimates from the first layer's statistics what inputs a network was trained on.

A normalization that follows a convolution records the variance of its output. Over the norm of the kernel, its square
root is about the deviation of the inputs: filters that average neighbours give more, filters that find edges less.
Converted kernels take pixels in 0..255. Wrong recorded deviations change the estimate by a factor of 57 or so.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from model.architecture import Architecture
from model.choices import STEMS

logger = logging.getLogger(__name__)

# Deviations of pixels that are plausible. Pixels of photographs have 50 to 80; random filters over neighbours that are
# alike give 0.2 to 3 times as much.
PLAUSIBLE = (4.0, 300.0)


def input_deviation(values: Mapping[str, np.ndarray], architecture: Architecture) -> float:
    """Estimates the deviation of the pixels that a network was trained on.

    Args:
        values: the converted variables by name.
        architecture: the network.

    Returns:
        The median over the filters of the first layer, in units of the pixels that the network takes.
    """
    scope = f"{architecture.network}/{STEMS[architecture.stem][0].scope}"
    norms = np.sqrt(np.square(values[f"{scope}/weights"], dtype=np.float64).sum(axis=(0, 1, 2)))
    deviations = np.sqrt(np.maximum(values[f"{scope}/BatchNorm/moving_variance"], 0, dtype=np.float64))
    used = norms > 0
    return float(np.median(deviations[used] / norms[used])) if used.any() else 0.0


def warn_of_other_inputs(values: Mapping[str, np.ndarray], architecture: Architecture, source: str) -> None:
    """Logs a warning if the weights were trained on inputs of another scale than their layout says."""
    found = input_deviation(values, architecture)
    low, high = PLAUSIBLE
    if low <= found <= high:
        return
    how = "were divided by a deviation" if found < low else "were not divided by a deviation"
    logger.warning(
        "%s: the statistics of the first layer are those of pixels with a deviation of about %.2g, where photographs "
        "have 50 to 80, as if inputs %s, unlike what this layout says: compare the predictions, and give --image_mean, "
        "--image_std and --color_switch as these weights were trained",
        source,
        found,
        how,
    )
