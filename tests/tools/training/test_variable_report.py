"""The lists of the variables of a network."""

from __future__ import annotations

import pytest
import tensorflow.compat.v1 as tf

from model.regularizers import weight_decay
from tools.training.variable_report import decay_lines, write_variables


@pytest.fixture
def network():
    """(all variables, those that are trained, how they are decayed): two layers of the backbone and a new one."""
    with tf.Graph().as_default():
        shapes = {
            "net/conv1/weights": [3, 3, 4, 8], "net/conv1/BatchNorm/gamma": [8], "net/conv2/weights": [1, 1, 8, 8],
            "new/weights": [1, 1, 8, 2], "new/biases": [2],
        }  # fmt: skip
        trained = [tf.get_variable(name, shape, use_resource=True) for name, shape in shapes.items()]
        step = tf.get_variable("global_step", [], tf.int64, trainable=False, use_resource=True)
        starts = {variable.op.name: tf.zeros(variable.shape) for variable in trained}
        decay = weight_decay(
            trained, mode=1, rate=1e-4, new_rate=1e-3, is_new=lambda name: name.startswith("new"),
            starting_points=starts,
        )  # fmt: skip
    return [*trained, step], trained, decay.variables


def test_summary_has_a_line_for_each_group(network):
    _, trained, decayed = network
    assert decay_lines(trained, decayed) == [
        "L2-SP, rate 0.0001: 2 variables, 352 parameters",
        "L2, rate 0.001: 1 variables, 16 parameters",
        "none: 2 variables, 10 parameters",
    ]


def test_list_has_every_variable(network, tmp_path):
    variables, _, decayed = network
    write_variables(str(tmp_path), variables, decayed)
    lines = (tmp_path / "variables.txt").read_text().splitlines()
    assert [line.split() for line in lines] == [
        ["variable", "shape", "weight", "decay"],
        ["net/conv1/weights", "3x3x4x8", "L2-SP", "0.0001"],
        ["net/conv1/BatchNorm/gamma", "8", "none"],
        ["net/conv2/weights", "1x1x8x8", "L2-SP", "0.0001"],
        ["new/weights", "1x1x8x2", "L2", "0.001"],
        ["new/biases", "2", "none"],
        ["global_step", "scalar", "none"],
    ]
    assert {line.index(" none") for line in lines if line.endswith(" none")} == {lines[0].index(" weight")}
