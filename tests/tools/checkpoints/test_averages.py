"""Averages of the weights are read where a checkpoint has them, by everything that predicts or starts from it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tools.toy_runs import write_checkpoint
from tools.checkpoints.averages import has_averages, open_weights, require_averages
from tools.checkpoints.reading import variable_shapes
from tools.errors import FlagError

VALUES = {"net/a": np.array([1.0, 2.0], np.float32), "net/b": np.array([3.0], np.float32)}
AVERAGES = {"net/a/average": np.array([5.0, 6.0], np.float32)}


@pytest.mark.parametrize(("use_averages", "expected"), [(True, [5.0, 6.0]), (False, [1.0, 2.0])])
def test_tensors_are_read_under_the_names_of_the_weights(tmp_path, use_averages, expected):
    prefix = write_checkpoint(str(tmp_path / "c"), VALUES | AVERAGES)
    assert has_averages(variable_shapes(prefix))
    require_averages(prefix)
    with open_weights(prefix, "", use_averages=use_averages) as reader:
        np.testing.assert_array_equal(reader.array("net/a"), expected)
        np.testing.assert_array_equal(reader.array("net/b"), [3.0])  # it has no average


def test_a_checkpoint_without_averages(tmp_path):
    prefix = write_checkpoint(str(tmp_path / "c"), VALUES)
    assert not has_averages(variable_shapes(prefix))
    with pytest.raises(FlagError, match="--use_ema 0 .* --ema_decay") as caught:
        require_averages(prefix)
    assert prefix in str(caught.value)
    with open_weights(prefix, "", use_averages=True) as reader:
        np.testing.assert_array_equal(reader.array("net/a"), [1.0, 2.0])
