"""Training runs and checkpoints small enough for tests."""

from __future__ import annotations

import csv
import os
import runpy
from collections.abc import Mapping

import numpy as np
import tensorflow.compat.v1 as tf

from database.datasets import get_dataset
from model import choices
from model.architecture import Architecture
from model.pspnet_mg import forward_graph
from tests.scripts.starting import ROOT
from tools.flags.train import TrainConfig
from tools.runs.folder import RunFolder, run_folder
from tools.runs.record import ModelRecord
from tools.training.run import Training
from tools.training.samples import RunData, training_samples

# The loop of train.py, for one attempt; scripts are not imported.
train = runpy.run_path(str(ROOT / "train.py"))["train"]

SIZE = 32
NETWORK = "resnet_v1_18"

_FIRST_VARIANCES = ("/conv1/BatchNorm/moving_variance", "/conv1_1/BatchNorm/moving_variance")

# Takes the place of ResNet-18 where a test needs a network, but not that one.
NARROW = choices.ResNet((1, 1, 1, 1), (16, 32, 64, 128), bottleneck=False)


def tiny_config(data_dir: str, log_dir: str, **changes) -> TrainConfig:
    """Flags of a run on generated scenes: 2 steps of 2 crops of 32x32, from random weights."""
    values = {
        "database": "Toy",
        "data_dir": str(data_dir),
        "log_dir": str(log_dir),
        "network": NETWORK,
        "batch_size": 2,
        "train_image_size": SIZE,
        "test_image_size": SIZE,
        "train_max_iter": 2,
        "snapshot": 1,
        "show_period": 1,
        "weight_decay_mode": 0,
        "fine_tune_filename": "none",
    }
    return TrainConfig(**{**values, **changes})


def smallest_config(data_dir: str, log_dir: str, **changes) -> TrainConfig:
    """As `tiny_config`, with the decoder that is built fastest and no auxiliary head."""
    return tiny_config(data_dir, log_dir, **{"decoder": "c1", "has_aux_loss": False, **changes})


def train_run(config: TrainConfig, data: RunData, folder: RunFolder) -> str | None:
    """Trains as train.py does, and returns the prefix of the last snapshot."""
    training = Training(config, data, folder)
    for attempt in training.attempts():
        train(attempt)
    return training.last_snapshot


def train_with(config: TrainConfig) -> RunFolder:
    """Trains on the generated scenes and returns the run's folder."""
    dataset, folder = get_dataset("Toy"), run_folder(config)
    samples = training_samples(config, dataset, str(config.data_dir))
    train_run(config, RunData.of(dataset, str(config.data_dir), samples), folder)
    return folder


def csv_rows(folder: RunFolder) -> list[dict[str, float]]:
    """The rows of a run's training.csv, as numbers."""
    with open(folder.csv, newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def tensors_in(prefix: str) -> dict[str, np.ndarray]:
    """Every tensor of a checkpoint by name."""
    reader = tf.train.load_checkpoint(prefix)
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def write_checkpoint(prefix: str, values: Mapping[str, np.ndarray], version: int = tf.train.SaverDef.V2) -> str:
    """Writes arrays by name with a plain Saver and returns the prefix."""
    os.makedirs(os.path.dirname(prefix), exist_ok=True)
    with tf.Graph().as_default(), tf.Session() as session:
        placeholders = {name: tf.placeholder(value.dtype, value.shape) for name, value in values.items()}
        variables = {
            name: tf.get_variable(f"v{i}", initializer=x, use_resource=True)
            for i, (name, x) in enumerate(placeholders.items())
        }
        session.run(tf.global_variables_initializer(), {placeholders[name]: values[name] for name in values})
        tf.train.Saver(variables, write_version=version).save(session, prefix, write_meta_graph=False)
    return prefix


def resnet_values(network: str = NETWORK, size: choices.ResNet = NARROW, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights of a classification ResNet of basic units, by slim's names, its classifier included."""
    rng = np.random.default_rng(seed)
    values: dict[str, np.ndarray] = {}

    def layer(scope: str, *shape: int) -> None:
        values[f"{scope}/weights"] = rng.normal(0, (2 / np.prod(shape[:3])) ** 0.5, shape).astype(np.float32)
        for name, mean in (("gamma", 1), ("beta", 0), ("moving_mean", 0), ("moving_variance", 1)):
            noise = rng.uniform(0, 0.5, shape[-1])
            values[f"{scope}/BatchNorm/{name}"] = (mean + noise).astype(np.float32)

    layer(f"{network}/conv1", 7, 7, 3, 64)
    channels = 64
    for block, (units, depth) in enumerate(zip(size.units, size.depths, strict=True), start=1):
        for unit in range(1, units + 1):
            scope = f"{network}/block{block}/unit_{unit}/basic_v1"
            if channels != depth:
                layer(f"{scope}/shortcut", 1, 1, channels, depth)
            layer(f"{scope}/conv1", 3, 3, channels, depth)
            layer(f"{scope}/conv2", 3, 3, depth, depth)
            channels = depth
    values[f"{network}/logits/weights"] = rng.normal(0, 0.01, (1, 1, channels, 1000)).astype(np.float32)
    values[f"{network}/logits/biases"] = np.zeros(1000, np.float32)
    return values


def write_random_pspnet(prefix: str, architecture: Architecture, seed: int = 0) -> str:
    """Writes a network of random weights as a checkpoint and returns the prefix.

    The running statistics are random as well, and such that the probabilities of the classes are of one magnitude.
    """
    rng = np.random.default_rng(seed)
    os.makedirs(os.path.dirname(prefix), exist_ok=True)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(seed)
        forward_graph([tf.zeros([1, SIZE, SIZE, 3])], architecture)
        changes = []
        for variable in tf.global_variables():
            name, shape = variable.op.name, variable.shape.as_list()
            if name.endswith(("gamma", "moving_variance")):
                # The first layer sees pixels, the others what has been normalized.
                is_first = name.endswith(_FIRST_VARIANCES) and "block" not in name
                scale = 1e4 if is_first else 1.0
                changes.append(variable.assign(rng.uniform(0.5 * scale, 1.5 * scale, shape)))
            elif name.endswith(("beta", "moving_mean")):
                changes.append(variable.assign(rng.uniform(-0.1, 0.1, shape)))
            elif "/logits/" in name:
                changes.append(variable.assign(rng.normal(0, 0.01, shape)))
        session.run(tf.global_variables_initializer())
        session.run(changes)
        tf.train.Saver().save(session, prefix, write_meta_graph=False)
    return prefix


def toy_record(config: TrainConfig) -> ModelRecord:
    """The record of a run on the generated scenes."""
    return ModelRecord.of_run(config, get_dataset("Toy"))
