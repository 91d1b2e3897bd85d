"""The samples that a run trains on and is scored on, from files or from records."""

from __future__ import annotations

import logging

from database.datasets import Dataset, DatasetError, find_samples
from database.layouts import Sample
from database.record_index import RecordIndex, find_records, has_index, records_folder
from tools.flags import TrainConfig

logger = logging.getLogger(__name__)


def training_samples(config: TrainConfig, dataset: Dataset, data_dir: str) -> list[Sample]:
    """The samples of the training splits, the same ones in the same order from files and from records.

    Raises:
        DatasetError: see `datasets.find_samples`.
        TFRecordError: see `record_index.find_records`.
    """
    find = find_records if _from_records(config) else find_samples
    return find(dataset, data_dir, config.subsets_for_training)


def validation_samples(config: TrainConfig, dataset: Dataset, data_dir: str) -> list[Sample]:
    """The validation split; empty for own data in lists of which none is for validation and nothing is held out.

    A run on records takes those of the split if they are there and `--val_list` does not name files, otherwise files.

    Raises:
        DatasetError: the split is missing or incomplete.
        TFRecordError: see `record_index.find_records`.
    """
    folder = records_folder(data_dir)
    if _from_records(config) and config.val_list is None and has_index(folder, "val"):
        return find_records(dataset, data_dir, ["val"])
    is_listed = config.database == "custom" and _trains_on_a_list(config, folder)
    if is_listed and config.val_list is None and config.holdout is None:
        logger.info("no --val_list: this run is not scored")
        return []
    if not _from_records(config):
        return find_samples(dataset, data_dir, ["val"])
    try:
        samples = find_samples(dataset, data_dir, ["val"])
    except DatasetError as error:
        raise DatasetError(f"{error}; or write records of it with python -m tools.make_tfrecord --split val") from error
    logger.info("validation reads images and labels, not records")
    return samples


def _from_records(config: TrainConfig) -> bool:
    return config.data_format == "tfrecord"


def _trains_on_a_list(config: TrainConfig, folder: str) -> bool:
    if not _from_records(config):
        return config.train_list is not None
    return any(RecordIndex.read(folder, split).from_list for split in config.subsets_for_training)
