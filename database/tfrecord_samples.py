"""Finds the samples of a dataset's splits in TFRecords, after checking that these were made from that dataset."""

from __future__ import annotations

import os
from collections.abc import Sequence

from database.classes import identity_map
from database.datasets import Dataset, require_split, with_decoding
from database.errors import TFRecordError
from database.layouts import Sample, shown_holdout
from database.tfrecord_index import TFRecordIndex, index_path

TFRECORD_FOLDER = "tfrecord"
# Datasets of which some label files store training ids, see `layouts.cityscapes`.
_WITH_TRAINING_IDS = ("Cityscapes",)


def tfrecord_folder(data_dir: str) -> str:
    """Returns the folder of a dataset's TFRecords: its subfolder `tfrecord` if it exists, else the dataset's folder."""
    inside = os.path.join(data_dir, TFRECORD_FOLDER)
    return inside if os.path.isdir(inside) else data_dir


def find_tfrecord_samples(
    dataset: Dataset, data_dir: str, splits: Sequence[str], holdout: float | None = None
) -> list[Sample]:
    """Finds the samples of splits in their TFRecords, one split after the other; see `datasets.find_samples`.

    Args:
        dataset: the dataset that the flags describe.
        data_dir: see `tfrecord_folder`; the samples' paths are relative to it.
        splits: names of splits.
        holdout: the fraction of the training images used as val, by the flags.

    Raises:
        DatasetError: the dataset has no such split.
        TFRecordError: see `TFRecordIndex.read` and `check_made_from`.
    """
    folder = tfrecord_folder(data_dir)
    samples: list[Sample] = []
    for split in splits:
        require_split(dataset, split)
        index = TFRecordIndex.read(folder, split)
        check_made_from(index, dataset, holdout, folder)
        samples.extend(index.samples(folder, data_dir))
    return with_decoding(dataset, samples)


def check_made_from(index: TFRecordIndex, dataset: Dataset, holdout: float | None, folder: str) -> None:
    """Checks that the TFRecords were made from the dataset that the flags describe.

    Args:
        index: of a split.
        dataset: the dataset that the flags describe.
        holdout: the fraction of its training images used as val, by the flags.
        folder: folder of the TFRecords, for the message.

    Raises:
        TFRecordError: the dataset, its label map, that of the samples, the palette or held-out fraction differs.
    """
    path = index_path(folder, index.split)
    if index.database != dataset.name:
        raise TFRecordError(
            f"{path}: the TFRecords were made from {index.database}, but --database is {dataset.name}: give "
            f"--database {index.database} or the --data_dir of other TFRecords"
        )
    then, now = index.dataset_label_map, dataset.label_map
    changed = sorted(i for i in then.keys() | now.keys() if then.get(i) != now.get(i))
    if changed:
        file_id = changed[0]
        raise TFRecordError(
            f"{path}: label id {file_id} has the training id {now.get(file_id, 'unknown')} by --num_classes, "
            f"--label_map and --ignore_label, but had {then.get(file_id, 'unknown')} when the TFRecords were "
            "written: give the original flags or write the TFRecords again"
        )
    of_training_ids = [identity_map(dataset.num_classes)] if dataset.name in _WITH_TRAINING_IDS else []
    if index.label_map not in [dict(dataset.label_map), *of_training_ids]:
        raise TFRecordError(
            f"{path}: the label map of the samples is neither that of {dataset.name} nor that of training ids: "
            "write the TFRecords again"
        )
    if index.colors is not None and index.colors != color_rows(dataset):
        raise TFRecordError(
            f"{path}: --palette has other colours than the palette that the TFRecords were written with: give that "
            "palette or write the TFRecords again"
        )
    if index.holdout != holdout:
        advice = "drop --holdout" if index.holdout is None else f"give --holdout {index.holdout:g}"
        raise TFRecordError(
            f"{path}: --holdout is {shown_holdout(holdout)} but was {shown_holdout(index.holdout)} when the "
            f"TFRecords were written: {advice} or write the TFRecords again"
        )


def color_rows(dataset: Dataset) -> list[list[int]] | None:
    """Returns the colours of label files as rows [red, green, blue, id]; None if the files store only ids."""
    if dataset.colors is None:
        return None
    return sorted([*color, file_id] for color, file_id in dataset.colors.ids.items())
