"""Checkpoints, records and files of flags that the tests of the selection share."""

from __future__ import annotations

import dataclasses
import os

import numpy as np

from database.datasets import custom_dataset, find_samples
from tests.tools.toy_runs import tiny_config, toy_record, write_checkpoint
from tools.flags.train import TrainConfig
from tools.runs.record import ModelRecord


def write_foreign(folder, network="resnet_v1_50", num_classes=19, three_convs=False):
    """A checkpoint with the names by which a PSPNet is recognized; the shapes do not matter, but for the classes."""
    names = [f"{network}/psp/pool1/weights", f"{network}/{'conv1_1' if three_convs else 'conv1'}/weights"]
    values = {name: np.zeros(1, np.float32) for name in names}
    values[f"{network}/logits/weights"] = np.zeros([1, 1, 2, num_classes], np.float32)
    return write_checkpoint(os.path.join(str(folder), "model.ckpt-30000"), values)


def record_with(folder, **changes):
    """The record of a run on the generated scenes, written to a folder; returns a prefix there."""
    record = dataclasses.replace(toy_record(tiny_config("toy", "log")), **changes)
    record.write(str(folder))
    return os.path.join(str(folder), "model.ckpt-3")


def own_record(**changes):
    """The record of a run on a user's own data."""
    values = {"num_classes": 3, "ignore_label": 9, "val_list": "val.txt", "data_dir": "own", **changes}
    config = TrainConfig(batch_size=2, database="custom", **values)
    dataset = custom_dataset(config.num_classes, ignore_label=config.ignore_label, val_list=config.val_list)
    return ModelRecord.of_run(config, dataset)


def val_names(dataset, folder):
    return [sample.name for sample in find_samples(dataset, folder, ["val"])]


def write_palette(folder, colors):
    """A palette file with names; returns its path."""
    path = os.path.join(str(folder), "colours.txt")
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{red} {green} {blue} thing {red}\n" for red, green, blue in colors)
    return path


def write_label_map(folder, label_map):
    """A label map file; returns its path."""
    path = os.path.join(str(folder), "ids.txt")
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{file_id} {train_id}\n" for file_id, train_id in label_map.items())
    return path
