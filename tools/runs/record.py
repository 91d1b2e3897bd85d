"""Records beside checkpoints, which make them usable without the command line of their training."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from database.channels import Channels
from database.datasets import Dataset
from model import choices
from model.architecture import Architecture
from tools.errors import RecordError
from tools.flags.chosen_dataset import channels_of
from tools.flags.sizes import Size
from tools.flags.train import TrainConfig
from tools.runs import record_rules
from tools.runs.architecture_of_flags import architecture_of_flags
from tools.runs.record_file import read_object, write_object
from tools.runs.record_rules import RESTORE, check_fields, without_additions
from tools.runs.run_origin import RunOrigin, with_origin

CONFIG_NAME = "config.json"
_BACKBONE = "backbone"


@dataclass(frozen=True)
class ModelRecord:
    """The properties of a training run that are needed to use its checkpoints.

    Attributes:
        architecture: the network.
        database: name of the dataset.
        class_names, palette, image_mean, label_map: of the dataset, see `database.datasets.Dataset`.
        color_switch: whether the input of the network is BGR.
        test_image_size: of windows, see `tools.flags.sizes.Size`; 0 for windows of whole images.
        upsample_input: factor by which images are enlarged before they are cropped or cut into windows.
        input_range: the value of white in images of more than 8 bits, None for the default.
        ignored_colors: colours of ignored pixels, for colour-coded labels.
        flags: the training run's flags; empty for a foreign checkpoint.
        origin: what the run started from and trains on.
    """

    architecture: Architecture
    database: str
    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    image_mean: tuple[float, float, float]
    label_map: Mapping[int, int]
    color_switch: bool
    test_image_size: Size
    upsample_input: int = 1
    input_range: float | None = None
    ignored_colors: tuple[tuple[int, int, int], ...] = ()
    flags: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    origin: RunOrigin = RunOrigin()

    @classmethod
    def of_dataset(
        cls,
        architecture: Architecture,
        dataset: Dataset,
        *,
        color_switch: bool,
        test_image_size: Size,
        upsample_input: int = 1,
        flags: Mapping[str, Any] | None = None,
    ) -> ModelRecord:
        """Creates the record of a network that was trained on a dataset."""
        return cls(
            architecture=architecture,
            **_classes_of(dataset),
            image_mean=dataset.image_mean,
            color_switch=color_switch,
            test_image_size=test_image_size,
            upsample_input=upsample_input,
            input_range=None if dataset.input_range is None else dataset.input_range.white,
            flags=flags or {},
        )

    @classmethod
    def of_run(cls, config: TrainConfig, dataset: Dataset, backbone: BackboneRecord | None = None) -> ModelRecord:
        """Creates the record of a new run from flags; unset flags get the values of the checkpoint it starts from.

        Raises:
            FlagError, RecordError: that checkpoint is of another network, see `architecture_of_flags`.
        """
        backbone = backbone or _unrecorded(config)
        record = cls.of_dataset(
            architecture_of_flags(config, backbone.architecture(dataset.num_classes), is_bgr=backbone.color_switch),
            dataset,
            color_switch=backbone.color_switch if config.color_switch is None else config.color_switch,
            test_image_size=config.test_image_size,
            upsample_input=config.upsample_input,
            flags=config.run_flags(),
        )
        mean = config.image_mean or backbone.image_mean
        return record if mean is None else dataclasses.replace(record, image_mean=mean)

    @property
    def three_convs_beginning(self) -> bool:
        """Returns whether the network begins with three 3x3 convolutions; see `--three_convs_beginning`."""
        return choices.has_three_convolutions(self.architecture.stem)

    @property
    def data_dir(self) -> str | None:
        """Returns the folder of the training images; None for the dataset's default folder, or if it is unknown."""
        return self.flags.get("data_dir")

    @property
    def last_step(self) -> int | None:
        """Returns the number of training steps that the run was started with; None for a foreign checkpoint."""
        return self.flags.get("train_max_iter")

    @property
    def channels(self) -> Channels | None:
        """Returns the channels of the images; None for RGB."""
        return channels_of(self.flags)

    def for_dataset(self, dataset: Dataset) -> ModelRecord:
        """Returns the record with a dataset's names, colours and ids; mean and input range stay those of training."""
        return dataclasses.replace(self, **_classes_of(dataset))

    def values(self) -> dict[str, Any]:
        """Returns the JSON values of `config.json`."""
        values = dataclasses.asdict(self)
        values["architecture"] = without_additions(values["architecture"])
        values["label_map"] = {str(file_id): train_id for file_id, train_id in self.label_map.items()}
        return values

    def write(self, folder: str) -> None:
        """Writes `config.json` into a folder, atomically."""
        write_object(os.path.join(folder, CONFIG_NAME), self.values())

    @classmethod
    def read_if_run(cls, folder: str) -> ModelRecord | None:
        """Works like `read`, and returns None if the record describes a ResNet without a PSPNet's heads."""
        values = read_object(os.path.join(folder, CONFIG_NAME))
        return None if values is None or _BACKBONE in values else cls.read(folder)

    @classmethod
    def read(cls, folder: str) -> ModelRecord | None:
        """Reads the record in a folder; None if there is none.

        Raises:
            RecordError: the file is not a record; a key is missing, unknown to this version or has a wrong value.
        """
        path = os.path.join(folder, CONFIG_NAME)
        values = read_object(path)
        return None if values is None else cls.of_values(values, path)

    @classmethod
    def of_values(cls, values: dict[str, Any], path: str) -> ModelRecord:
        """Creates a record from the JSON values of `config.json`; `path` says in messages where they are from.

        Raises:
            RecordError: see `read`.
        """
        if "origin" not in values and isinstance(values.get("flags"), dict):
            values = with_origin(values)
        _check_record(path, values)
        return cls(
            architecture=Architecture(**values.pop("architecture")),
            class_names=tuple(values.pop("class_names")),
            palette=tuple(tuple(color) for color in values.pop("palette")),
            image_mean=tuple(values.pop("image_mean")),
            ignored_colors=tuple(tuple(color) for color in values.pop("ignored_colors", ())),
            label_map={int(file_id): train_id for file_id, train_id in values.pop("label_map").items()},
            origin=RunOrigin.of_values(values.pop("origin", {})),
            **values,
        )


