"""A PSPNet of random weights for 3 classes, small enough for tests of predictions; see the fixture `random_pspnet`."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from database.datasets import custom_dataset
from model.architecture import Architecture
from tests.tools.toy_runs import NETWORK, smallest_config, toy_record
from tools.runs.record import ModelRecord

CLASSES = 3
ARCHITECTURE = Architecture(NETWORK, CLASSES)
MEAN = (10.0, 20.0, 30.0)


def random_pspnet_record(**changes) -> ModelRecord:
    """Returns the record of the network, for windows of 32x32, with changed fields."""
    record = toy_record(smallest_config("toy", "log"))
    return dataclasses.replace(record, architecture=ARCHITECTURE, image_mean=MEAN, **changes)


def copy_with_record(prefix: str, folder: Path, **changes) -> str:
    """Links the checkpoint into a new folder, with a record of changed fields, and returns its prefix there."""
    folder.mkdir()
    for name in os.listdir(os.path.dirname(prefix)):
        os.link(os.path.join(os.path.dirname(prefix), name), folder / name)
    random_pspnet_record(**changes).for_dataset(custom_dataset(CLASSES)).write(str(folder))
    return str(folder / os.path.basename(prefix))


def assert_labels_are_most_probable(labels: np.ndarray, probabilities: np.ndarray) -> None:
    """Compares labels with the argmax, except for pixels whose two best classes are equal in float32."""
    best = np.sort(probabilities, axis=-1)
    clear = best[..., -1] - best[..., -2] > 1e-5
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(labels[clear], probabilities.argmax(axis=-1)[clear])
    assert len(np.unique(labels)) > 1
