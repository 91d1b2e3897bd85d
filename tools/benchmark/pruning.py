"""Compares a pruned network with the same network before pruning: parameters, operations, memory and speed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from tools.benchmark.apart import run_apart
from tools.benchmark.models import model_figures, rows_of_model
from tools.benchmark.timing import Row
from tools.checkpoints.find import resolve_checkpoint
from tools.errors import FlagError
from tools.flags.predict import PredictConfig
from tools.prediction.selection import record_of_checkpoint


def measure_pruning(
    weights_ckpt: str, *, crop_size: tuple[int, int], batch_size: int, warm_up: int, repeats: int
) -> Iterator[Row]:
    """Yields the rows of the network with all filters and with those that are left, each measured in a new process.

    The values of the weights do not matter, so those of the network before pruning are not needed.

    Args:
        weights_ckpt: snapshot, or a folder of snapshots, of a pruned network, with its record.
        crop_size, batch_size, warm_up, repeats: see `models.measure_models`.

    Raises:
        CheckpointError, RecordError: the checkpoint or its record cannot be read.
        FlagError: the network is not pruned.
    """
    prefix = resolve_checkpoint(weights_ckpt)
    architecture = record_of_checkpoint(prefix, PredictConfig(weights_ckpt=weights_ckpt)).architecture
    if not architecture.filters:
        raise FlagError(
            f"--weights_ckpt {weights_ckpt} is not pruned: give what tools.prune wrote, or a run that began with it"
        )
    networks = {"before": dataclasses.replace(architecture, filters={}), "after": architecture}
    for name, network in networks.items():
        figures = run_apart(model_figures, network, crop_size, batch_size, warm_up, repeats)
        yield from rows_of_model(f"pruning.{name}", figures, batch_size)
