"""Determines the dataset that flags describe, and its folder. Works without TensorFlow."""

from __future__ import annotations

import dataclasses
import logging
import os
import shlex
from collections.abc import Mapping
from typing import Any

from database.channels import Channels
from database.datasets import Dataset, custom_dataset, get_dataset, require_folder
from database.errors import DatasetError
from database.input_range import InputRange
from database.synthetic import write_dataset
from tools.errors import FlagError
from tools.flags.dataset import DatasetFlags, SplitFlags
from tools.flags.predict import WeightsConfig

logger = logging.getLogger(__name__)


def own_dataset(flags: Mapping[str, Any]) -> Dataset:
    """Creates the dataset record of a user's own data from flags by name.

    Raises:
        FlagError: the number of classes is missing, or two flags define label maps.
        DatasetError, PaletteError: see `database.datasets.custom_dataset`.
    """
    if flags.get("num_classes") is None:
        raise FlagError("--database custom needs --num_classes")
    if flags.get("reduce_zero_label") and flags.get("label_map") is not None:
        raise FlagError(
            f"--reduce_zero_label 1 and --label_map {flags['label_map']} both map label ids: drop one of them"
        )
    return custom_dataset(
        flags["num_classes"],
        train_list=flags.get("train_list"),
        val_list=flags.get("val_list"),
        test_list=flags.get("test_list"),
        holdout=flags.get("holdout"),
        palette_file=flags.get("palette"),
        ignore_label=flags.get("ignore_label"),
        label_map_file=flags.get("label_map"),
        reduce_zero_label=bool(flags.get("reduce_zero_label")),
        image_mean=flags.get("image_mean"),
        channels=channels_of(flags),
    )


def channels_of(flags: Mapping[str, Any]) -> Channels | None:
    """Returns the channels of the images by flags, also those of a record, whose tuples are lists; None for RGB."""
    if flags.get("input_channels") is None:
        return None
    mean, deviation = (
        None if flags.get(name) is None else tuple(flags[name]) for name in ("channel_mean", "channel_std")
    )
    return Channels(flags["input_channels"], mean, deviation)


def described_dataset(database: str, flags: Mapping[str, Any]) -> Dataset:
    """Returns the dataset record of a dataset, adapted by flags given by name.

    Raises:
        FlagError, DatasetError, PaletteError: see `own_dataset` and `database.datasets.get_dataset`.
    """
    if database == "custom":
        dataset = own_dataset(flags)
    else:
        list_paths = {split: flags.get(f"{split}_list") for split in ("train", "val", "test")}
        dataset = get_dataset(database, list_paths=list_paths, holdout=flags.get("holdout"))
    return dataclasses.replace(dataset, input_range=InputRange(flags.get("input_range")))


def is_scored(flags: SplitFlags) -> bool:
    """Returns whether training with these flags needs validation images.

    Own data from lists need none if there is no validation list and no image is held out.
    """
    by_lists = flags.database == "custom" and flags.train_list is not None
    return not by_lists or flags.val_list is not None or flags.holdout is not None


def dataset_part(database: str, data_dir: str | None) -> str:
    """Returns the name of a dataset in folder names; for own data it includes the name of the data folder."""
    return f"custom-{os.path.basename(os.path.abspath(data_dir or '.'))}" if database == "custom" else database


def dataset_of_flags(database: str, config: DatasetFlags | WeightsConfig) -> Dataset:
    """Returns the dataset that a script's flags describe; see `described_dataset`."""
    return described_dataset(database, dataclasses.asdict(config))


# Advice for a missing dataset; {out} is the flag for a folder other than the default.
_FETCH = "fetch it with python -m tools.download {name}{out}"
_HOW_TO_GET = {
    "Cityscapes": "python -m tools.download Cityscapes prints the steps to get it",
    "ADE": _FETCH,
    "SBD": "fetch its archives with python -m tools.download SBD and VOC2012, and join them with python -m tools.sbd",
    "KITTI": _FETCH,
    "CamVid": _FETCH,
    "Toy": "drop --data_dir, and the generated scenes are written to {default_dir}",
    "custom": "give the folder that your images and labels lie in",
}


def existing_folder(dataset: Dataset, data_dir: str | None) -> str:
    """Returns the folder of a dataset; generates the Toy dataset if its default folder does not exist.

    Raises:
        DatasetError: the folder does not exist; the message describes how to get the dataset.
    """
    folder = data_dir or dataset.default_dir
    if dataset.name == "Toy" and data_dir is None and not os.path.exists(folder):
        logger.info("writing the generated street scenes to %s", folder)
        write_dataset(folder)
        return folder
    try:
        require_folder(dataset, folder)
    except DatasetError as error:
        out = "" if data_dir is None else f" --out {shlex.quote(data_dir)}"
        advice = _HOW_TO_GET[dataset.name].format(name=dataset.name, out=out, default_dir=dataset.default_dir)
        elsewhere = ", or give its folder with --data_dir" if data_dir is None else ""
        raise DatasetError(f"{error}: {advice}{elsewhere}") from error
    return folder


def training_dataset(config: DatasetFlags) -> tuple[Dataset, str]:
    """Returns the dataset that flags describe, and its folder; generates the Toy dataset if it does not exist.

    Raises:
        DatasetError, PaletteError: see `database.datasets`.
    """
    dataset = dataset_of_flags(config.database, config)
    return dataset, existing_folder(dataset, config.data_dir)
