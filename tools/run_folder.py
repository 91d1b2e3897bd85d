"""Where a run keeps its files, and the record that makes a checkpoint readable without its command line.

log/<database>/<model id>/config.json           the flags and the model
log/<database>/<model id>/training.csv          one line per summary
log/<database>/<model id>/events.out.tfevents.* TensorBoard
log/<database>/<model id>/scores-<step>.*       validation
log/<database>/<model id>/snapshot/model.ckpt-* snapshots, with the same config.json beside them
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from database.datasets import Dataset
from model.pspnet_mg import Architecture
from tools.flags import TrainConfig

logger = logging.getLogger(__name__)

CONFIG_NAME = "config.json"
SNAPSHOT_NAME = "model.ckpt"

_ID_MODES = {0: "L2", 1: "L2-SP", 2: "L2-SP-mode2", 3: "L2-SP-mode3"}
_ID_FLAGS = ("lrn_rate", "consider_dilated", "random_rotate", "random_scale")


class RecordError(ValueError):
    """A configuration beside a checkpoint that cannot be read."""


def model_id(config: TrainConfig) -> str:
    """The name of a run, as the reference composes it.

    E.g. `resnet_v1_50-816-train-L2-SP-wd_alpha0.0001-wd_beta0.001-batch_size16-lrn_rate0.01-consider_dilated1-
    random_rotate0-random_scale1`.
    """
    parts = [
        config.network,
        str(config.train_image_size),
        ",".join(config.subsets_for_training),
        _ID_MODES[config.weight_decay_mode],
        f"wd_alpha{config.weight_decay_rate}",
        f"wd_beta{config.weight_decay_rate2}",
        f"batch_size{config.total_batch_size}",
    ]
    for name in _ID_FLAGS:
        value = getattr(config, name)
        parts.append(f"{name}{int(value) if isinstance(value, bool) else value}")
    return "-".join(parts)


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run."""

    path: str

    @property
    def snapshots(self) -> str:
        return os.path.join(self.path, "snapshot")

    @property
    def snapshot_prefix(self) -> str:
        return os.path.join(self.snapshots, SNAPSHOT_NAME)

    @property
    def csv(self) -> str:
        return os.path.join(self.path, "training.csv")

    def snapshot(self, step: int) -> str:
        """Prefix of the snapshot of a step."""
        return f"{self.snapshot_prefix}-{step}"

    def set_aside_earlier_run(self) -> None:
        """Moves what an earlier run with the same id left to `<id>.earlier-<n>`, so that nothing is overwritten."""
        if not os.path.isdir(self.path) or not os.listdir(self.path):
            return
        number = 1
        while os.path.exists(f"{self.path}.earlier-{number}"):
            number += 1
        os.rename(self.path, f"{self.path}.earlier-{number}")
        logger.info("an earlier run of this id was set aside: %s.earlier-%d", self.path, number)


def run_folder(config: TrainConfig) -> RunFolder:
    """The folder of the run that these flags describe."""
    return RunFolder(os.path.join(config.log_dir, config.database, model_id(config)))


@dataclass(frozen=True)
class ModelRecord:
    """What must be known of a training run to use its checkpoints.

    Attributes:
        architecture: the network.
        database: name of the dataset.
        class_names, palette, image_mean, label_map: of the dataset, see `database.datasets.Dataset`.
        color_switch: whether the network was fed BGR.
        test_image_size: height and width of windows, pixels.
        flags: the training run's flags, for what else is asked of them; empty for a foreign checkpoint.
    """

    architecture: Architecture
    database: str
    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    image_mean: tuple[float, float, float]
    label_map: Mapping[int, int]
    color_switch: bool
    test_image_size: int
    flags: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of_run(cls, config: TrainConfig, dataset: Dataset) -> ModelRecord:
        """The record of a run about to start."""
        architecture = Architecture(
            config.network,
            dataset.num_classes,
            output_stride=config.output_stride,
            stride_convention=config.stride_convention,
            resize_grid=config.resize_grid,
            three_convs_beginning=config.three_convs_beginning,
        )
        return cls(
            architecture,
            dataset.name,
            dataset.class_names,
            dataset.palette,
            dataset.image_mean,
            dataset.label_map,
            config.color_switch,
            config.test_image_size,
            dataclasses.asdict(config),
        )

    def write(self, folder: str) -> None:
        """Writes `config.json` into a folder, whole or not at all."""
        values = dataclasses.asdict(self)
        values["label_map"] = {str(file_id): train_id for file_id, train_id in self.label_map.items()}
        path = os.path.join(folder, CONFIG_NAME)
        os.makedirs(folder, exist_ok=True)
        with open(path + ".part", "w", encoding="utf-8") as file:
            json.dump(values, file, indent=2)
        os.replace(path + ".part", path)

    @classmethod
    def read(cls, folder: str) -> ModelRecord | None:
        """The record in a folder, None where there is none.

        Raises:
            RecordError: it is no such record, or has keys this version does not know.
        """
        path = os.path.join(folder, CONFIG_NAME)
        if not os.path.exists(path):
            return None
        try:
            with open(path, encoding="utf-8") as file:
                values = json.load(file)
            architecture = Architecture(**values.pop("architecture"))
            return cls(
                architecture=architecture,
                class_names=tuple(values.pop("class_names")),
                palette=tuple(tuple(color) for color in values.pop("palette")),
                image_mean=tuple(values.pop("image_mean")),
                label_map={int(file_id): train_id for file_id, train_id in values.pop("label_map").items()},
                **values,
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise RecordError(f"{path}: not the configuration of a checkpoint ({reason})") from error
