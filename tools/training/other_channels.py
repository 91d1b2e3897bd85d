"""Warns if a run starts from weights whose first layer was trained with images that are normalized differently."""

from __future__ import annotations

import logging
import os

from database.channels import Channels
from tools.flags.chosen_dataset import channels_of
from tools.runs.record import CONFIG_NAME, ModelRecord
from tools.runs.record_file import read_object

logger = logging.getLogger(__name__)


def warn_of_other_channels(prefix: str, record: ModelRecord) -> None:
    """Logs a warning if a checkpoint is of a run with `--input_channels` whose mean or deviation the new run lacks.

    The number of channels may be equal, and three channels have the shape of RGB. A network for RGB may start a run on
    channels: its first layer is then adapted.

    Args:
        prefix: of the checkpoint, whose record has been read without an error.
        record: of the new run.
    """
    flags = (read_object(os.path.join(os.path.dirname(prefix), CONFIG_NAME)) or {}).get("flags") or {}
    recorded = channels_of(flags)
    if recorded is None or recorded == record.channels:
        return
    now = "RGB" if record.channels is None else _described(record.channels)
    logger.warning(
        "%s was trained with %s, and this run has %s: its first layer gets images that are normalized differently; "
        "give the flags of that run, or another checkpoint",
        prefix,
        _described(recorded),
        now,
    )


def _described(channels: Channels) -> str:
    """Describes channels by their flags."""
    flags = [f"--input_channels {channels.count}"]
    for name, values in (("channel_mean", channels.mean), ("channel_std", channels.deviation)):
        flags += [f"without --{name}" if values is None else f"--{name} {','.join(f'{x:g}' for x in values)}"]
    return " ".join(flags)
