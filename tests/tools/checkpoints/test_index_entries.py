"""Tests entries of an index that TensorFlow would not survive, against TensorFlow's own files and reader."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

import pytest
import tensorflow.compat.v1 as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.protobuf import tensor_bundle_pb2

from tests.tools.checkpoints import index_files
from tests.tools.checkpoints.index_files import entry
from tools.checkpoints import index_entries
from tools.checkpoints.index_entries import index_fault
from tools.checkpoints.index_table import read_table
from tools.checkpoints.reading import variable_shapes
from tools.errors import CheckpointError, IndexTableError


def test_a_sound_index_is_read_as_tensorflow_reads_it(tmp_path):
    prefix = index_files.write(tmp_path, {"a": entry(), "b/c": entry(3, (), size=4)})
    assert index_fault(prefix) is None
    assert variable_shapes(prefix) == {"a": [2, 3], "b/c": []}


IMPOSSIBLE = {
    "empty": (b"", "a.*number 0"),
    "garbage": (b"\xff\xff\xff", "its table is damaged: its entry of a does not describe a tensor"),
    "type 0": (entry(0), "a: the type has number 0"),
    "type of a reference": (entry(101), "a: the type has number 101"),
    "unknown type": (entry(1000), "a: the type has number 1000"),
    "negative size": (entry(shape=(-2, 3)), r"a: the shape is \[-2, 3\]"),
    "huge size": (entry(shape=(2**40, 2**40)), rf"a: the shape is \[{2**40}, {2**40}\]"),
    "300 dimensions": (entry(shape=(1,) * 300), "a: the shape has 300 dimensions"),
    "other size": (entry(shape=(2, 4)), "a: 24 bytes, expected 32"),
    "behind the end": (entry(offset=1), "a: 24 bytes at 1, but its file has 24"),
    "before the beginning": (entry(offset=-1), "a: 24 bytes at -1"),
    "no such file": (entry(shard_id=1), "a: the file of data with number 1 does not exist"),
}


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_impossible_entries(kind, tmp_path):
    value, words = IMPOSSIBLE[kind]
    prefix = index_files.write(tmp_path, {"a": value})
    with pytest.raises(CheckpointError, match=words) as caught:
        variable_shapes(prefix)
    assert str(caught.value).startswith(f"{prefix}: ")


_BAD = entry(shape=(1,) * 300)
_BEGIN = index_files.encoded(b"", index_files.header())
_SOUND = _BEGIN + index_files.encoded(b"a", entry())
# Entries within the value of another, as the bytes of a field that TensorFlow does not know.
_HIDDEN = _BEGIN + index_files.encoded(b"a", _BAD)
_CONTAINER = index_files.encoded(b"z", entry() + b"\x7a" + index_files.varint(len(_HIDDEN)) + _HIDDEN)
_PLACE = len(_SOUND + _CONTAINER) - len(_HIDDEN)
AMBIGUOUS = {
    "two entries of one name": (_BEGIN + index_files.encoded(b"a", _BAD) + _SOUND, [0], "keys do not rise"),
    "two headers": (index_files.encoded(b"", index_files.header(10**9)) + _SOUND, [0], "keys do not rise"),
    "begins within a value": (_SOUND + _CONTAINER, [_PLACE], "does not begin with its first entry"),
    "goes on within a value": (_SOUND + _CONTAINER, [0, _PLACE], f"lists an entry at {_PLACE}, where there is none"),
    "no beginning": (_SOUND, [], "does not begin with its first entry"),
    "behind the end": (_SOUND, [0, 10**6], "lists an entry at 1000000"),
}  # fmt: skip


@pytest.mark.parametrize("kind", AMBIGUOUS)
def test_entries_that_are_found_in_one_way_only(kind, tmp_path):
    """TensorFlow ends the process on those that it finds, whether they are the last of their names or not."""
    content, restarts, words = AMBIGUOUS[kind]
    prefix = index_files.write(tmp_path, {})
    (tmp_path / "model.index").write_bytes(index_files.table_of(index_files.block_of(content, restarts), b"z"))
    with pytest.raises(CheckpointError, match=f"its table is damaged: .*{words}"):
        variable_shapes(prefix)


def _int32(entry: tensor_bundle_pb2.BundleEntryProto) -> None:
    entry.dtype = 3


def _listed_twice(entry: tensor_bundle_pb2.BundleEntryProto) -> None:
    entry.slices.add().CopyFrom(entry.slices[0])


def _transposed(entry: tensor_bundle_pb2.BundleEntryProto) -> None:
    entry.shape.dim.reverse()


@pytest.mark.parametrize(
    ("is_part", "change", "words"),
    [
        (True, _int32, "p: its parts have other types or shapes"),
        (True, _transposed, "p: its parts have other types or shapes"),
        (True, None, "p: its parts have other types or shapes, or some are missing"),
        (False, _listed_twice, "p: a part is listed twice"),
        (False, None, "has parts of p, which is not in parts"),
    ],
)
def test_impossible_parts(tmp_path, is_part, change, words):
    """TensorFlow ends the process on parts of another type than the whole, and on those that are listed twice."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable("p", [10, 3], partitioner=tf.fixed_size_partitioner(3))
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Saver().save(session, str(tmp_path / "model"), write_meta_graph=False)
    entries = dict(read_table((tmp_path / "model.index").read_bytes()))
    key = next(key for key in entries if key.startswith(b"\0")) if is_part else b"p"
    message = tensor_bundle_pb2.BundleEntryProto.FromString(entries.pop(key))
    if change is not None:
        change(message)
        entries[key] = message.SerializeToString()
    (tmp_path / "model.index").write_bytes(index_files.table(entries))
    assert words in str(index_fault(prefix))


