"""Selects model, dataset and predictor from the flags and the record beside a checkpoint."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping
from typing import Any, TypeVar

from database.datasets import Dataset, custom_dataset
from database.input_range import InputRange
from model import choices
from model.architecture import Architecture
from tools.checkpoints.averages import require_averages
from tools.checkpoints.reading import variable_shapes
from tools.errors import CheckpointError, FlagError
from tools.flags.checks import check_flags_of_database, refuse_without_effect
from tools.flags.chosen_dataset import dataset_of_flags, described_dataset, existing_folder
from tools.flags.dataset import DATABASES, ClassFlags, FileFlags
from tools.flags.definition import flags_where
from tools.flags.predict import InferenceConfig, PredictConfig, WeightsConfig
from tools.prediction.grid_sizes import warn_of_misaligned_size
from tools.prediction.predictor import Predictor, TowerPredictor, predictor_on
from tools.prediction.protocols import protocol_of
from tools.runs.agreement import check_same_network
from tools.runs.record import ModelRecord
from tools.runtime.devices import devices_in_words, tower_devices
from tools.runtime.half_precision import chosen_float_type

logger = logging.getLogger(__name__)

Weights = TypeVar("Weights", bound=WeightsConfig)

# A checkpoint without a record is assumed to come from PSPNet-TF-Reproduce.
_REFERENCE_GRID = "legacy"
_REFERENCE_WINDOW = 864

# Flags of the training that name files, which prediction uses again.
_FILES_OF_DATA = (*flags_where(FileFlags, is_path=True), *flags_where(ClassFlags, is_path=True))


def record_of_checkpoint(prefix: str, config: WeightsConfig) -> ModelRecord:
    """Reads the record beside a checkpoint and applies the flags; without one, uses the reference's conventions.

    Flags change strides, grid, channel order, mean, input range, enlargement and window size, but not dataset and
    classes. A warning is logged for a window size that does not suit the grid.

    Raises:
        RecordError: the record is damaged.
        CheckpointError: there is no record, and the checkpoint is not of a PSPNet.
        FlagError: the flags name another network than the checkpoint's, or exclude averages that it does not have; or
            there is no record, and the dataset of the flags has another number of classes.
    """
    record = ModelRecord.read(os.path.dirname(prefix)) or _foreign_record(prefix, config)
    architecture = dataclasses.replace(
        record.architecture,
        stride_convention=config.stride_convention or record.architecture.stride_convention,
        resize_grid=config.resize_grid or record.architecture.resize_grid,
    )
    record = dataclasses.replace(
        record,
        architecture=architecture,
        color_switch=record.color_switch if config.color_switch is None else config.color_switch,
        test_image_size=record.test_image_size if config.test_image_size is None else config.test_image_size,
        upsample_input=config.upsample_input or record.upsample_input,
        image_mean=config.image_mean or record.image_mean,
        input_range=config.input_range or record.input_range,
    )
    _refuse_colors(record, config, prefix)
    check_same_network(record, config, prefix)  # the other flags determine the variables
    if not config.use_ema:
        require_averages(prefix)
    warn_of_misaligned_size("test_image_size", record.test_image_size, record.architecture)
    return record


def _refuse_colors(record: ModelRecord, config: WeightsConfig, prefix: str) -> None:
    """Rejects flags about colours if the network was trained on other channels."""
    for name in ("image_mean", "color_switch"):
        if record.channels is not None and getattr(config, name) is not None:
            channels = record.channels.count
            refuse_without_effect(
                config,
                name,
                f"on {prefix}, which was trained with --input_channels {channels}: give another checkpoint",
            )


def prediction_dataset(config: PredictConfig, trained: ModelRecord) -> tuple[Dataset, str]:
    """Returns the dataset to predict and its folder: those of the flags, by default those of the training.

    Args:
        config: flags.
        trained: record of the checkpoint, see `record_of_checkpoint`.

    Raises:
        DatasetError, PaletteError: see `database.datasets`.
        FlagError: a flag for own data is given with a known dataset, a list is of another split than the predicted
            one, or the dataset and the checkpoint have different classes.
    """
    database = _predicted_database(config, trained)
    _refuse_unused_lists(config)
    in_training = database == trained.database
    given = {name: value for name, value in dataclasses.asdict(config).items() if value is not None}
    if in_training:
        of_training = _flags_of_training(trained.flags, given)
        recorded = {name: of_training[name] for name in _FILES_OF_DATA if of_training.get(name)}
        reused = [f"--{name} {path}" for name, path in recorded.items() if name not in given]
        if reused:
            logger.info(
                "flags of the training are used: %s (relative paths start in the current folder)", " ".join(reused)
            )
        # The flags of a converted checkpoint do not have the number of classes.
        classes = {"num_classes": trained.architecture.num_classes}
        dataset = described_dataset(database, {**of_training, **given, **classes})
    else:
        dataset = described_dataset(database, given)
    _require_same_classes(dataset, trained)
    dataset = dataclasses.replace(dataset, input_range=InputRange(trained.input_range), channels=trained.channels)
    data_dir = config.data_dir or (trained.data_dir if in_training else None)
    return dataset, existing_folder(dataset, data_dir)


def scored_dataset(config: PredictConfig, recorded: Mapping[str, Any]) -> tuple[Dataset, str]:
    """Returns the dataset of predictions that exist as files, and its folder.

    Args:
        config: flags.
        recorded: `provenance.json` beside the files, whose dataset is the default; empty without one.

    Raises:
        FlagError: neither says which dataset it is, or a flag does not suit it.
        DatasetError, PaletteError: see `database.datasets`.
    """
    database = config.database or recorded.get("dataset")
    if database not in DATABASES:
        raise FlagError("--has_prediction needs the dataset of the files: give it with --database")
    check_flags_of_database(config, database, "the predictions are of")
    _refuse_unused_lists(config)
    dataset = dataset_of_flags(database, config)
    data_dir = config.data_dir or (recorded.get("data_dir") if database == recorded.get("dataset") else None)
    return dataset, existing_folder(dataset, data_dir)


def _flags_of_training(flags: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the flags of the training without those that the given flags replace, although under other names."""
    replaced = {"holdout"} if "val_list" in given else set()
    if "label_map" in given or given.get("reduce_zero_label"):
        replaced |= {"label_map", "reduce_zero_label"}
    return {name: value for name, value in flags.items() if name not in replaced}


