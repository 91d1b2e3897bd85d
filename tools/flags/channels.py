"""Flags for images whose channels are not red, green and blue of 8 bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tools.errors import FlagError
from tools.flags.definition import Need, flag
from tools.flags.limits import MOST_CHANNELS
from tools.flags.values import channel_deviations, channel_numbers, shown_value

_NEEDS_CHANNELS = Need(
    lambda config: config.input_channels is not None, "on RGB images: add --input_channels with their number"
)
# What needs red, green and blue, for flags of training.
NEEDS_RGB = Need(
    lambda config: config.input_channels is None,
    "with --input_channels, whose channels need not be red, green and blue: drop --input_channels",
)


@dataclass(frozen=True, kw_only=True)
class ChannelFlags:
    """Number, mean and deviation of the channels of own data."""

    input_channels: int | None = flag(
        None,
        "custom: number of channels, which are read as they are stored, with all their bits",
        int,
        group="data",
        metavar="N",
        unset="images are read as RGB of 8 bits",
        minimum=1,
        maximum=MOST_CHANNELS,
        scoring="read",
        databases=("custom",),
        recorded="architecture.input_channels",
    )
    channel_mean: tuple[float, ...] | None = flag(
        None,
        "custom: mean of each channel with --input_channels, as tools.check_dataset reports it",
        channel_numbers,
        group="data",
        metavar="NUMBER,...",
        scoring="read",
        databases=("custom",),
        needs=_NEEDS_CHANNELS,
    )
    channel_std: tuple[float, ...] | None = flag(
        None,
        "custom: standard deviation of each channel with --input_channels, by which the channels are brought to one "
        "scale",
        channel_deviations,
        group="data",
        metavar="NUMBER,...",
        unset="the channels are not scaled",
        scoring="read",
        databases=("custom",),
        needs=_NEEDS_CHANNELS,
    )


def check_channels(config: Any) -> None:
    """Checks the flags of channels against each other.

    Raises:
        FlagError: a list has another length than the number of channels; or --image_mean is given, which is of RGB.
    """
    count = config.input_channels
    if count is None:
        return
    for name in ("channel_mean", "channel_std"):
        values = getattr(config, name)
        if values is not None and len(values) != count:
            raise FlagError(
                f"--{name} {shown_value(values)} has {len(values)} numbers and --input_channels is {count}: give one "
                "per channel"
            )
    if config.image_mean is not None:
        raise FlagError(
            f"--image_mean {shown_value(config.image_mean)} has no effect with --input_channels {count}: give "
            "--channel_mean, or drop --image_mean"
        )


def require_mean(config: Any) -> None:
    """Checks that the mean of the channels is given, without which a network does not learn well.

    Raises:
        FlagError: it is not.
    """
    if config.input_channels is not None and config.channel_mean is None:
        raise FlagError(
            f"--input_channels {config.input_channels} needs --channel_mean, and usually --channel_std: python -m "
            "tools.check_dataset reports both"
        )
