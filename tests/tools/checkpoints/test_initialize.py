"""Initializing backbone, head and w0 of a graph from a checkpoint."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.tools.checkpoints.checkpoint_files import flip_a_byte, graph_with, truncate
from tests.tools.toy_runs import NETWORK, resnet_values, write_checkpoint
from tools.checkpoints.initialize import PretrainedInitializer, StartingPoints
from tools.errors import CheckpointError


class ResNetGraph:
    """A backbone layer, its w0, and a new layer, as in a graph about to be initialized."""

    WEIGHTS = f"{NETWORK}/conv1/weights"
    MEAN = f"{NETWORK}/conv1/BatchNorm/moving_mean"
    LOGITS = f"{NETWORK}/logits/weights"

    def __init__(self, prefix):
        self.weights, self.mean = graph_with({self.WEIGHTS: [7, 7, 3, 64], self.MEAN: [64]})
        [self.logits] = graph_with({self.LOGITS: [1, 1, 512, 3]})
        self.starts = StartingPoints()
        self.start = self.starts([self.weights])[self.WEIGHTS]
        self.initializer = PretrainedInitializer(prefix, [self.weights, self.mean], self.starts.variables)

    def run(self, session, resumed):
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        self.initializer.run(session, resumed=resumed)
        return session.run([self.weights, self.mean, self.logits, self.start])


@pytest.fixture(scope="module")
def resnet_checkpoint(tmp_path_factory):
    """(prefix, values) of a ResNet for classification."""
    values = resnet_values()
    return write_checkpoint(str(tmp_path_factory.mktemp("resnet") / "resnet_v1_18.ckpt"), values), values


@pytest.mark.parametrize("resumed", [False, True])
def test_resnet_fills_backbone_and_starting_points(resnet_checkpoint, resumed):
    """Of a resumed run only the starting points: its own snapshot has the rest."""
    prefix, values = resnet_checkpoint
    with tf.Graph().as_default(), tf.Session() as session:
        graph = ResNetGraph(prefix)
        weights, mean, logits, start = graph.run(session, resumed)
    np.testing.assert_array_equal(weights, 0 if resumed else values[graph.WEIGHTS])
    np.testing.assert_array_equal(mean, 0 if resumed else values[graph.MEAN])
    np.testing.assert_array_equal(start, values[graph.WEIGHTS])
    np.testing.assert_array_equal(logits, 0)


@pytest.mark.parametrize(("found", "wanted", "switch"), [("conv1", "conv1_1", 0), ("conv1_1", "conv1", 1)])
def test_another_number_of_layers_at_the_beginning_is_named(tmp_path, found, wanted, switch):
    prefix = write_checkpoint(
        str(tmp_path / "a.ckpt"), {f"{NETWORK}/{found}/weights": np.zeros([3, 3, 3, 64], np.float32)}
    )
    words = f"a.ckpt: '{NETWORK}/{wanted}/weights' .* begins with .*: give --three_convs_beginning {switch}"
    with tf.Graph().as_default(), pytest.raises(CheckpointError, match=words):
        PretrainedInitializer(prefix, graph_with({f"{NETWORK}/{wanted}/weights": [3, 3, 3, 64]}), {})


def test_head_of_an_earlier_stage_is_taken_where_it_fits(tmp_path, caplog):
    values = {"net/conv1": np.full(2, 3.0), "net/psp": np.full([2, 4], 5.0), "net/logits": np.full([4, 19], 7.0)}
    prefix = write_checkpoint(str(tmp_path / "stage.ckpt"), {k: v.astype(np.float32) for k, v in values.items()})
    with tf.Graph().as_default(), tf.Session() as session, caplog.at_level("INFO"):
        backbone, psp, logits, aux = graph_with(
            {"net/conv1": [2], "net/psp": [2, 4], "net/logits": [4, 11], "net/aux": [3]}
        )
        initializer = PretrainedInitializer(prefix, [backbone], {}, [psp, logits, aux])
        session.run(tf.global_variables_initializer())
        before = session.run([logits, aux])
        initializer.run(session, resumed=False)
        np.testing.assert_array_equal(session.run(psp), values["net/psp"])
        np.testing.assert_array_equal(session.run(backbone), values["net/conv1"])
        for untouched, value in zip((logits, aux), before, strict=True):
            np.testing.assert_array_equal(session.run(untouched), value)
    assert "1 variables of the backbone, 1 of the head" in caplog.text
    assert "taken from the checkpoint besides the backbone: 1 of 3 layers of the head" in caplog.text
    assert "left random, missing in this shape: net/aux, net/logits" in caplog.text


def test_without_starting_points(resnet_checkpoint):
    prefix, values = resnet_checkpoint
    with tf.Graph().as_default(), tf.Session() as session:
        [mean] = graph_with({ResNetGraph.MEAN: [64]})
        initializer = PretrainedInitializer(prefix, [mean], {})
        session.run(tf.global_variables_initializer())
        initializer.run(session, resumed=True)
        np.testing.assert_array_equal(session.run(mean), 0)
        initializer.run(session, resumed=False)
        np.testing.assert_array_equal(session.run(mean), values[ResNetGraph.MEAN])


def test_starting_points_are_neither_trained_nor_saved():
    with tf.Graph().as_default():
        weights = graph_with({"net/a/weights": [2], "net/b/weights": [3]})
        starts = StartingPoints()
        assert set(starts(weights)) == {"net/a/weights", "net/b/weights"}
        assert set(tf.trainable_variables()) == set(tf.global_variables()) == set(weights)
        assert {v.op.name for v in tf.local_variables()} == {"net/a/weights/start", "net/b/weights/start"}


def test_resnet_of_another_depth(tmp_path):
    prefix = write_checkpoint(str(tmp_path / "r.ckpt"), {"resnet_v1_50/conv1/weights": np.zeros(3, np.float32)})
    words = re.escape(f"'{ResNetGraph.WEIGHTS}'") + r".*it holds resnet_v1_50.*--network.*--new_layer_names"
    with tf.Graph().as_default(), pytest.raises(CheckpointError, match=words):
        ResNetGraph(prefix)


@pytest.mark.parametrize("damage", [truncate, flip_a_byte])
def test_damaged_resnet_raises_one_line(tmp_path, damage):
    values = {
        ResNetGraph.WEIGHTS: np.zeros([7, 7, 3, 64], np.float32),
        ResNetGraph.MEAN: np.ones(64, np.float32),
    }
    prefix = write_checkpoint(str(tmp_path / "r.ckpt"), values)
    damage(prefix + ".data-00000-of-00001")
    with tf.Graph().as_default(), pytest.raises(CheckpointError, match="r.ckpt: .*damaged") as caught:
        ResNetGraph(prefix)
    assert "\n" not in str(caught.value)
