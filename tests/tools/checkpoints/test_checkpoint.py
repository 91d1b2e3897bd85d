"""Finding checkpoints, comparing them with a graph, and filling a graph from a ResNet's."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.tools.toy_runs import NETWORK, resnet_values, write_checkpoint
from tools.checkpoints import checkpoint
from tools.checkpoints.pretrained import PretrainedInitializer, StartingPoints
from tools.errors import CheckpointError

VALUES = {
    "resnet_v1_50/a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "resnet_v1_50/b": np.ones(4, np.float32),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Prefix of a checkpoint of step 7; not to be changed."""
    return write_checkpoint(str(tmp_path_factory.mktemp("written") / "model.ckpt-7"), VALUES)


@pytest.fixture
def own(written, tmp_path):
    """Prefix of a copy that a test may change, in a run's folder."""
    folder = tmp_path / "run" / "snapshot"
    folder.mkdir(parents=True)
    for suffix in (".index", ".data-00000-of-00001"):
        shutil.copy(written + suffix, folder)
    return str(folder / "model.ckpt-7")


def copy_as(prefix, target, age):
    """Copies a checkpoint; `age` in seconds before now."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    for suffix in (".index", ".data-00000-of-00001"):
        shutil.copy(prefix + suffix, target + suffix)
        time = os.path.getmtime(prefix + suffix) - age
        os.utime(target + suffix, (time, time))
    return target


@pytest.mark.parametrize("ending", ["", ".index", ".data-00000-of-00001", ".meta"])
def test_resolve_by_any_of_its_files(own, ending):
    assert checkpoint.resolve_checkpoint(own + ending) == own


def test_resolve_by_folder(own):
    folder = os.path.dirname(own)
    assert checkpoint.resolve_checkpoint(folder) == own
    assert checkpoint.resolve_checkpoint(os.path.dirname(folder)) == own  # the run's


def test_folder_stands_for_its_newest(own):
    folder = os.path.dirname(own)
    copy_as(own, os.path.join(folder, "model.ckpt-900"), age=60)
    assert checkpoint.resolve_checkpoint(folder) == own
    later = copy_as(own, os.path.join(folder, "model.ckpt-12"), age=0)  # of the same second: the later step
    assert checkpoint.resolve_checkpoint(folder) == later


def test_folder_with_pattern_characters(own, tmp_path):
    target = copy_as(own, str(tmp_path / "run[1]*" / "model.ckpt-7"), age=0)
    assert checkpoint.resolve_checkpoint(os.path.dirname(target)) == target
    assert checkpoint.resolve_checkpoint(target) == target
    assert checkpoint.newest_snapshot(str(tmp_path / "run[1]*" / "..")).endswith("run/snapshot/model.ckpt-7")


def test_missing_checkpoint_and_the_hint(own, tmp_path):
    with pytest.raises(CheckpointError, match=r"model.ckpt-8: there is no such checkpoint; the newest .*ckpt-7$"):
        checkpoint.resolve_checkpoint(own[:-1] + "8")
    with pytest.raises(CheckpointError, match="nowhere/x: there is no such checkpoint$"):
        checkpoint.resolve_checkpoint(str(tmp_path / "nowhere" / "x"))


def test_a_checkpoint_without_its_data_is_not_taken_for_the_newest(own, caplog):
    folder, earlier = os.path.split(own)
    lacking = copy_as(own, os.path.join(folder, "model.ckpt-9"), age=0)
    os.remove(lacking + ".data-00000-of-00001")
    with pytest.raises(CheckpointError, match=rf"model.ckpt-8: there is no such checkpoint; the newest .*{earlier}$"):
        checkpoint.resolve_checkpoint(os.path.join(folder, "model.ckpt-8"))
    assert checkpoint.resolve_checkpoint(folder) == own
    assert caplog.messages == [f"{lacking} is damaged and passed over: it has no .data file"]
    os.remove(own + ".data-00000-of-00001")
    with pytest.raises(CheckpointError, match=r"model.ckpt-8: there is no such checkpoint$"):
        checkpoint.resolve_checkpoint(os.path.join(folder, "model.ckpt-8"))
    with pytest.raises(CheckpointError, match="every checkpoint in this folder is damaged"):
        checkpoint.resolve_checkpoint(folder)


def test_empty_folder(tmp_path):
    with pytest.raises(CheckpointError, match="this folder holds no checkpoint"):
        checkpoint.resolve_checkpoint(str(tmp_path))


def test_index_without_data(own):
    os.remove(own + ".data-00000-of-00001")
    with pytest.raises(CheckpointError, match="has an .index but no .data file"):
        checkpoint.resolve_checkpoint(own)


def test_newest_snapshot_of_all_runs(own, tmp_path):
    newest = copy_as(own, str(tmp_path / "log" / "ADE" / "a" / "snapshot" / "model.ckpt-5"), age=10)
    copy_as(own, str(tmp_path / "log" / "ADE" / "b" / "snapshot" / "model.ckpt-90"), age=20)
    copy_as(own, str(tmp_path / "log" / "ADE" / "b" / "other" / "model.ckpt-90"), age=0)
    assert checkpoint.newest_snapshot(str(tmp_path / "log")) == newest


def test_no_snapshot_below_the_log_folder(tmp_path):
    with pytest.raises(CheckpointError, match="no snapshot was found below this folder: train first, or give"):
        checkpoint.newest_snapshot(str(tmp_path))


@pytest.mark.parametrize(("prefix", "step"), [("a/model.ckpt-30000", 30000), ("model.ckpt-0", 0), ("a-1/x", None)])
def test_step_of_a_name(prefix, step):
    assert checkpoint.checkpoint_step(prefix) == step


def test_shapes(written):
    assert checkpoint.variable_shapes(written) == {"resnet_v1_50/a": [2, 3], "resnet_v1_50/b": [4]}


def test_format_before_index_files(tmp_path):
    """The format of the ResNet checkpoints that slim's authors published."""
    prefix = write_checkpoint(str(tmp_path / "old" / "resnet.ckpt"), VALUES, tf.train.SaverDef.V1)
    assert not os.path.exists(prefix + ".index")
    assert checkpoint.resolve_checkpoint(prefix) == prefix
    assert checkpoint.resolve_checkpoint(str(tmp_path / "old")) == prefix
    assert checkpoint.variable_shapes(prefix) == {"resnet_v1_50/a": [2, 3], "resnet_v1_50/b": [4]}


