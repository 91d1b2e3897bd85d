"""Every file of configs/ describes a network that is built for training."""

from __future__ import annotations

import dataclasses
import functools

import pytest
import tensorflow.compat.v1 as tf

from model.architecture import Architecture
from model.choices import NETWORKS
from model.training_graph import train_graph
from model.training_options import TrainingOptions
from tests.scripts.starting import ROOT
from tools.flags.chosen_dataset import dataset_of_flags
from tools.flags.parsing import parse_flags
from tools.flags.train import TrainConfig
from tools.runs.record import ModelRecord
from tools.training.class_weights import read_class_weights
from tools.training.settings import options_of, schedule_of

RECIPES = {path.relative_to(ROOT / "configs").as_posix(): path for path in sorted((ROOT / "configs").rglob("*.yaml"))}
SIDE = 33  # of the images: the smallest features have a few pixels
FEW_UNITS = 8  # of ResNet-18
# Numbers that do not change which operations a graph has.
NUMBERS = ("weight_decay_rate", "weight_decay_rate2", "bn_decay", "seed", "class_weights")


@functools.cache
def read(name: str) -> TrainConfig:
    """The flags of a recipe; paths in it are relative to the project's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return parse_flags(TrainConfig, ["--config", str(RECIPES[name])], "")


def described(name: str) -> tuple[Architecture, TrainingOptions]:
    config = read(name)
    dataset = dataset_of_flags(config.database, config)
    path = config.class_weights
    weights = None if path is None else read_class_weights(str(ROOT / path), dataset.num_classes)
    return ModelRecord.of_run(config, dataset).architecture, options_of(config, weights)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_describes_a_network_and_its_training(name):
    config, (architecture, options) = read(name), described(name)
    assert (architecture.network, options.optimizer) == (config.network, config.optimizer)
    assert architecture.num_classes == {"ADE": 150, "SBD": 21, "CamVid": 11}.get(config.database, 19)
    assert schedule_of(config).rate(config.warmup_steps) == config.lrn_rate or config.warmup_steps


@functools.cache
def build(architecture: Architecture, options: TrainingOptions) -> list[tf.TensorShape]:
    """Builds the training graph on two images; returns the shapes of the predictions."""
    with tf.Graph().as_default():
        images = [tf.placeholder(tf.float32, [2, SIDE, SIDE, architecture.input_channels])]
        labels = [tf.placeholder(tf.int32, [2, SIDE, SIDE])]
        graph = train_graph(images, labels, architecture, options, _starts)
        return [prediction.shape for prediction in graph.predictions]


def _starts(variables):
    return {variable.op.name: tf.zeros(variable.shape) for variable in variables}


def _marked(name: str):
    is_quick = sum(NETWORKS[read(name).network].units) <= FEW_UNITS
    return name if is_quick else pytest.param(name, marks=pytest.mark.slow)


@pytest.mark.parametrize("name", [_marked(name) for name in RECIPES])
def test_the_training_graph_of_a_recipe_is_built(name):
    architecture, options = described(name)
    usual = {field: getattr(TrainingOptions, field) for field in NUMBERS if field != "class_weights"}
    weights = None if options.class_weights is None else (1.0,) * 19
    architecture = dataclasses.replace(architecture, num_classes=19)
    shapes = build(architecture, dataclasses.replace(options, **usual, class_weights=weights))
    assert shapes == [[2, SIDE, SIDE]]
