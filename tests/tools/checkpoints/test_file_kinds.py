"""Files that people give in the place of a checkpoint, by their bytes, and what reads them."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import tarfile
import zipfile
from collections import OrderedDict

import h5py
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools.toy_runs import write_checkpoint
from tools.checkpoints.compare import require_shapes
from tools.checkpoints.file_kinds import CHECKPOINT, HDF5, NPY, PYTORCH, SAFETENSORS, kind_of
from tools.checkpoints.find import resolve_checkpoint
from tools.checkpoints.reading import variable_shapes
from tools.convert.files import read_weights
from tools.errors import CheckpointError, WeightFileError


def zipped(*names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return stream.getvalue()


def tarred(mode: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        archive.addfile(tarfile.TarInfo("model.ckpt.index"))
    return stream.getvalue()


def field(number: int, content: bytes | int) -> bytes:
    """A field of a protocol buffer."""

    def varint(value: int) -> bytes:
        return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)

    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def onnx(version: int) -> bytes:
    return field(1, version) + field(2, b"pytorch") + field(3, b"2.1") + field(7, field(1, b"x" * 300))


def caffe(layers: int) -> bytes:
    return field(1, b"ResNet-50") + field(layers, field(1, b"data") + field(2, b"Input") + b"x" * 200)


def frozen_graph(long: bool) -> bytes:
    with tf.Graph().as_default() as graph:
        tf.constant(np.zeros(1000 if long else 2, np.float32), name="resnet/conv1/weights")
        return graph.as_graph_def().SerializeToString()


def hdf5() -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["weights"] = np.zeros(3)
    return stream.getvalue()


def numpy_bytes(save, *values) -> bytes:
    stream = io.BytesIO()
    save(stream, *values)
    return stream.getvalue()


_HEADER = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
_SAFETENSORS = len(_HEADER).to_bytes(8, "little") + _HEADER + bytes(4)
_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n"

# By name: the content, what it is called, what to do.
REFUSED = {
    "a.onnx": (onnx(8), r"ONNX", "tools.convert supports"),
    "b.onnx": (field(1, 3) + field(7, b"x" * 20), "ONNX", "tools.convert supports"),
    "a.caffemodel": (caffe(100), "Caffe", "tools.convert supports"),
    "b.caffemodel": (caffe(2), "Caffe", "tools.convert supports"),
    "a.prototxt": (b'name: "ResNet-50"\nlayer {\n', "prototxt", "tools.convert supports"),
    "a.keras": (zipped("metadata.json", "config.json", "model.weights.h5"), "Keras", "tools.convert supports"),
    "a.npz": (zipped("a.npy", "b.npy"), "npz", "tools.convert supports"),
    "a.pb": (frozen_graph(True), "frozen", "checkpoint that it was made from"),
    "b.pb": (frozen_graph(False), "frozen", "checkpoint that it was made from"),
    "a.tflite": (b"\x1c\x00\x00\x00TFL3" + bytes(30), "tflite", "tools.convert supports"),
    "a.params": (b"\x12\x01" + bytes(20), "MXNet", "tools.convert supports"),
    "a.mat": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64", "MATLAB", "tools.convert supports"),
    "login.ckpt": (b"<!DOCTYPE html>\n<html><head><title>Sign in", "HTML page", "download the file itself"),
    "b.ckpt": (b"\xef\xbb\xbf\n  <HTML lang=en>", "HTML page", "download the file itself"),
    "error.ckpt": (b'<?xml version="1.0"?><Error><Code>AccessDenied', "XML page", "download the file itself"),
    "pointer.pth": (_POINTER, "Git LFS", "git lfs pull"),
    "a.ckpt": (zipped("resnet.ckpt"), "archive", "unpack it"),
    "cut.zip": (zipped("resnet.ckpt")[:-20], "archive", "unpack it"),
    "a.tar": (tarred("w"), "archive", "unpack it"),
    "a.tgz": (tarred("w:gz"), "archive", "unpack it"),
    "a.tar.bz2": (tarred("w:bz2"), "archive", "unpack it"),
    "a.tar.xz": (tarred("w:xz"), "archive", "unpack it"),
    "a.ckpt.gz": (gzip.compress(b"x"), "archive", "unpack it"),
    "empty.ckpt": (b"", "empty file", "again"),
    "config.json": (b'{\n  "flags": {}}', "JSON", "file of the weights"),
    "checkpoint": (b'model_checkpoint_path: "model.ckpt-1"\n', "list that TensorFlow keeps", "give the folder"),
    "a.gguf": (b"GGUF\x03\x00\x00\x00" + bytes(20), "llama.cpp", "tools.convert supports"),
    "a.7z": (b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(30), "archive", "unpack it"),
    "a.rar": (b"Rar!\x1a\x07\x01\x00" + bytes(30), "archive", "unpack it"),
    "a.zst": (b"\x28\xb5\x2f\xfd" + bytes(30), "archive", "unpack it"),
    "a.lz4": (b"\x04\x22\x4d\x18" + bytes(30), "archive", "unpack it"),
    "empty.zip": (zipped(), "archive", "unpack it"),
    "a.parquet": (b"PAR1" + bytes(30), "Parquet", "file of the weights"),
    "a.so": (b"\x7fELF" + bytes(30), "program", "file of the weights"),
    "a.jpg": (b"\xff\xd8\xff\xe0" + bytes(30), "picture", "file of the weights"),
    "a.tif": (b"II*\x00" + bytes(30), "picture", "file of the weights"),
    "a.png": (b"\x89PNG\r\n\x1a\n" + bytes(9), "picture", "file of the weights"),
}  # fmt: skip

# Taken by tools.convert, under whatever name.
CONVERTED = {
    PYTORCH: [
        zipped("archive/data.pkl", "archive/data/0"),
        pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2),
        *(pickle.dumps({"a": np.ones(2)}, protocol) for protocol in range(6)),
        pickle.dumps(OrderedDict(a=1), 0),
    ],
    SAFETENSORS: [_SAFETENSORS],
    NPY: [numpy_bytes(np.save, np.zeros(3))],
    HDF5: [hdf5()],
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_of_others_are_named_with_what_to_do(tmp_path, name):
    content, what, advice = REFUSED[name]
    path = tmp_path / name
    path.write_bytes(content)
    for use, error in ((resolve_checkpoint, CheckpointError), (read_weights, WeightFileError)):
        with pytest.raises(error) as caught:
            use(str(path))
        message = str(caught.value)
        assert message.startswith(f"{path}: this is ")
        assert what in message
        assert advice in message
        assert "\n" not in message
    other = tmp_path / "resnet_v1_50.ckpt"  # whatever it is called
    path.rename(other)
    with pytest.raises(CheckpointError, match=what):
        resolve_checkpoint(str(other))


@pytest.mark.parametrize(
    ("kind", "content"), [(kind, each) for kind, contents in CONVERTED.items() for each in contents]
)
@pytest.mark.parametrize("name", ["best.pth.tar", "resnet50.ckpt", "weights.bin"])
def test_what_tools_convert_takes(tmp_path, kind, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    assert kind_of(str(path)) == kind
    with pytest.raises(CheckpointError, match=f"python -m tools.convert {path} --out converted, then give the folder"):
        resolve_checkpoint(str(path))


def test_numpy_dictionary_of_any_name(tmp_path):
    path = tmp_path / "weights.pth.tar"
    path.write_bytes(numpy_bytes(lambda stream, value: np.save(stream, value, allow_pickle=True), {"a": np.ones(2)}))
    np.testing.assert_array_equal(read_weights(str(path))["a"], [1, 1])


def test_pytorch_of_any_name_goes_to_its_reader(tmp_path, monkeypatch):
    from tools.convert import files as weight_files

    monkeypatch.setitem(weight_files._READERS, ".pth", lambda path: {"a": np.ones(2)})
    for number, content in enumerate(CONVERTED[PYTORCH]):
        path = tmp_path / f"{number}.pth.tar"
        path.write_bytes(content)
        assert set(read_weights(str(path))) == {"a"}


@pytest.mark.parametrize("version", [tf.train.SaverDef.V1, tf.train.SaverDef.V2])
def test_checkpoints_are_used_directly(tmp_path, version):
    prefix = write_checkpoint(str(tmp_path / "model.ckpt"), {"net/a": np.ones(3, np.float32)}, version)
    file = prefix if version == tf.train.SaverDef.V1 else prefix + ".index"
    assert kind_of(file) == CHECKPOINT
    assert resolve_checkpoint(file) == prefix
    np.testing.assert_array_equal(read_weights(file)["net/a"], [1, 1, 1])  # by tools.convert too


@pytest.mark.parametrize(
    ("name", "what", "advice"),
    [("saved_model.pb", "SavedModel", "checkpoint that it was exported from"), ("a.pth.tar", "PyTorch", "convert"),
     ("resnet.tar.gz", "archive", "unpack"), ("_CHECKPOINT_METADATA", "Orbax", "tools.convert")],
)  # fmt: skip
def test_folders(tmp_path, name, what, advice):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(CheckpointError, match=rf"^{tmp_path}: this is .*{what}.*{advice}"):
        resolve_checkpoint(str(tmp_path))
    with pytest.raises(WeightFileError, match=what):
        read_weights(str(tmp_path))


def test_saved_model(tmp_path):
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [1])
        y = x * tf.get_variable("a", [1], use_resource=True)
        session.run(tf.global_variables_initializer())
        tf.saved_model.simple_save(session, str(tmp_path / "saved"), {"x": x}, {"y": y})
    for path in (tmp_path / "saved", tmp_path / "saved" / "saved_model.pb"):
        with pytest.raises(CheckpointError, match="SavedModel"):
            resolve_checkpoint(str(path))


def test_a_part_without_its_index(tmp_path):
    (tmp_path / "model.ckpt-7.meta").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"ckpt-7.meta: the checkpoint has no model.ckpt-7.index: copy it too$"):
        resolve_checkpoint(str(tmp_path / "model.ckpt-7.meta"))


def test_object_graphs_are_named(tmp_path):
    values = {"_CHECKPOINTABLE_OBJECT_GRAPH": np.ones(1, np.float32), "layer/.ATTRIBUTES/VARIABLE_VALUE": np.ones(1)}
    prefix = write_checkpoint(str(tmp_path / "ckpt-1"), values)
    with pytest.raises(CheckpointError, match="it holds an object graph, as Keras and tf.train.Checkpoint write"):
        require_shapes(prefix, variable_shapes(prefix), {"net/a": [1]}, "advice")


@settings(deadline=None, max_examples=200)
@given(content=st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_any_bytes(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "x"
    path.write_bytes(content)
    kind = kind_of(str(path))
    assert kind is None or str(path) in kind.refusal(str(path), "a checkpoint")
    with pytest.raises(CheckpointError) as caught:
        resolve_checkpoint(str(path))
    message = str(caught.value)
    assert message.startswith(f"{path}: this is ")
    assert "expected a TensorFlow checkpoint (prefix, .index or folder): " in message
    assert message.isprintable()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"hello", r"a text file \(it begins with 'hello'\), expected .*: give the file of the weights$"),
        ("name,größe\n".encode(), r"a text file \(it begins with 'name,gr\\xc3\\xb6\\xc3\\x9fe'\)"),
        (b"ftrt" + bytes(900), r"truncated file, or one of an unknown kind \(it begins with 'ftrt\\x00.*tools.convert"),
    ],
)
def test_unknown_files_are_described_by_their_first_bytes(tmp_path, content, words):
    for place in (tmp_path / "weights.bin", tmp_path / "folder" / "weights.ckpt"):
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(content)
        with pytest.raises(CheckpointError, match=f"^{place}: this is .*{words}"):
            resolve_checkpoint(str(place))
    with pytest.raises(CheckpointError, match=f"^{place}: this is .*{words}"):
        resolve_checkpoint(str(tmp_path / "folder"))


def test_a_checkpoint_of_the_old_format_that_is_cut_off(tmp_path):
    prefix = write_checkpoint(str(tmp_path / "resnet.ckpt"), {"net/a": np.ones(3, np.float32)}, tf.train.SaverDef.V1)
    with open(prefix, "r+b") as file:
        file.truncate(os.path.getsize(prefix) - 1)
    with pytest.raises(CheckpointError, match=f"^{prefix}: this is a damaged or truncated file"):
        resolve_checkpoint(prefix)


def test_a_folder_with_one_file_that_is_something_else(tmp_path):
    (tmp_path / "resnet.ckpt").write_bytes(_POINTER)
    with pytest.raises(CheckpointError, match=f"^{tmp_path}/resnet.ckpt: this is a pointer of Git LFS"):
        resolve_checkpoint(str(tmp_path))


def test_what_cannot_be_read_is_not_known(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "none", tmp_path):
        assert kind_of(str(path)) is None


@pytest.mark.parametrize("name", ["pointer.pth", "login.ckpt", "empty.ckpt"])
def test_an_index_that_is_something_else(tmp_path, name):
    prefix = write_checkpoint(str(tmp_path / "model.ckpt"), {"net/a": np.ones(3, np.float32)})
    content, what, _ = REFUSED[name]
    (tmp_path / "model.ckpt.index").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"^{prefix}.index: this is .*{what}"):
        resolve_checkpoint(prefix)