def test_folder_of_several_in_the_old_format(tmp_path):
    for name in ("a.ckpt", "b.ckpt"):
        write_checkpoint(str(tmp_path / name), VALUES, tf.train.SaverDef.V1)
    with pytest.raises(CheckpointError, match="this folder holds no checkpoint"):
        checkpoint.resolve_checkpoint(str(tmp_path))


@pytest.mark.parametrize("name", ["weights.npy", "weights.pth", "weights.safetensors"])
def test_weights_of_other_projects(tmp_path, name):
    (tmp_path / name).write_bytes(b"x" * 100)
    with pytest.raises(CheckpointError, match=f"{name}: this is no TensorFlow checkpoint"):
        checkpoint.variable_shapes(str(tmp_path / name))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x00" * 1000])
@pytest.mark.parametrize("ending", ["", ".index"])
def test_file_that_is_no_checkpoint(tmp_path, content, ending):
    path = tmp_path / ("notes" + ending)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="notes: not a checkpoint that can be read") as caught:
        checkpoint.variable_shapes(str(tmp_path / "notes"))
    assert "\n" not in str(caught.value)
    assert not re.search("DATA_LOSS|sstable|Unable|operator", str(caught.value))


def test_a_table_that_is_damaged_in_its_middle(own):
    path = own + ".index"
    content = bytearray(Path(path).read_bytes())
    content[len(content) // 3] ^= 0xFF
    Path(path).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"^{own}: not a checkpoint that can be read .its table is damaged.: "):
        checkpoint.variable_shapes(own)