@dataclass(frozen=True)
class BackboneRecord:
    """The properties of a ResNet, or of a PSPNet whose head is reused, that are needed to train from its checkpoint.

    Attributes:
        network, stem, pool_padding, stride_convention: see `architecture.Architecture`, also for the defaults.
        image_mean: RGB, 0..255, that it was trained with; None for the mean of the current dataset.
        color_switch: whether its input is BGR.
        decoder, output_stride, resize_grid, pyramid_depth, head_depth, auxiliary_depth, pyramid_order, activation,
            bounded_head, input_channels, filter_scale, encoder_blocks, filters: see `architecture.Architecture`; a
            ResNet without a head has the defaults.
        class_names: of the classes of its head, by training id; None for a ResNet without a head.
        checkpoint: name of the checkpoint in the record's folder that it describes; None for all of them.
    """

    network: str
    stem: str = Architecture.stem
    pool_padding: str = Architecture.pool_padding
    stride_convention: str = Architecture.stride_convention
    image_mean: tuple[float, float, float] | None = None
    color_switch: bool = False
    output_stride: int = Architecture.output_stride
    resize_grid: str = Architecture.resize_grid
    pyramid_depth: int | None = Architecture.pyramid_depth
    head_depth: int = Architecture.head_depth
    auxiliary_depth: int = Architecture.auxiliary_depth
    decoder: str = Architecture.decoder
    pyramid_order: str = Architecture.pyramid_order
    activation: str = Architecture.activation
    bounded_head: bool = Architecture.bounded_head
    input_channels: int = Architecture.input_channels
    filter_scale: float = Architecture.filter_scale
    encoder_blocks: int = Architecture.encoder_blocks
    filters: Mapping[str, int] = dataclasses.field(default_factory=dict, hash=False)
    class_names: tuple[str, ...] | None = None
    checkpoint: str | None = None

    def __post_init__(self) -> None:
        if not self.stem:
            object.__setattr__(self, "stem", choices.NETWORKS[self.network].stem)

    @classmethod
    def of_architecture(
        cls,
        architecture: Architecture,
        *,
        image_mean: tuple[float, float, float] | None,
        color_switch: bool,
        class_names: tuple[str, ...] | None = None,
        checkpoint: str | None = None,
    ) -> BackboneRecord:
        """Creates the record of a network from its architecture without the number of classes."""
        values = dataclasses.asdict(architecture)
        del values["num_classes"]
        return cls(
            **values,
            image_mean=image_mean,
            color_switch=color_switch,
            class_names=class_names,
            checkpoint=checkpoint,
        )

    def architecture(self, num_classes: int) -> Architecture:
        """Returns the network with a number of classes."""
        names = {field.name for field in dataclasses.fields(Architecture)} - {"num_classes"}
        return Architecture(num_classes=num_classes, **{name: getattr(self, name) for name in names})

    def write(self, folder: str) -> None:
        """Writes `config.json` into a folder, atomically."""
        write_object(os.path.join(folder, CONFIG_NAME), {_BACKBONE: without_additions(dataclasses.asdict(self))})

    @classmethod
    def read(cls, folder: str) -> BackboneRecord | None:
        """Reads the record of a ResNet or a PSPNet in a folder; None if there is none.

        Raises:
            RecordError: as for `ModelRecord.read`.
        """
        path = os.path.join(folder, CONFIG_NAME)
        values = read_object(path)
        if values is None or _BACKBONE not in values:
            record = ModelRecord.read(folder)
            if record is None:
                return None
            return cls.of_architecture(
                record.architecture,
                image_mean=record.image_mean,
                color_switch=record.color_switch,
                class_names=record.class_names,
            )
        _check_backbone(path, values)
        lists = {name: tuple(value) for name, value in values[_BACKBONE].items() if isinstance(value, list)}
        return cls(**{**values[_BACKBONE], **lists})

    @classmethod
    def of_checkpoint(cls, prefix: str) -> BackboneRecord | None:
        """Reads the record next to a checkpoint; None if there is none or it describes another checkpoint.

        Raises:
            RecordError: as for `ModelRecord.read`.
        """
        record = cls.read(os.path.dirname(prefix))
        is_other = record is not None and record.checkpoint not in (None, os.path.basename(prefix))
        return None if is_other else record