@pytest.mark.parametrize("shards", [0, -1, 100_000])
def test_impossible_numbers_of_files(shards, tmp_path):
    (tmp_path / "model.index").write_bytes(index_files.table({b"": index_files.header(shards)}))
    with pytest.raises(CheckpointError, match=f"names {shards} files of data"):
        variable_shapes(str(tmp_path / "model"))


def test_an_index_without_header(tmp_path):
    (tmp_path / "model.index").write_bytes(index_files.table({b"a": entry()}))
    with pytest.raises(CheckpointError, match="no header"):
        variable_shapes(str(tmp_path / "model"))


def test_a_huge_index_is_not_read(tmp_path):
    with open(tmp_path / "model.index", "wb") as file:
        file.truncate(2**40)
        file.seek(2**40)
        file.write(index_files.table({}))
    with pytest.raises(CheckpointError, match="its index has .* bytes, expected at most"):
        variable_shapes(str(tmp_path / "model"))


def test_partitioned_variables_and_every_type_that_is_written(tmp_path):
    """TensorFlow's own writer, with several blocks, keys that share a beginning, and a variable in parts."""
    dtypes = [tf.float16, tf.float32, tf.float64, tf.bfloat16, tf.int64, tf.uint8, tf.bool, tf.complex64]
    with tf.Graph().as_default(), tf.Session() as session:
        for number in range(200):
            dtype = dtypes[number % len(dtypes)]
            tf.get_variable(f"scope/variable{number}", initializer=tf.cast(tf.zeros([number % 5, 3]), dtype))
        tf.get_variable("text", initializer=tf.constant(["a", "bc"]))
        tf.get_variable("parts", [10, 3], partitioner=tf.fixed_size_partitioner(3))
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Saver().save(session, str(tmp_path / "model"), write_meta_graph=False)
    assert index_fault(prefix) is None
    shapes = variable_shapes(prefix)
    assert shapes["parts"] == [10, 3]
    assert len(shapes) == 202
    with open(f"{prefix}.index", "rb") as file:
        keys = {key for key, _ in read_table(file.read())}
    assert keys >= {b"", *(name.encode() for name in shapes)}
    assert len(keys) == len(shapes) + 4  # the header and the three parts


def test_an_index_is_checked_again_when_a_file_changes(tmp_path, monkeypatch):
    prefix, tables = index_files.write(tmp_path, {"a": entry()}), []
    monkeypatch.setattr(index_entries, "read_table", lambda content: tables.append(1) or read_table(content))
    assert [index_fault(prefix) for _ in range(3)] == [None] * 3
    assert len(tables) == 1
    (tmp_path / "model.data-00000-of-00001").write_bytes(bytes(23))
    assert "its file has 23" in str(index_fault(prefix))
    os.remove(f"{prefix}.index")
    index_files.write(tmp_path, {"a": entry(0)})
    assert "number 0" in str(index_fault(prefix))
    assert len(tables) == 3


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_damaged(content):
    for candidate in (content, content + index_files.table({b"a": b"b"})[-48:]):
        with contextlib.suppress(IndexTableError):
            list(read_table(candidate))


@settings(max_examples=300)
@given(st.dictionaries(st.binary(max_size=30), st.binary(max_size=300), max_size=20))
def test_tables_are_read_back(entries):
    assert dict(read_table(index_files.table(entries))) == entries


def test_the_cases_are_those_that_end_tensorflow(tmp_path):
    """What `index_fault` is for: TensorFlow's reader ends the process on the first of them."""
    prefix = index_files.write(tmp_path, {"a": entry(shape=(1,) * 300)})
    code = (
        "import sys, tensorflow.compat.v1 as tf; tf.train.NewCheckpointReader(sys.argv[1]).get_variable_to_shape_map()"
    )
    ended = subprocess.run([sys.executable, "-c", code, prefix], capture_output=True, check=False)
    assert ended.returncode < 0
