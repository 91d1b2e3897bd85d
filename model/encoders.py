"""Chooses the function that builds an encoder, by the family of its row in `choices.NETWORKS`."""

from __future__ import annotations

from collections.abc import Callable

from model.choices import NETWORKS, MobileNetV2, ResNet
from model.errors import ConventionError
from model.mobilenet import mobilenet_v2
from model.resnet import resnet_v1
from model.utils_mg import TowerList

# By the type of the row. All take the arguments of `resnet.resnet_v1`, and return at least the blocks from `block1` on
# and, if its block is built, the endpoint `Encoder.auxiliary`.
FAMILIES: dict[type, Callable[..., dict[str, TowerList]]] = {ResNet: resnet_v1, MobileNetV2: mobilenet_v2}


def encoder(network: str, convention: str) -> Callable[..., dict[str, TowerList]]:
    """Returns the function that builds an encoder.

    Args:
        network: key of `choices.NETWORKS`.
        convention: key of `choices.STRIDE_CONVENTIONS` that it will be built with.

    Raises:
        ConventionError: the encoder is not defined with this convention.
    """
    known = NETWORKS[network].conventions
    if convention not in known:
        raise ConventionError(f"{network} has no stride convention {convention}, expected one of {', '.join(known)}")
    return FAMILIES[type(NETWORKS[network])]