def _unrecorded(config: TrainConfig) -> BackboneRecord:
    """Returns the properties of a checkpoint without a record, or of random weights, with the flags' channels."""
    scale = config.filter_scale or Architecture.filter_scale
    return BackboneRecord(
        config.network,
        filter_scale=scale,
        head_depth=int(Architecture.head_depth * scale),
        auxiliary_depth=int(Architecture.auxiliary_depth * scale),
    )


def _classes_of(dataset: Dataset) -> dict[str, Any]:
    return {
        "database": dataset.name,
        "class_names": dataset.class_names,
        "palette": dataset.palette,
        "label_map": dataset.label_map,
        "ignored_colors": dataset.ignored_colors,
    }


def _check_record(path: str, values: Mapping[str, Any]) -> None:
    if _BACKBONE in values:
        raise RecordError(
            f"{path} describes a ResNet without a PSPNet's heads: train from it with --fine_tune_filename"
        )
    check_fields(path, values, ModelRecord, {"architecture": record_rules.OBJECT})
    architecture = values["architecture"]
    check_fields(path, architecture, Architecture, record_rules.ARCHITECTURE_RULES, "architecture.")
    check_fields(path, values, ModelRecord, record_rules.model_rules(architecture["num_classes"]))
    check_fields(path, values.get("origin", {}), RunOrigin, record_rules.ORIGIN_RULES, "origin.")
    record_rules.check_end(path, architecture, "architecture.")
    record_rules.check_filters(path, architecture, "architecture.")
    record_rules.check_flags(path, values.get("flags", {}), TrainConfig)
    record_rules.check_channels(path, architecture, values.get("flags", {}))


def _check_backbone(path: str, values: Mapping[str, Any]) -> None:
    if list(values) != [_BACKBONE] or not isinstance(values[_BACKBONE], dict):
        raise RecordError(
            f"{path}: not the configuration of a checkpoint (expected only '{_BACKBONE}', a JSON object): {RESTORE}"
        )
    check_fields(path, values[_BACKBONE], BackboneRecord, record_rules.BACKBONE_RULES, f"{_BACKBONE}.")
    record_rules.check_end(path, values[_BACKBONE], f"{_BACKBONE}.")
    record_rules.check_filters(path, values[_BACKBONE], f"{_BACKBONE}.")
