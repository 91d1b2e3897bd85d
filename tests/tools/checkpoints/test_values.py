"""Tensors that no network can compute with are refused where they are read."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools.checkpoints.index_files import table, varint
from tests.tools.toy_runs import tensors_in, train_with, write_checkpoint
from tools.checkpoints.initialize import PretrainedInitializer
from tools.checkpoints.values import open_reader, require_usable
from tools.errors import CheckpointError
from tools.runs.folder import run_folder

WEIGHTS, VARIANCE = "net/conv/weights", "net/conv/BatchNorm/moving_variance"


def sound() -> dict[str, np.ndarray]:
    return {WEIGHTS: np.arange(12, dtype=np.float32).reshape(3, 4), VARIANCE: np.array([0, 1, 2, 3], np.float32)}


def with_value(name: str, value: float) -> dict[str, np.ndarray]:
    values = sound()
    values[name].flat[2] = value
    return values


BAD = [
    (with_value(WEIGHTS, np.nan), WEIGHTS, r"1 bad value of 12 \(the first is nan at \[0, 2\]\), expected finite"),
    (with_value(WEIGHTS, -np.inf), WEIGHTS, r"the first is -inf at \[0, 2\]"),
    (with_value(VARIANCE, np.inf), VARIANCE, r"the first is inf at \[2\]"),
    (with_value(VARIANCE, -0.5), VARIANCE, r"the first is -0.5 at \[2\]\), expected variances of 0 or more"),
    (
        {**sound(), WEIGHTS: np.full((3, 4), 1e300)},
        WEIGHTS,
        r"12 bad values of 12 \(the first is 1e\+300 at \[0, 0\]\)",
    ),
    ({**sound(), WEIGHTS: np.ones((3, 4), np.int32)}, WEIGHTS, "is of dtype int32, expected floating point"),
    ({**sound(), WEIGHTS: np.ones((3, 4), np.complex64)}, WEIGHTS, "is of dtype complex64, expected floating point"),
    ({**sound(), VARIANCE: np.ones(4, bool)}, VARIANCE, "is of dtype bool, expected floating point"),
]


@pytest.mark.parametrize(("values", "name", "words"), BAD, ids=lambda value: value if isinstance(value, str) else "")
def test_unusable_tensors(tmp_path, values, name, words):
    prefix = write_checkpoint(str(tmp_path / "model.ckpt-1"), values)
    with open_reader(prefix, "try this") as reader:
        with pytest.raises(CheckpointError, match=rf"^{prefix}: '{name}' (has|is) .*: try this$") as caught:
            reader.array(name)
        for other in values.keys() - {name}:
            np.testing.assert_array_equal(reader.array(other), values[other])
    with pytest.raises(CheckpointError, match=words):
        raise caught.value
    with tf.Graph().as_default():
        variables = [tf.get_variable(each, sound()[each].shape, use_resource=True) for each in values]
        with pytest.raises(CheckpointError, match=words):
            PretrainedInitializer(prefix, variables, {})
        with pytest.raises(CheckpointError, match=words):
            require_usable(prefix, variables, "try this")


def test_only_what_is_taken_counts(tmp_path):
    values = {**with_value(WEIGHTS, np.nan), "global_step": np.int64(7), "net/conv/biases": np.ones(4, np.float32)}
    prefix = write_checkpoint(str(tmp_path / "model.ckpt-1"), values)
    with tf.Graph().as_default():
        biases = tf.get_variable("net/conv/biases", [4], use_resource=True)
        step = tf.get_variable("global_step", [], tf.int64, use_resource=True)
        require_usable(prefix, [biases, step], "advice")
        PretrainedInitializer(prefix, [biases], {})
        with pytest.raises(CheckpointError, match="weights"):
            PretrainedInitializer(prefix, [biases], {WEIGHTS: tf.get_variable("start", [3, 4], use_resource=True)})


@pytest.mark.parametrize("dtype", [np.float16, np.float64, tf.bfloat16.as_numpy_dtype])
def test_other_floating_point_is_taken(tmp_path, dtype):
    values = {name: array.astype(dtype) for name, array in sound().items()}
    prefix = write_checkpoint(str(tmp_path / "model.ckpt-1"), values)
    with tf.Graph().as_default(), tf.Session() as session:
        variables = [tf.get_variable(name, array.shape, use_resource=True) for name, array in sound().items()]
        PretrainedInitializer(prefix, variables, {}).run(session, resumed=False)
        for variable, expected in zip(variables, sound().values(), strict=True):
            np.testing.assert_array_equal(session.run(variable), expected)


def test_a_variance_that_rounding_took_below_zero_is_taken(tmp_path):
    prefix = write_checkpoint(str(tmp_path / "model.ckpt-1"), with_value(VARIANCE, -1e-9))
    with open_reader(prefix, "advice") as reader:
        assert reader.array(VARIANCE)[2] == np.float32(-1e-9)


@pytest.mark.parametrize("number", [0, 1000])
def test_a_type_that_tensorflow_does_not_know_in_the_old_format(tmp_path, number):
    """A table with the message SavedTensorSlices: of a tensor `a` without axes in one piece."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2]) + varint(len(content)) + content

    tensor = field(1, b"a") + field(2, b"") + b"\x18" + varint(number) + field(4, b"")
    (tmp_path / "old.ckpt").write_bytes(table({b"": field(1, field(1, tensor) + field(2, b"\x08\x01"))}))
    with pytest.raises(CheckpointError, match=f"old.ckpt: the checkpoint is damaged .*{number} "):
        open_reader(str(tmp_path / "old.ckpt"), "advice").__enter__()


