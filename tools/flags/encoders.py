"""Checks flags of the network that not every encoder can be built with."""

from __future__ import annotations

from typing import Any

from model.choices import NETWORKS, stem_of
from tools.errors import FlagError
from tools.flags.checks import refuse_without_effect


def check_encoder(config: Any) -> None:
    """Rejects a stem, a placement of strides, a padding or a number of channels that the encoder does not have.

    Raises:
        FlagError: the message names the flag, the encoder and what it can be built with.
    """
    network, convention = config.network, config.stride_convention
    encoder = NETWORKS[network]
    if stem_of(network, config.three_convs_beginning) is None:
        raise FlagError(
            f"--three_convs_beginning {int(config.three_convs_beginning)} and --network {network}, which begins "
            f"otherwise ({encoder.stem}): drop --three_convs_beginning"
        )
    if convention is not None and convention not in encoder.conventions:
        raise FlagError(
            f"--stride_convention {convention} is not defined for --network {network}: use one of "
            f"{', '.join(encoder.conventions)}"
        )
    if config.filter_scale not in (None, 1) and encoder.is_grouped:
        raise FlagError(
            f"--filter_scale {config.filter_scale} is not defined for --network {network}, whose layers have groups of "
            "channels: give 1, or a ResNet without groups"
        )
    if not encoder.has_pooling:
        refuse_without_effect(
            config, "pool_padding", f"with --network {network}, which has no pooling: give another --network"
        )
