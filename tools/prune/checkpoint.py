"""Prunes the network of a checkpoint: from the checkpoint of a run to a folder with the pruned one and its record."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from database.atomic import folder_written_atomically, text_written_atomically
from tools.checkpoints.averages import has_averages, open_weights
from tools.checkpoints.compare import require_shapes
from tools.checkpoints.reading import checkpoint_checksum
from tools.errors import PruneError
from tools.flags.predict import PredictConfig
from tools.prediction.selection import record_of_checkpoint
from tools.prune.flags import PruneConfig
from tools.prune.network import (
    PrunedNetwork,
    Pruning,
    is_of_auxiliary_head,
    network_variables,
    pruned_network,
    shapes_of,
)
from tools.runs.checkpoint_folder import name_in_use, save_values
from tools.runs.record import ModelRecord
from tools.runs.run_origin import RunOrigin
from tools.runtime.session_errors import reason

logger = logging.getLogger(__name__)

REPORT_NAME = "pruning.json"
_ADVICE = "give a snapshot that train.py wrote with --weights_ckpt"
_TRAINED = ("/weights", "/biases", "/gamma", "/beta")


def prune_checkpoint(prefix: str, config: PruneConfig) -> None:
    """Prunes one checkpoint and writes the pruned one, its record and a report on the filters that are left.

    Only the network is written: the state of the optimizer, the number of steps and, if the averages of the weights
    are pruned, the weights of the last step are left out, because the training that follows is another run.

    Args:
        prefix: of the checkpoint.
        config: flags.

    Raises:
        CheckpointError, RecordError: the checkpoint or its record cannot be read.
        FlagError: a flag does not suit the network.
        PruneError: there is nothing to remove; or the folder already has a checkpoint, or cannot be written.
        PruningError: the encoder has layers whose filters cannot be removed.
    """
    folder = str(config.out)
    _refuse_folder_in_use(folder)
    record = record_of_checkpoint(prefix, PredictConfig(weights_ckpt=prefix, use_ema=config.use_ema))
    values = _values(prefix, record, use_averages=config.use_ema)
    pruning = Pruning(float(config.keep or 0), config.layers, config.skip_layers or ())
    pruned = pruned_network(record.architecture, values, pruning)
    origin = RunOrigin(pretrained_prefix=os.path.abspath(prefix), pretrained_sha256=checkpoint_checksum(prefix))
    record = dataclasses.replace(record, architecture=pruned.architecture, origin=origin)
    before, after = (_parameters(arrays, record) for arrays in (values, pruned.values))
    report = {
        "checkpoint": origin.pretrained_prefix,
        "sha256": origin.pretrained_sha256,
        **dataclasses.asdict(pruning),
        "parameters": {"before": before, "after": after},
        "kept_filters": pruned.kept,
    }
    try:
        with folder_written_atomically(folder) as partial:
            _write(pruned, record, report, partial)
    except (OSError, tf.errors.OpError) as error:
        raise PruneError(f"{folder}: the checkpoint cannot be written ({reason(error)}): change --out") from error
    logger.info(
        "%d layers lost filters: %.2f million parameters of %.2f are left", len(pruned.kept), after / 1e6, before / 1e6
    )
    if record.architecture.decoder == "icnet" and any(layer.startswith("icnet/") for layer in pruned.kept):
        logger.warning(
            "the branches of --decoder icnet have the channels of the published, pruned network from the beginning, "
            "and lost filters too: --skip_layers icnet keeps them"
        )
    logger.info(
        "wrote the checkpoint to %s, without the optimizer's state; train it again with --fine_tune_filename %s",
        folder,
        folder,
    )


def _refuse_folder_in_use(folder: str) -> None:
    name = name_in_use(folder)
    if name is not None:
        raise PruneError(f"{folder} already contains {name}: give another folder with --out")


def _values(prefix: str, record: ModelRecord, *, use_averages: bool) -> dict[str, np.ndarray]:
    """Reads the variables of a network, and those of its auxiliary heads if the checkpoint has them all."""
    needed, network = shapes_of(record.architecture), record.architecture.network
    auxiliary = {name for name in needed if is_of_auxiliary_head(name, network)}
    with open_weights(prefix, _ADVICE, use_averages=use_averages) as reader:
        if not auxiliary <= reader.shapes.keys():
            needed = {name: shape for name, shape in needed.items() if name not in auxiliary}
        require_shapes(prefix, reader.shapes, needed, _ADVICE)
        if has_averages(reader.shapes):
            which = "averages of the weights" if use_averages else "weights of the last step"
            logger.info("%s: the %s are pruned, the others are left out", prefix, which)
        return {name: reader.array(name) for name in needed}


def _parameters(values: dict[str, np.ndarray], record: ModelRecord) -> int:
    """Returns the number of trained values, without the auxiliary heads."""
    network = record.architecture.network
    names: Iterable[str] = (name for name in values if name.endswith(_TRAINED))
    return sum(math.prod(values[name].shape) for name in names if not is_of_auxiliary_head(name, network))


def _write(pruned: PrunedNetwork, record: ModelRecord, report: dict[str, Any], folder: str) -> None:
    network = record.architecture.network
    has_auxiliary = any(is_of_auxiliary_head(name, network) for name in pruned.values)
    with tf.Graph().as_default():
        save_values(network_variables(record.architecture, has_auxiliary=has_auxiliary), pruned.values, folder)
    record.write(folder)
    with text_written_atomically(os.path.join(folder, REPORT_NAME)) as file:
        json.dump(report, file, indent=1)