def inference_record(config: InferenceConfig, trained: ModelRecord) -> ModelRecord:
    """Returns the record with names, colours and ids of the classes: those of the flags, by default of the training.

    Args:
        config: flags; --palette and --label_map replace those of any dataset.
        trained: record of the checkpoint, see `record_of_checkpoint`.

    Raises:
        DatasetError, PaletteError: see `database.datasets`.
        FlagError: as `prediction_dataset`.
    """
    database, record = _predicted_database(config, trained), trained
    if database != trained.database:
        dataset = dataset_of_flags(database, config)
        _require_same_classes(dataset, trained)
        record = trained.for_dataset(dataset)
    num_classes = trained.architecture.num_classes
    if config.palette is not None:
        record = dataclasses.replace(record, palette=custom_dataset(num_classes, palette_file=config.palette).palette)
    if config.label_map is not None:
        label_map = custom_dataset(num_classes, label_map_file=config.label_map).label_map
        record = dataclasses.replace(record, label_map=label_map)
    return record


def _predicted_database(config: WeightsConfig, trained: ModelRecord) -> str:
    """Returns the dataset of the results, after checks that the flags suit it."""
    database = config.database or trained.database
    check_flags_of_database(config, database, "the checkpoint was trained on")
    num_classes = trained.architecture.num_classes
    if config.num_classes not in (None, num_classes):
        raise FlagError(
            f"--num_classes is {config.num_classes} and the checkpoint has {num_classes} classes: give --num_classes "
            f"{num_classes}, or a checkpoint with {config.num_classes} classes"
        )
    return database