def test_shapes_of_a_checkpoint_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere: there is no such checkpoint$"):
        checkpoint.variable_shapes(str(tmp_path / "nowhere"))


def test_a_table_that_may_not_be_read(written, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(checkpoint, "kind_of", lambda path: None)
    monkeypatch.setattr(checkpoint, "unknown_kind", refuse)
    with pytest.raises(CheckpointError, match=f"^{written}.index: the checkpoint cannot be read .*Permission denied"):
        checkpoint.variable_shapes(written)


def graph_with(shapes):
    """Zero variables of the given names and shapes in the default graph."""
    return [
        tf.get_variable(name, shape, initializer=tf.zeros_initializer(), use_resource=True)
        for name, shape in shapes.items()
    ]


def test_match(written):
    with tf.Graph().as_default():
        checkpoint.require_match(written, graph_with({"resnet_v1_50/a": [2, 3]}), "advice")
        checkpoint.require_match(written, [], "advice")


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
        checkpoint.require_match(written, graph_with(shapes), "try this")
    assert str(caught.value).startswith(written)


def test_checkpoint_of_something_else(tmp_path):
    prefix = write_checkpoint(str(tmp_path / "vgg.ckpt"), {"vgg_16/conv1/weights": np.zeros(1, np.float32)})
    with tf.Graph().as_default(), pytest.raises(CheckpointError, match="it holds no ResNet-v1"):
        checkpoint.require_match(prefix, graph_with({"resnet_v1_50/a": [1]}), "advice")


def test_restore(written):
    with tf.Graph().as_default(), tf.Session() as session:
        variables = graph_with({name: value.shape for name, value in VALUES.items()})
        checkpoint.restore(session, written, tf.train.Saver(variables))
        for variable, value in zip(variables, VALUES.values(), strict=True):
            np.testing.assert_array_equal(session.run(variable), value)


def truncate(path):
    os.truncate(path, os.path.getsize(path) // 2)


def flip_a_byte(path):
    with open(path, "r+b") as file:
        file.seek(5)
        byte = file.read(1)[0]
        file.seek(5)
        file.write(bytes([byte ^ 0xFF]))


@pytest.mark.parametrize("damage", [truncate, flip_a_byte, os.remove])
def test_damaged_data_is_told_in_one_line(own, damage):
    damage(own + ".data-00000-of-00001")
    with tf.Graph().as_default(), tf.Session() as session:
        saver = tf.train.Saver(graph_with({name: value.shape for name, value in VALUES.items()}))
        with pytest.raises(CheckpointError, match=r"model.ckpt-7: the checkpoint is damaged \(.+\)") as caught:
            checkpoint.restore(session, own, saver)
    assert "\n" not in str(caught.value)


def test_damaged_index(own):
    truncate(own + ".index")
    with pytest.raises(CheckpointError, match="not a checkpoint that can be read"):
        checkpoint.variable_shapes(own)


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
    assert "layers of the head from there: net/psp" in caplog.text
    assert "left random: net/aux, net/logits" in caplog.text


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
def test_damaged_resnet_is_told_in_one_line(tmp_path, damage):
    values = {
        ResNetGraph.WEIGHTS: np.zeros([7, 7, 3, 64], np.float32),
        ResNetGraph.MEAN: np.ones(64, np.float32),
    }
    prefix = write_checkpoint(str(tmp_path / "r.ckpt"), values)
    damage(prefix + ".data-00000-of-00001")
    with tf.Graph().as_default(), pytest.raises(CheckpointError, match="r.ckpt: .*damaged") as caught:
        ResNetGraph(prefix)
    assert "\n" not in str(caught.value)


def test_checksum_of_a_checkpoint_that_cannot_be_read(tmp_path):
    with pytest.raises(CheckpointError, match=f"^{tmp_path}: the checkpoint cannot be read "):
        checkpoint.checksum(str(tmp_path))
