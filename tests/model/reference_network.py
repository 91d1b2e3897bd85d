"""Implements PSPNet on a ResNet of basic units at output stride 8 in float64 NumPy, layer by layer from the papers.

The variables show which blocks there are, and the sizes of the kernels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from tests.model import reference

NETWORK = "resnet_v1_18"

# By block: stride of the first 3x3 layer, and dilation of all layers.
BLOCKS = ((1, 1), (2, 1), (1, 2), (1, 4))

Towers = list[np.ndarray]


class ReferenceNetwork:
    """The network over a tower list.

    Attributes:
        units: scope of each unit, whether its shortcut is a convolution, stride of its first 3x3 layer, its dilation.
        auxiliary_scope: scope of the auxiliary head's 3x3 layer; None without it.
        head_scope: scope of the layer after the pyramid.
        moments: after a pass, mean and unbiased variance by scope, for every layer normalized with batch moments.
    """

    def __init__(
        self, values: Mapping[str, np.ndarray], is_training: bool = True, bn_frozen: bool | str = False
    ) -> None:
        """Stores the variables and the mode.

        Args:
            values: variables by name, including the running averages.
            is_training: whether to normalize with the moments of the batch and to build the auxiliary head.
            bn_frozen: whether to normalize the encoder with the running averages in training too; `all`: the heads too.
        """
        self.values = {name: np.asarray(value, np.float64) for name, value in values.items()}
        self.is_training = is_training
        self.bn_frozen = bn_frozen
        self.moments: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.units: list[tuple[str, bool, int, int]] = []
        for block, (stride, rate) in enumerate(BLOCKS, start=1):
            for number in range(1, self._num_units(block) + 1):
                scope = f"block{block}/unit_{number}"
                has_convolution = f"{NETWORK}/{scope}/basic_v1/shortcut/weights" in values
                self.units.append((scope, has_convolution, stride if number == 1 else 1, rate))
        self.auxiliary_scope = self._layer_beside_units(3)
        self.head_scope = self._layer_beside_units(4) or ""

    def _num_units(self, block: int) -> int:
        return len([name for name in self.values if re.search(rf"/block{block}/unit_\d+/basic_v1/conv1/weights", name)])

    def _layer_beside_units(self, block: int) -> str | None:
        pattern = re.compile(rf"{NETWORK}/(block{block}/unit_\d+)/weights")
        return next((match[1] for match in map(pattern.fullmatch, self.values) if match), None)

    def _value(self, name: str) -> np.ndarray:
        return self.values[f"{NETWORK}/{name}"]

    def _layer(self, xs: Towers, scope: str, stride: int = 1, rate: int = 1, activation: bool = True) -> Towers:
        xs = [reference.conv2d(x, self._value(f"{scope}/weights"), stride, rate) for x in xs]
        gamma, beta = self._value(f"{scope}/BatchNorm/gamma"), self._value(f"{scope}/BatchNorm/beta")
        is_frozen = self.bn_frozen == "all" or (self.bn_frozen and (scope == "conv1" or "/basic_v1/" in scope))
        if self.is_training and not is_frozen:
            mean, variance, count = reference.moments(xs)
            self.moments[scope] = (mean, variance * count / (count - 1))
            xs = reference.batch_norm(xs, gamma, beta)
        else:
            mean = self._value(f"{scope}/BatchNorm/moving_mean")
            variance = self._value(f"{scope}/BatchNorm/moving_variance")
            xs = [gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta for x in xs]
        return [np.maximum(x, 0) for x in xs] if activation else xs

    def _unit(self, xs: Towers, scope: str, has_convolution: bool, stride: int, rate: int) -> Towers:
        scope += "/basic_v1"
        shortcut = self._layer(xs, f"{scope}/shortcut", stride, activation=False) if has_convolution else xs
        xs = self._layer(xs, f"{scope}/conv1", stride, rate)
        xs = self._layer(xs, f"{scope}/conv2", 1, rate, activation=False)
        return [np.maximum(x + y, 0) for x, y in zip(xs, shortcut, strict=True)]

    def _classify(self, xs: Towers, scope: str, sizes: Sequence[tuple[int, int]]) -> Towers:
        weights, biases = self._value(f"{scope}/weights"), self._value(f"{scope}/biases")
        logits = [reference.conv2d(x, weights) + biases for x in xs]
        return [reference.resize_bilinear(x, h, w, "half_pixel") for x, (h, w) in zip(logits, sizes, strict=True)]

    def _pyramid(self, features: Towers) -> Towers:
        levels = [[x] for x in features]
        for bins in (6, 3, 2, 1):
            pooled = [reference.adaptive_avg_pool(x, bins) for x in features]
            for parts, x, feature in zip(levels, self._layer(pooled, f"psp/pool{bins}"), features, strict=True):
                parts.append(reference.resize_bilinear(x, feature.shape[1], feature.shape[2], "half_pixel"))
        return [np.concatenate(parts, axis=-1) for parts in levels]

    def logits(self, images: Towers) -> tuple[Towers, Towers]:
        """Computes the logits of the main head and, in training, the auxiliary head, at the size of the images."""
        sizes = [(x.shape[1], x.shape[2]) for x in images]
        xs = [reference.max_pool(x, 3, 2) for x in self._layer(images, "conv1", 2)]
        auxiliary: Towers = []
        last = f"block3/unit_{self._num_units(3)}"
        for unit in self.units:
            xs = self._unit(xs, *unit)
            if unit[0] == last and self.auxiliary_scope is not None and self.is_training:
                auxiliary = self._classify(self._layer(xs, self.auxiliary_scope), "aux_logits", sizes)
        xs = self._layer(self._pyramid(xs), self.head_scope)
        return self._classify(xs, "logits", sizes), auxiliary

    def total_loss(self, images: Towers, labels: Towers, decay_rate: float) -> tuple[float, float, float]:
        """Computes (loss, auxiliary loss, total loss) of a training pass with L2 decay of all convolutions.

        Without an auxiliary head, its loss is 0.
        """
        losses = []
        for head in self.logits(images):
            pixels = [reference.pixel_cross_entropy(x, y) for x, y in zip(head, labels, strict=bool(head))]
            losses.append(np.concatenate(pixels).mean() if pixels else 0.0)
        decay = sum((value**2).sum() for name, value in self.values.items() if name.endswith("/weights"))
        return losses[0], losses[1], losses[0] + 0.4 * losses[1] + 0.5 * decay_rate * decay
