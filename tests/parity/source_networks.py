"""Networks of other projects with random weights, and how far their converted twins are from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from tests.differences import relative_difference
from tests.parity.memory_order import from_torch, to_torch
from tests.parity.torch_weights import drawn_at_random
from tests.tools.converted_networks import ConvertedPSPNet, random_images

TOLERANCE = 1e-4  # of the largest logit
CLASSES = 7
ANY_SIZES = ((48, 48), (49, 37), (34, 63))


class Source:
    """A network of another project with random weights, and the logits of its heads for some images."""

    def __init__(self, network: nn.Module, sizes: Sequence[tuple[int, int]]) -> None:
        """Draws the weights and runs the network.

        Args:
            network: as its project has it.
            sizes: heights and widths of the images.
        """
        self.network = drawn_at_random(network, to_torch(random_images((41, 41), seed=99)), seed=0)
        self.images = [random_images(size, seed) for seed, size in enumerate(sizes)]
        with torch.no_grad():
            self.logits = [[from_torch(logits) for logits in network(to_torch(image))] for image in self.images]


def compare(source: Source, folder: Path, *changes: dict[str, object], has_auxiliary: bool = True) -> float:
    """The converted network gives the source's logits, and with any of the changes to its architecture it does not.

    Returns:
        The largest difference, of all heads for every image.
    """
    with ConvertedPSPNet(folder, has_auxiliary=has_auxiliary, changes=changes) as converted:
        difference = relative_difference([converted.logits(image) for image in source.images], source.logits)
        assert difference < TOLERANCE
        for change, logits in zip(changes, converted.changed_logits(source.images[0]), strict=True):
            assert relative_difference(logits, source.logits[0][0]) > 100 * TOLERANCE, change
    return difference
