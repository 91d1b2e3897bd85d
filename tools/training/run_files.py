"""The record of a run, and the files that a run writes before its first step."""

from __future__ import annotations

import sys
from collections.abc import Callable

from database.atomic import remove_unfinished
from tools.checkpoints.files import remove_leftovers
from tools.flags.train import TrainConfig
from tools.prediction.provenance import set_results_aside
from tools.runs.agreement import check_same_class_weights
from tools.runs.commands import add_command
from tools.runs.folder import RunFolder
from tools.runs.holdout import held_out_fraction, with_holdout, write_held_out
from tools.runs.origin_entries import (
    with_class_weights,
    with_moved_pretrained,
    with_run_uuid,
    with_samples,
)
from tools.runs.record import ModelRecord
from tools.runs.snapshots import has_snapshots
from tools.runs.writing import writing_to
from tools.training.rollback import forget_rollbacks
from tools.training.samples import RunData
from tools.training.start import TrainingStart

# Returns the weight of each class in the loss, None for equal weights.
ClassWeights = Callable[[], tuple[float, ...] | None]


def record_of_run(
    start: TrainingStart, config: TrainConfig, data: RunData, folder: RunFolder, class_weights: ClassWeights
) -> ModelRecord:
    """Returns the record of a run: network, flags, data and what it starts from.

    Args:
        start: what the run starts from.
        config: flags.
        data: of the run.
        folder: of the run.
        class_weights: called after the other records were read, because it may count the pixels of all labels.

    Raises:
        CheckpointError: the checkpoint to start from cannot be read.
        FlagError: a resumed run had other class weights.
        RecordError: a record is damaged, or the checkpoint to start from is of another network.
    """
    record = start.named_in(ModelRecord.of_run(config, data.dataset, start.backbone()), folder)
    record = with_holdout(with_samples(record, data.training_checksums), config)
    record = with_run_uuid(record, folder, resumed=start.resumed is not None)
    if start.resumed is not None:
        check_same_class_weights(folder, class_weights())
    return with_class_weights(record, class_weights())


def prepare_folder(
    start: TrainingStart, config: TrainConfig, data: RunData, folder: RunFolder, record: ModelRecord
) -> ModelRecord:
    """Sets an earlier run aside and writes the files of a run before its first step.

    Args:
        start, config, data, folder: see `record_of_run`.
        record: of the run.

    Returns:
        The record, with the new path of the starting checkpoint if that was set aside with an earlier run.

    Raises:
        OutputError: a file cannot be moved or written.
    """
    with writing_to(folder):
        for place in (folder.snapshots, folder.best):
            remove_leftovers(place)
        remove_unfinished(folder.path)
        if start.resumed is None:
            if not config.auto_resume or has_snapshots(folder):
                record = _set_earlier_run_aside(folder, record)
            forget_rollbacks(folder)
        record.write(folder.path)
        add_command(folder.path, sys.argv)
        if held_out_fraction(config) is not None:
            write_held_out(folder, data.validation, data.training_checksums.data_dir)
    return record


def _set_earlier_run_aside(folder: RunFolder, record: ModelRecord) -> ModelRecord:
    moved_to = folder.set_aside_earlier_run()
    if moved_to != folder.path:
        set_results_aside(RunFolder(moved_to), moved_to.removeprefix(folder.path))
    return with_moved_pretrained(record, folder.path, moved_to)
