"""Makes two classes of one whose probability is a sigmoid, as a softmax over one class is always 1.

The sigmoid of a logit is the softmax of 0 and that logit, and bilinear resizing keeps a 0 as it is.
"""

from __future__ import annotations

import logging

import numpy as np

from tools.convert.files import Weights
from tools.convert.names import SourceNames
from tools.convert.sizes import output_channels
from tools.convert.weight_map import WeightMap

logger = logging.getLogger(__name__)


def with_background(weights: Weights, weight_map: WeightMap, names: SourceNames) -> Weights:
    """Puts a class whose logit is 0 before the only class of a classifier; other weights are returned as they are.

    Args:
        weights: arrays by the project's names, with a classifier.
        weight_map: the layout.
        names: its names of our layers.

    Raises:
        ConversionError: the kernel of the classifier is missing or does not have four axes.
    """
    tensors = names.tensors("logits")
    if not weight_map.has_sigmoid or output_channels(weights, weight_map, tensors["weights"]) != 1:
        return weights
    logger.info("the only class, of which a sigmoid is the probability, becomes class 1, and class 0 is all others")
    axes = {tensors["weights"]: weight_map.tensors.kernel_axes[3], tensors["biases"]: 0}
    found = {name: (weights[name], axis) for name, axis in axes.items() if name in weights}
    padded = {name: np.concatenate([np.zeros_like(array), array], axis) for name, (array, axis) in found.items()}
    return {**weights, **padded}