@settings(deadline=None, max_examples=25)
@given(array=st.lists(st.floats(width=32), min_size=1, max_size=5).map(lambda row: np.array(row, np.float32)))
def test_any_floats(tmp_path_factory, array):
    prefix = write_checkpoint(str(tmp_path_factory.mktemp("any") / "model.ckpt-1"), {WEIGHTS: array})
    bad = [index for index, value in enumerate(array.tolist()) if value in (np.inf, -np.inf) or value != value]
    with open_reader(prefix, "advice") as reader:
        if bad:
            with pytest.raises(CheckpointError, match=rf"{len(bad)} bad values? of {len(array)} .* at \[{bad[0]}\]"):
                reader.array(WEIGHTS)
        else:
            np.testing.assert_array_equal(reader.array(WEIGHTS), array)


def test_what_is_no_checkpoint_is_not_called_damaged(tmp_path):
    os.mkfifo(tmp_path / "pipe.index")
    (tmp_path / "notes.index").write_bytes(b"not a checkpoint")
    for name, words in (
        ("pipe", "a pipe or a device, expected a file"),
        ("notes", "not a checkpoint that can be read"),
    ):
        with pytest.raises(CheckpointError, match=words), open_reader(str(tmp_path / name), "advice"):
            pytest.fail("opened")


@pytest.mark.slow
def test_a_run_does_not_go_on_from_momentum_that_is_not_finite(tiny_run, narrow_resnet, log_dir):
    """Nothing is written then."""
    config = dataclasses.replace(tiny_run.config, log_dir=log_dir, resume_step=2)
    folder = run_folder(config)
    values = tensors_in(tiny_run.folder.snapshot(2))
    name = next(name for name in sorted(values) if name.endswith("/weights/Momentum"))
    values[name].flat[0] = np.nan
    write_checkpoint(folder.snapshot(2), values)
    before = sorted(os.listdir(folder.snapshots))
    with pytest.raises(CheckpointError, match=f"^{folder.snapshot(2)}: '{name}' .* nan .*--resume_step$"):
        train_with(config)
    assert sorted(os.listdir(folder.snapshots)) == before
