"""Comparing the variables of a checkpoint with those of a graph."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.tools.checkpoints.checkpoint_files import graph_with
from tests.tools.toy_runs import write_checkpoint
from tools.checkpoints.compare import require_match
from tools.errors import CheckpointError


def test_match(written):
    with tf.Graph().as_default():
        require_match(written, graph_with({"resnet_v1_50/a": [2, 3]}), "advice")
        require_match(written, [], "advice")


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"resnet_v1_50/a": [2, 3], "resnet_v1_50/c": [1], "resnet_v1_50/d": [1]},
         r"'resnet_v1_50/c' and 1 more of 3 variables are missing \(it holds resnet_v1_50\): try this"),
        ({"resnet_v1_101/a": [2, 3]}, r"'resnet_v1_101/a' .* \(it holds resnet_v1_50\): try this"),
        ({"resnet_v1_50/a": [3, 2]}, r"'resnet_v1_50/a' has the shape \[2, 3\] and \[3, 2\] is needed: try this"),
    ],
)  # fmt: skip
def test_mismatch_names_what_is_missing_and_what_is_there(written, shapes, words):
    with tf.Graph().as_default(), pytest.raises(CheckpointError, match=words) as caught:
        require_match(written, graph_with(shapes), "try this")
    assert str(caught.value).startswith(written)


def test_checkpoint_of_something_else(tmp_path):
    prefix = write_checkpoint(str(tmp_path / "vgg.ckpt"), {"vgg_16/conv1/weights": np.zeros(1, np.float32)})
    with tf.Graph().as_default(), pytest.raises(CheckpointError, match="it holds no encoder"):
        require_match(prefix, graph_with({"resnet_v1_50/a": [1]}), "advice")
