"""Finds the samples for the training and the validation of a run, in files or in TFRecords."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from database.datasets import Dataset, find_samples
from database.errors import DatasetError
from database.layouts import Sample
from database.tfrecord_index import TFRecordIndex, has_index
from database.tfrecord_samples import find_tfrecord_samples, tfrecord_folder
from tools.flags.checks import refuse_without_effect
from tools.flags.chosen_dataset import is_scored
from tools.flags.train import TrainConfig
from tools.runs.data_checksums import DataChecksums
from tools.runs.holdout import held_out_fraction

logger = logging.getLogger(__name__)

# Flags that have no effect without validation images, and the advice in this case.
_FLAGS_OF_SCORING = ("val_every", "test_max_iter", "mirror", "eval_only")
_WITHOUT_IMAGES = "without validation images: give them with --val_list, or hold some out with --holdout"


@dataclass(frozen=True)
class RunData:
    """The images and labels of a run.

    Attributes:
        dataset: classes, colours and label ids.
        training: samples of the training splits; empty with `--eval_only`, unless `--epochs` needs their number.
        validation: samples for scoring; may be empty.
        training_checksums, validation_checksums: of these samples.
    """

    dataset: Dataset
    training: Sequence[Sample]
    validation: Sequence[Sample]
    training_checksums: DataChecksums
    validation_checksums: DataChecksums

    @classmethod
    def of(
        cls, dataset: Dataset, data_dir: str, training: Sequence[Sample], validation: Sequence[Sample] = ()
    ) -> RunData:
        """Computes the checksums of samples in a folder."""
        checksums = (DataChecksums.of(samples, data_dir) for samples in (training, validation))
        return cls(dataset, training, validation, *checksums)

    @classmethod
    def find(cls, config: TrainConfig, dataset: Dataset, data_dir: str) -> RunData:
        """Finds the samples that the flags select.

        Raises:
            DataError, FlagError: see `training_samples` and `validation_samples`.
        """
        is_needed = not config.eval_only or (config.is_found_by_flags and config.epochs is not None)
        training = training_samples(config, dataset, data_dir) if is_needed else []
        return cls.of(dataset, data_dir, training, validation_samples(config, dataset, data_dir))


def training_samples(config: TrainConfig, dataset: Dataset, data_dir: str) -> list[Sample]:
    """Returns the samples of the training splits, in the same order from files and from TFRecords.

    Raises:
        DatasetError: see `datasets.find_samples`.
        TFRecordError: see `tfrecord_samples.find_tfrecord_samples`.
    """
    if _from_tfrecords(config):
        return find_tfrecord_samples(dataset, data_dir, config.subsets_for_training, held_out_fraction(config))
    return find_samples(dataset, data_dir, config.subsets_for_training)


def validation_samples(config: TrainConfig, dataset: Dataset, data_dir: str) -> list[Sample]:
    """Returns the validation samples; an empty list for own data without a validation list and without held-out images.

    With `--data_format tfrecord`, TFRecords of the split are used if they exist and `--val_list` is not given,
    otherwise files.

    Raises:
        DatasetError: the split is missing or incomplete.
        FlagError: there are no validation images, and a flag for their scoring is set.
        TFRecordError: see `tfrecord_samples.find_tfrecord_samples`.
    """
    if _from_tfrecords(config) and config.val_list is None:
        return _validation_beside_tfrecords(config, dataset, data_dir)
    if not is_scored(config):
        return _nothing_to_score(config)
    return find_samples(dataset, data_dir, ["val"])


def _nothing_to_score(config: TrainConfig) -> list[Sample]:
    for name in _FLAGS_OF_SCORING:
        refuse_without_effect(config, name, _WITHOUT_IMAGES)
    logger.info("no --val_list: this run is not scored")
    return []


def _from_tfrecords(config: TrainConfig) -> bool:
    return config.data_format == "tfrecord"


def _validation_beside_tfrecords(config: TrainConfig, dataset: Dataset, data_dir: str) -> list[Sample]:
    """Returns TFRecords of val, otherwise its files; nothing if the TFRecords of own data were made from a list."""
    folder = tfrecord_folder(data_dir)
    if has_index(folder, "val"):
        return find_tfrecord_samples(dataset, data_dir, ["val"], held_out_fraction(config))
    by_lists = any(TFRecordIndex.read(folder, split).from_list for split in config.subsets_for_training)
    if config.database == "custom" and by_lists:
        if config.holdout is None:
            return _nothing_to_score(config)
        # Without the list, the held-out files are unknown.
        return find_tfrecord_samples(dataset, data_dir, ["val"], config.holdout)
    try:
        samples = find_samples(dataset, data_dir, ["val"])
    except DatasetError as error:
        raise DatasetError(
            f"{error}; or write TFRecords of it with python -m tools.make_tfrecord --split val"
        ) from error
    logger.info("validation reads image and label files, not TFRecords")
    return samples
