"""Which dataset and which model are meant, by the flags and by the record beside a checkpoint."""

from __future__ import annotations

import dataclasses
import logging
import os
from typing import Any

from database.datasets import IGNORE_LABEL, Dataset, custom_dataset, get_dataset
from database.synthetic import write_dataset
from model import resnet
from model.pspnet_mg import Architecture
from tools import checkpoint
from tools.checkpoint import CheckpointError
from tools.flags import FlagError, InferenceConfig, PredictConfig, TrainConfig
from tools.run_folder import ModelRecord

logger = logging.getLogger(__name__)

WeightsConfig = PredictConfig | InferenceConfig

# A checkpoint without a record is taken to be the reference implementation's.
_REFERENCE_GRID = "legacy"
_REFERENCE_WINDOW = 864


def _custom_from(values: dict[str, Any]) -> Dataset:
    if values["num_classes"] is None:
        raise FlagError("--database custom needs --num_classes")
    return custom_dataset(
        values["num_classes"],
        train_list=values["train_list"],
        val_list=values["val_list"],
        test_list=values["test_list"],
        palette_file=values["palette"],
        ignore_label=IGNORE_LABEL if values["ignore_label"] is None else values["ignore_label"],
        label_map_file=values["label_map"],
        image_mean=values["image_mean"],
    )


def training_dataset(config: TrainConfig) -> tuple[Dataset, str]:
    """The dataset to train on and its folder; the Toy dataset is written where it does not exist yet.

    Raises:
        DatasetError, PaletteError: see `database.datasets`.
    """
    custom = config.database == "custom"
    dataset = _custom_from(dataclasses.asdict(config)) if custom else get_dataset(config.database)
    return dataset, existing_folder(dataset, config.data_dir)


def existing_folder(dataset: Dataset, data_dir: str | None) -> str:
    """The folder of a dataset; Toy's own place is filled now if it does not exist."""
    folder = data_dir or dataset.default_dir
    if dataset.name == "Toy" and data_dir is None and not os.path.exists(folder):
        logger.info("writing the generated street scenes to %s", folder)
        write_dataset(folder)
    return folder


def prediction_dataset(config: PredictConfig, record: ModelRecord) -> tuple[Dataset, str]:
    """The dataset to predict and its folder: as flags say, otherwise as in training.

    Raises:
        DatasetError, PaletteError, FlagError: see `database.datasets`.
    """
    name = config.database or record.database
    trained_on_it = name == record.database
    if name == "custom":
        flags = {k: v for k, v in dataclasses.asdict(config).items() if v is not None}
        defaults = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
        trained = dict(record.flags) if trained_on_it else {}
        dataset = _custom_from({**defaults, **trained, **flags})
        if dataset.num_classes != record.architecture.num_classes:
            raise FlagError(
                f"--num_classes is {dataset.num_classes} and the checkpoint has {record.architecture.num_classes} "
                "classes: give the number of the checkpoint, or a checkpoint of these classes"
            )
    else:
        dataset = get_dataset(name)
    data_dir = config.data_dir or (record.flags.get("data_dir") if trained_on_it else None)
    return dataset, existing_folder(dataset, data_dir)


def choose_checkpoint(config: WeightsConfig) -> str:
    """The prefix of the checkpoint that the flags name, or of the newest snapshot.

    Raises:
        CheckpointError: there is none.
    """
    if config.weights_ckpt is not None:
        return checkpoint.resolve_checkpoint(config.weights_ckpt)
    prefix = checkpoint.newest_snapshot(config.log_dir)
    logger.info("newest snapshot: %s", prefix)
    return prefix


def record_of_checkpoint(prefix: str, config: WeightsConfig) -> ModelRecord:
    """The record beside a checkpoint, or the reference's conventions where there is none, changed by the flags.

    Raises:
        RecordError: the record is damaged.
        CheckpointError: no record, and the checkpoint is no PSPNet's.
        FlagError: the dataset named by --database has another number of classes.
    """
    record = ModelRecord.read(os.path.dirname(prefix)) or _foreign_record(prefix, config)
    changes = {
        name: getattr(config, name)
        for name in ("network", "three_convs_beginning", "stride_convention", "resize_grid")
        if getattr(config, name) is not None
    }
    record = dataclasses.replace(
        record,
        architecture=dataclasses.replace(record.architecture, **changes),
        color_switch=record.color_switch if config.color_switch is None else config.color_switch,
        test_image_size=config.test_image_size or record.test_image_size,
    )
    if config.database in (None, "custom", record.database):
        return record
    dataset = get_dataset(config.database)
    if dataset.num_classes != record.architecture.num_classes:
        raise FlagError(
            f"--database {dataset.name} has {dataset.num_classes} classes and the checkpoint {prefix} has "
            f"{record.architecture.num_classes} ({record.database}): give a checkpoint that was trained on it"
        )
    # The mean stays the one the network was trained with.
    return dataclasses.replace(
        record,
        database=dataset.name,
        class_names=dataset.class_names,
        palette=dataset.palette,
        label_map=dataset.label_map,
    )


def _foreign_record(prefix: str, config: WeightsConfig) -> ModelRecord:
    shapes = checkpoint.variable_shapes(prefix)
    networks = [network for network in resnet.NETWORKS if f"{network}/logits/weights" in shapes]
    network = networks[0] if networks else config.network
    logits = shapes.get(f"{network}/logits/weights")
    if logits is None or f"{network}/psp/pool1/weights" not in shapes:
        raise CheckpointError(
            f"{prefix}: this checkpoint holds no PSPNet (no <network>/logits and psp layers) and no configuration "
            "stands beside it: give a snapshot that train.py wrote"
        )
    if config.database == "custom":
        dataset = _custom_from(dataclasses.asdict(config))
    else:
        dataset = get_dataset(config.database or "Cityscapes")
    logger.info(
        "no configuration beside %s: taken for a checkpoint of the reference (%s, %d classes, %s resize grid)",
        prefix,
        network,
        logits[-1],
        _REFERENCE_GRID,
    )
    if dataset.num_classes != logits[-1]:
        raise FlagError(
            f"--database {dataset.name} has {dataset.num_classes} classes and the checkpoint {prefix} has "
            f"{logits[-1]}: say with --database what it was trained on"
        )
    architecture = Architecture(
        str(network),
        dataset.num_classes,
        resize_grid=_REFERENCE_GRID,
        three_convs_beginning=f"{network}/conv1_1/weights" in shapes,
    )
    return ModelRecord(
        architecture,
        dataset.name,
        dataset.class_names,
        dataset.palette,
        dataset.image_mean,
        dataset.label_map,
        color_switch=False,
        test_image_size=_REFERENCE_WINDOW,
    )
