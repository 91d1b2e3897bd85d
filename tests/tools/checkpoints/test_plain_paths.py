"""Checkpoints and records in places whose names TensorFlow takes for patterns, other file systems or no text."""

from __future__ import annotations

import dataclasses
import os
import tempfile

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from database.tfrecord import compare_shard, write_shard
from model import resnet
from tests.tools.toy_runs import NARROW, NETWORK, smallest_config, toy_record, train_with, write_checkpoint
from tools.checkpoints import plain_paths
from tools.checkpoints.find import newest_snapshot, resolve_checkpoint
from tools.checkpoints.plain_paths import readable_prefix, writable_prefix
from tools.checkpoints.reading import restore, variable_shapes
from tools.checkpoints.values import open_reader
from tools.errors import CheckpointError
from tools.prediction.metrics import ConfusionMatrix
from tools.prediction.predictor import Predictor
from tools.training.summaries import write_validation

VALUES = {"net/a": np.arange(6, dtype=np.float32).reshape(2, 3), "net/b": np.full(4, 7, np.float32)}
OTHERS = {name: np.full_like(array, -1) for name, array in VALUES.items()}
V1, V2 = tf.train.SaverDef.V1, tf.train.SaverDef.V2

# Names of folders and files that POSIX allows; few letters, so that patterns would match their neighbours.
NAMES = st.text("ab2[]*?\\{}!^-,:~$% \n\u00fc\udcff", min_size=1, max_size=6).filter(
    lambda name: name not in (".", "..")
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """By format, the files of a checkpoint and of another: bytes by the ending."""
    folder = tmp_path_factory.mktemp("written")

    def files(values, version):
        prefix = write_checkpoint(str(folder / "x" / "model.ckpt"), values, version)
        found = {
            name.removeprefix("model.ckpt"): (folder / "x" / name).read_bytes()
            for name in os.listdir(folder / "x")
            if name.startswith("model.ckpt")
        }
        for ending in found:
            os.remove(prefix + ending)
        return found

    return {version: (files(VALUES, version), files(OTHERS, version)) for version in (V1, V2)}


def put(prefix: str, files: dict[str, bytes]) -> str:
    os.makedirs(os.path.dirname(prefix), exist_ok=True)
    for ending, content in files.items():
        with open(prefix + ending, "wb") as file:
            file.write(content)
    return prefix


def restored(prefix: str) -> dict[str, np.ndarray]:
    with tf.Graph().as_default(), tf.Session() as session:
        variables = [tf.get_variable(name, value.shape, use_resource=True) for name, value in VALUES.items()]
        restore(session, prefix, tf.train.Saver(variables))
        return dict(zip(VALUES, session.run(variables), strict=True))


def read(prefix: str) -> dict[str, np.ndarray]:
    with open_reader(prefix, "advice") as reader:
        return {name: reader.array(name) for name in variable_shapes(prefix)}


def assert_equal(found: dict[str, np.ndarray]) -> None:
    assert found.keys() == VALUES.keys()
    for name, values in VALUES.items():
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("version", [V1, V2])
@settings(max_examples=40, deadline=None)
@given(folder=NAMES, name=NAMES)
@example(folder="l[2]", name="model.ckpt-1")
@example(folder="a", name="resnet[50].ckpt")
@example(folder="a\\b", name="*")
@example(folder="{a,b}", name="[")
def test_a_checkpoint_is_read_from_any_place(written, version, folder, name):
    """And no other, though its path, taken for a pattern, were that of one beside it."""
    own, others = written[version]
    with tempfile.TemporaryDirectory() as root:
        prefix = put(os.path.join(root, folder, name), own)
        for pattern, stands_for in (("[2]", "2"), ("*", "ab"), ("?", "a"), ("\\", "")):
            beside = os.path.join(root, folder.replace(pattern, stands_for), name.replace(pattern, stands_for) or "x")
            if beside != prefix:
                put(beside, others)
        assert resolve_checkpoint(prefix) == prefix
        assert_equal(read(prefix))


@pytest.mark.parametrize("version", [V1, V2])
@pytest.mark.parametrize("folder", ["l[2]", "a*b?", "a\\b", "ram:/x", "\udcff", "plain"])
def test_a_checkpoint_is_restored_from_any_place(written, tmp_path, version, folder):
    assert_equal(restored(put(str(tmp_path / folder / "model[1].ckpt"), written[version][0])))


@pytest.mark.parametrize("prefix", ["ram://x/model.ckpt", "l[2]/model.ckpt", "model*.ckpt", "gs:/x"])
def test_relative_paths(written, tmp_path, monkeypatch, prefix):
    monkeypatch.chdir(tmp_path)
    assert_equal(read(put(os.path.join(".", prefix) if "/" not in prefix else prefix, written[V2][0])))


@settings(max_examples=40, deadline=None)
@given(folder=NAMES)
@example(folder="l[2]")
@example(folder="\udcff")
def test_a_checkpoint_is_written_to_any_place(folder):
    with tempfile.TemporaryDirectory() as root, tf.Graph().as_default(), tf.Session() as session:
        variables = [tf.get_variable(name, initializer=value, use_resource=True) for name, value in VALUES.items()]
        session.run(tf.global_variables_initializer())
        os.mkdir(os.path.join(root, folder))
        prefix = os.path.join(root, folder, "model.ckpt-3")
        with writable_prefix(prefix) as path:
            tf.train.Saver(variables).save(session, path, write_meta_graph=False, write_state=False)
        assert os.listdir(root) == [folder]
        assert sorted(os.listdir(os.path.dirname(prefix))) == [
            "model.ckpt-3.data-00000-of-00001", "model.ckpt-3.index"
        ]  # fmt: skip
        assert_equal(read(prefix))


@settings(max_examples=40, deadline=None)
@given(folder=NAMES, name=NAMES)
def test_records_are_written_to_and_compared_in_any_place(folder, name):
    records = [b"one", b"", b"three"]
    with tempfile.TemporaryDirectory() as root:
        path = os.path.join(root, folder, name)
        assert write_shard(path, records) == compare_shard(path, records)
        assert os.listdir(os.path.dirname(path)) == [name]


@pytest.mark.parametrize("folder", ["l[2]", "a*b", "a\\b", "\udcff", "ram://x"])
def test_events_are_written_to_any_place(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    scores = ConfusionMatrix(2).evaluate()
    write_validation(folder, 3, scores, ("a", "b"))
    [name] = os.listdir(folder)
    assert name.endswith(".validation-3")
    assert os.path.getsize(os.path.join(folder, name)) > 0


def test_plain_paths_stay_and_nothing_is_left_of_links(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for links in (readable_prefix, writable_prefix):
        with links("a b/ü/model.ckpt-1") as path:
            assert path == "a b/ü/model.ckpt-1"
            assert os.listdir(tmp_path) == []
        with links(str(tmp_path / "x[1]" / "model.ckpt-1")) as path:
            assert os.path.dirname(path) != str(tmp_path / "x[1]")
            assert len(os.listdir(tmp_path)) == 1
        assert os.listdir(tmp_path) == []


def test_a_temporary_folder_with_such_a_name_is_not_used(written, tmp_path, monkeypatch):
    (tmp_path / "t[1]").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "t[1]"))
    prefix = put(str(tmp_path / "l[2]" / "model.ckpt-1"), written[V2][0])
    assert_equal(read(prefix))
    monkeypatch.setattr(plain_paths, "_OTHER_TEMPORARY_FOLDERS", ())
    for use in (read, restored):
        with pytest.raises(CheckpointError, match=r"l\[2\]/model.ckpt-1: .*no temporary folder.*set TMPDIR"):
            use(prefix)


@pytest.mark.parametrize("version", [V1, V2])
def test_messages_name_the_checkpoint_and_no_link(written, tmp_path, version):
    files = {ending: content[: len(content) // 2] for ending, content in written[version][0].items()}
    prefix = put(str(tmp_path / "l[2]" / "model.ckpt-1"), files)
    for use in (read, restored):
        with pytest.raises(CheckpointError) as caught:
            use(prefix)
        assert str(caught.value).startswith(f"{prefix}: ")
        assert "/checkpoint-" not in str(caught.value)


@pytest.mark.slow
def test_a_run_in_such_a_folder_trains_resumes_and_predicts(toy_dir, tmp_path, monkeypatch):
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, NARROW)
    monkeypatch.chdir(tmp_path)
    config = smallest_config(toy_dir, "l[2]*\\", train_max_iter=1)
    train_with(config)
    folder = train_with(dataclasses.replace(config, train_max_iter=2, resume_step="latest"))
    assert os.listdir(tmp_path) == [config.log_dir]
    prefix = newest_snapshot(config.log_dir)
    assert prefix == folder.snapshot(2)
    with Predictor(prefix, toy_record(config), mirror=False) as predictor:
        assert predictor.labels(np.zeros((9, 9, 3), np.uint8)).shape == (9, 9)