def _refuse_unused_lists(config: PredictConfig) -> None:
    """Rejects lists of other splits than the predicted one; with `val`, the training list selects held-out images."""
    for split in ("train", "val", "test"):
        if split != config.mode and (split, config.mode) != ("train", "val"):
            refuse_without_effect(config, f"{split}_list", f"on the split {config.mode}: add --mode {split}")


def _require_same_classes(dataset: Dataset, trained: ModelRecord) -> None:
    if dataset.num_classes != trained.architecture.num_classes:
        raise FlagError(
            f"--database {dataset.name} has {dataset.num_classes} classes and the checkpoint, trained on "
            f"{trained.database}, has {trained.architecture.num_classes}: give a checkpoint that was trained on it"
        )


def with_chosen_precision(config: Weights) -> Weights:
    """Replaces `--float_type auto` by the precision that suits this machine; see `tools.runtime.half_precision`."""
    return dataclasses.replace(config, float_type=chosen_float_type(config.float_type, config.device))


def build_predictor(
    prefix: str, record: ModelRecord, config: WeightsConfig, gpu_num: int = 1
) -> Predictor | TowerPredictor:
    """Builds the predictor of a checkpoint with the settings of the flags, on one device or several.

    Raises:
        CheckpointError: see `Predictor`.
        DeviceError: there are fewer devices.
    """

    def build(device: str) -> Predictor:
        return Predictor(
            prefix,
            record,
            protocol=protocol_of(config, record.architecture.smallest_stride),
            mirror=config.mirror,
            float_type=config.float_type,
            windows_per_batch=config.windows_per_batch,
            use_averages=config.use_ema,
            device=device,
        )

    devices = tower_devices(gpu_num, config.device)
    logger.info("devices: %s", devices_in_words(devices, config.device))
    return predictor_on(devices, build)


def _foreign_record(prefix: str, config: WeightsConfig) -> ModelRecord:
    """Creates the record of a checkpoint of the reference implementation."""
    network, num_classes, stem = _foreign_network(prefix, config.network)
    dataset = dataset_of_flags(config.database or "Cityscapes", config)
    logger.info(
        "there is no config.json beside %s: it is assumed to be a checkpoint of PSPNet-TF-Reproduce (%s, %d classes, "
        "%s resize grid)",
        prefix,
        network,
        num_classes,
        _REFERENCE_GRID,
    )
    if dataset.num_classes != num_classes:
        raise FlagError(
            f"--database {dataset.name} has {dataset.num_classes} classes and the checkpoint {prefix} has "
            f"{num_classes}: give the dataset that it was trained on with --database"
        )
    return ModelRecord.of_dataset(
        Architecture(network, num_classes, resize_grid=_REFERENCE_GRID, stem=stem),
        dataset,
        color_switch=False,
        test_image_size=_REFERENCE_WINDOW,
    )


def _foreign_network(prefix: str, wanted: str | None) -> tuple[str, int, str]:
    """Detects network, number of classes and stem from the variables of a checkpoint."""
    shapes = variable_shapes(prefix)
    network = next((name for name in choices.NETWORKS if f"{name}/logits/weights" in shapes), str(wanted))
    logits = shapes.get(f"{network}/logits/weights")
    if logits is None or f"{network}/psp/pool1/weights" not in shapes:
        raise CheckpointError(
            f"{prefix}: this checkpoint contains no PSPNet (it lacks <network>/logits or <network>/psp), and there is "
            "no config.json beside it: give a snapshot that train.py wrote"
        )
    return network, logits[-1], choices.stem_of(network, f"{network}/conv1_1/weights" in shapes) or ""
