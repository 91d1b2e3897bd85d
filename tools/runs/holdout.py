"""Training images that are held out for validation: which they are, in the record and in a file."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence

from database.atomic import text_written_atomically
from database.layouts import KITTI_HOLDOUT, Sample, shown_holdout
from tools.errors import FlagError
from tools.flags.dataset import SplitFlags
from tools.flags.train import TrainConfig
from tools.runs.data_checksums import path_within
from tools.runs.folder import RunFolder
from tools.runs.record import ModelRecord

logger = logging.getLogger(__name__)

FILE_NAME = "holdout.txt"
_HOLDOUT = "holdout"
_DEFAULTS = {"KITTI": KITTI_HOLDOUT}


def held_out_fraction(config: SplitFlags) -> float | None:
    """Returns the fraction of the training images that is held out; None if no images are."""
    return _DEFAULTS.get(config.database) if config.holdout is None else config.holdout


def with_holdout(record: ModelRecord, config: TrainConfig) -> ModelRecord:
    """Adds the fraction to the flags of a record, also if it is the dataset's default."""
    return dataclasses.replace(record, flags={**record.flags, _HOLDOUT: held_out_fraction(config)})


def check_same_holdout(record: ModelRecord, config: TrainConfig, trained: str) -> None:
    """Checks the held-out fraction against the run that is resumed or scored.

    Args:
        record: of the run.
        config: flags.
        trained: the run or its snapshot, for the message.

    Raises:
        FlagError: the fraction differs, so that training images would be scored.
    """
    now, then = held_out_fraction(config), record.flags.get(_HOLDOUT, _DEFAULTS.get(record.database))
    if record.flags and now != then:
        advice = "drop --holdout" if then is None else f"give --holdout {then:g}"
        raise FlagError(
            f"--holdout is {shown_holdout(now)} and {trained} was trained with {shown_holdout(then)}: {advice}"
        )


def write_held_out(folder: RunFolder, held_out: Sequence[Sample], data_dir: str) -> None:
    """Writes the paths of the held-out images, relative to data_dir, to `holdout.txt` in a run's folder, one per line.

    Raises:
        OSError: the file cannot be written.
    """
    path = os.path.join(folder.path, FILE_NAME)
    with text_written_atomically(path, errors="surrogateescape") as file:
        file.writelines(f"{path_within(sample.image, data_dir) or sample.image}\n" for sample in held_out)
    logger.info("held out for validation: %d training images, named in %s", len(held_out), path)
