"""Takes the channels of a run on own data from the run whose weights it starts from, unless flags describe them."""

from __future__ import annotations

import dataclasses
import logging
import os
from typing import Any

from database.channels import Channels
from tools.checkpoints.find import resolve_checkpoint
from tools.errors import CheckpointError
from tools.flags.channels import require_mean
from tools.flags.train import TrainConfig
from tools.flags.values import shown_value
from tools.runs.chosen_checkpoint import with_unremoved
from tools.runs.folder import run_folder
from tools.runs.record import BackboneRecord, ModelRecord

logger = logging.getLogger(__name__)


def with_inherited_channels(config: TrainConfig) -> TrainConfig:
    """Fills in --input_channels, --channel_mean and --channel_std from the run of --fine_tune_filename.

    The first layer of its network was trained with these numbers. Mean and deviation belong together: with
    --channel_mean, neither is filled in.

    Args:
        config: flags of a run that is started, resumed or scored.

    Raises:
        FlagError: --input_channels is given, and the mean is neither given nor recorded; or a flag has no effect on
            such channels.
        RecordError: the record of the checkpoint is damaged.
    """
    if not config.may_inherit_channels:
        return config
    recorded = _recorded_channels(config)
    values = {} if recorded is None else _inherited(config, recorded)
    if values:
        shown = " ".join(f"--{name} {shown_value(value)}" for name, value in values.items())
        logger.info("channels as in the run that the weights come from: %s", shown)
        config = dataclasses.replace(config, **values)
    require_mean(config)
    return config


def _inherited(config: TrainConfig, recorded: Channels) -> dict[str, Any]:
    """Returns the flags that the record sets; none if another number of channels is asked for, which is an error."""
    if config.input_channels not in (None, recorded.count):
        return {}
    of_record: dict[str, Any] = {"input_channels": recorded.count}
    if config.channel_mean is None:
        of_record |= {"channel_mean": recorded.mean, "channel_std": recorded.deviation}
    return {name: value for name, value in of_record.items() if getattr(config, name) is None and value is not None}


def _recorded_channels(config: TrainConfig) -> Channels | None:
    """Returns the channels that an existing run inherited, otherwise those of the checkpoint; None for RGB.

    --eval_only 1 with --run_name does not read --fine_tune_filename, and a resumed run may outlive its checkpoint.
    """
    if config.run_name is not None and (config.eval_only or config.resumes):
        run = ModelRecord.read(run_folder(config).snapshots)
        if run is not None:
            return run.channels if _is_checkpoint(run.flags.get("fine_tune_filename")) else None
    return _channels_of_checkpoint(config.fine_tune_filename) if _is_checkpoint(config.fine_tune_filename) else None


def _is_checkpoint(path: str | None) -> bool:
    return path is not None and path.lower() != "none"


def _channels_of_checkpoint(path: str | None) -> Channels | None:
    """Returns the channels of a checkpoint's run; None for RGB, without a record, or if there is no checkpoint.

    A missing checkpoint is reported by what reads its weights.
    """

    def of_prefix(prefix: str) -> Channels | None:
        if BackboneRecord.of_checkpoint(prefix) is None:
            return None
        record = ModelRecord.read_if_run(os.path.dirname(prefix))
        return None if record is None else record.channels

    try:
        return with_unremoved(lambda: resolve_checkpoint(str(path)), of_prefix)
    except CheckpointError:
        return None
