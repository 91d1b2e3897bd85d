"""Reading shapes, checksums and values of checkpoints, and what is said of files that are none."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.tools.checkpoints.checkpoint_files import VALUES, flip_a_byte, graph_with, truncate
from tools.checkpoints import reading
from tools.checkpoints.reading import checkpoint_checksum, restore, variable_shapes
from tools.errors import CheckpointError


def test_shapes(written):
    assert variable_shapes(written) == {"resnet_v1_50/a": [2, 3], "resnet_v1_50/b": [4]}


@pytest.mark.parametrize("name", ["weights.npy", "weights.pth", "weights.safetensors"])
def test_weights_of_other_projects(tmp_path, name):
    (tmp_path / name).write_bytes(b"x" * 100)
    with pytest.raises(CheckpointError, match=f"{name}: this is no TensorFlow checkpoint"):
        variable_shapes(str(tmp_path / name))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x00" * 1000])
@pytest.mark.parametrize("ending", ["", ".index"])
def test_file_that_is_no_checkpoint(tmp_path, content, ending):
    path = tmp_path / ("notes" + ending)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="notes: not a checkpoint that can be read") as caught:
        variable_shapes(str(tmp_path / "notes"))
    assert "\n" not in str(caught.value)
    assert not re.search("DATA_LOSS|sstable|Unable|operator", str(caught.value))


def test_a_table_that_is_damaged_in_its_middle(own):
    path = own + ".index"
    content = bytearray(Path(path).read_bytes())
    content[len(content) // 3] ^= 0xFF
    Path(path).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"^{own}: not a checkpoint that can be read .its table is damaged"):
        variable_shapes(own)


def test_shapes_of_a_checkpoint_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere: there is no such checkpoint$"):
        variable_shapes(str(tmp_path / "nowhere"))


def test_a_table_that_may_not_be_read(written, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(reading, "kind_of", lambda path: None)
    monkeypatch.setattr(reading, "unknown_kind", refuse)
    with pytest.raises(CheckpointError, match=f"^{written}.index: the checkpoint cannot be read .*Permission denied"):
        variable_shapes(written)


def test_restore(written):
    with tf.Graph().as_default(), tf.Session() as session:
        variables = graph_with({name: value.shape for name, value in VALUES.items()})
        restore(session, written, tf.train.Saver(variables))
        for variable, value in zip(variables, VALUES.values(), strict=True):
            np.testing.assert_array_equal(session.run(variable), value)


@pytest.mark.parametrize("damage", [truncate, flip_a_byte, os.remove])
def test_damaged_data_raises_one_line(own, damage):
    damage(own + ".data-00000-of-00001")
    with tf.Graph().as_default(), tf.Session() as session:
        saver = tf.train.Saver(graph_with({name: value.shape for name, value in VALUES.items()}))
        with pytest.raises(CheckpointError, match=r"model.ckpt-7: the checkpoint is damaged \(.+\)") as caught:
            restore(session, own, saver)
    assert "\n" not in str(caught.value)


def test_damaged_index(own):
    truncate(own + ".index")
    with pytest.raises(CheckpointError, match="not a checkpoint that can be read"):
        variable_shapes(own)


def test_checksum_of_a_checkpoint_that_cannot_be_read(tmp_path):
    with pytest.raises(CheckpointError, match=f"^{tmp_path}: the checkpoint cannot be read "):
        checkpoint_checksum(str(tmp_path))
