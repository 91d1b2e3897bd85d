"""Writes a split of a dataset as TFRecord files, which train.py reads with --data_format tfrecord.

python -m tools.make_tfrecord --database Cityscapes --data_dir <cityscapes> --split train
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that need packages
    from tools.runtime.installed import require_installed

    require_installed()

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from database.counts import number_of
from database.datasets import Dataset, Sample, find_samples
from database.errors import DatasetError, ImageError
from database.images import set_max_pixels
from database.input_range import InputRange
from tools.console import import_tensorflow, run_script, set_up_logging
from tools.errors import FlagError
from tools.flags.checks import refuse_without_effect
from tools.flags.chosen_dataset import dataset_of_flags, existing_folder
from tools.flags.dataset import SplitFlags
from tools.flags.definition import flag
from tools.flags.help import Program
from tools.flags.names import split_name
from tools.flags.parsing import parse_flags
from tools.flags.values import file_path
from tools.training.label_rules import (
    LabelTally,
    ignored_fault,
    missing_class_fault,
    tally_missing_classes,
    unknown_id_faults,
)

logger = logging.getLogger(__name__)

_MOST_SHARDS_BY_DEFAULT = 16
_NOT_TRAINED_ON = ("val", "test")
_LISTS = ("train_list", "val_list", "test_list")


@dataclass(frozen=True, kw_only=True)
class MakeTFRecordConfig(SplitFlags):
    """Flags for writing TFRecords."""

    split: str = flag("train", "split to write", split_name, group="data", metavar="SPLIT")
    out: str | None = flag(
        None,
        "folder for the files",
        file_path,
        group="output",
        metavar="FOLDER",
        unset="tfrecord in the folder of the dataset",
    )
    shards: int | None = flag(
        None,
        "number of files",
        int,
        group="output",
        unset=f"{_MOST_SHARDS_BY_DEFAULT}, or one per image if these are fewer",
        minimum=1,
    )
    workers: int | None = flag(
        None, "images that are read and checked at a time", int, group="output", unset="one per processor", minimum=1
    )

    program: ClassVar[Program] = Program(
        "python -m tools.make_tfrecord",
        "[--database NAME] [--split SPLIT]",
        (
            "--database Cityscapes --data_dir cityscapes --split train",
            "--database custom --num_classes 3 --data_dir photos",
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("image_mean", "channel_mean", "channel_std", "input_range"):
            refuse_without_effect(self, name, "on TFRecords, which hold the unchanged files: give it to train.py")
        for name in _LISTS:
            if name != self.list_flag:
                refuse_without_effect(self, name, f"with --split {self.split}: give the list of that split")

        if self.split == "test":
            refuse_without_effect(self, "holdout", "with --split test: choose another split")

    @property
    def list_flag(self) -> str:
        """The name of the flag for the list of the split; held-out images are in the list of the training images."""
        return "train_list" if self.holdout is not None and self.split == "val" else f"{self.split}_list"


def _number_of_shards(config: MakeTFRecordConfig, num_samples: int) -> int:
    if config.shards is None:
        return min(_MOST_SHARDS_BY_DEFAULT, num_samples)
    if config.shards > num_samples:
        raise FlagError(f"--shards is {config.shards}, expected at most {num_samples}, the number of images")
    return config.shards


def check_labels_as_a_whole(dataset: Dataset, samples: Sequence[Sample], split: str) -> None:
    """Checks the labels of a split by the rules of training, but only warns about classes that do not occur.

    A run may train on several splits together, so `train.py` decides about missing classes. Files are read until all
    classes have occurred; each file is checked when it is written.

    Raises:
        DatasetError: a sample has no label, an id is neither a class nor ignored, or every pixel is ignored.
        ImageError: a file cannot be read, or image and label differ in size.
    """

    def stop(error: Exception) -> None:
        raise error

    tally = LabelTally()
    expected = () if split in _NOT_TRAINED_ON else dataset.expected_classes
    tally_missing_classes(samples, tally, expected, unreadable=(ImageError,), on_fault=stop)
    for fault in (*unknown_id_faults(tally, dataset), ignored_fault(tally)):
        if fault is not None:
            raise DatasetError(fault)
    if tally.index_colors.contradiction is not None:
        logger.warning("%s", tally.index_colors.contradiction)
    missing = missing_class_fault(tally, dataset, allowed=True) if expected else None
    if missing is not None:
        logger.warning("%s", missing)


def main(arguments: Sequence[str]) -> None:
    """Parses flags and writes the TFRecords."""
    config = parse_flags(MakeTFRecordConfig, arguments, "Write a split as TFRecord files.")
    set_max_pixels(config.max_pixels)
    # The value of white is set when the TFRecords are read.
    dataset = replace(dataset_of_flags(config.database, config), input_range=InputRange(is_decided=False))
    data_dir = existing_folder(dataset, config.data_dir)
    samples = find_samples(dataset, data_dir, [config.split])
    shards = _number_of_shards(config, len(samples))
    check_labels_as_a_whole(dataset, samples, config.split)
    # TensorFlow is imported late: this takes seconds, and the errors above are reported before.
    import_tensorflow()
    from database.tfrecord_samples import TFRECORD_FOLDER
    from tools.make_tfrecord.writing import write_tfrecords
    from tools.runs.holdout import held_out_fraction

    folder = config.out or os.path.join(data_dir, TFRECORD_FOLDER)
    index = write_tfrecords(
        dataset,
        samples,
        data_dir,
        folder,
        split=config.split,
        shards=shards,
        workers=config.workers or os.cpu_count() or 1,
        from_list=getattr(config, config.list_flag, None) is not None,
        holdout=held_out_fraction(config),
    )
    written = f"{number_of(index.num_samples, 'sample')} in {number_of(len(index.shards), 'shard')}"
    logger.info("wrote %s and their index to %s", written, folder)


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))
