"""Files of PyTorch, written without PyTorch: read as they say, or refused in one line if they cannot be so.

What PyTorch itself writes is in `tests/parity/test_weight_files.py`.
"""

from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np
import pytest

from tests.tools.convert.pytorch_files import (
    MAGIC_NUMBER,
    call,
    encode,
    legacy_bytes,
    name,
    of_array,
    pickled,
    storage,
    tensor,
    write,
    zip_bytes,
)
from tools.convert import files, pytorch_file
from tools.convert.files import read_meta, read_weights
from tools.errors import WeightFileError

NUMBERS = np.arange(6, dtype=np.float32)
STORED = {"0": NUMBERS.tobytes()}
PLAIN = tensor(storage(), (2, 3), (3, 1))


def file_of(path, content, storages=STORED, *, legacy=False) -> str:
    build = legacy_bytes if legacy else zip_bytes
    return write(path / "w.pth", build(pickled(content), storages))


def refusal(path: str) -> str:
    with pytest.raises(WeightFileError) as caught:
        read_weights(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert line.isprintable()
    return line


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (PLAIN, NUMBERS.reshape(2, 3)),
        (tensor(storage(), (3, 2), (1, 3)), NUMBERS.reshape(2, 3).T),
        (tensor(storage(), (2,), (2,), 1), NUMBERS[[1, 3]]),
        (tensor(storage(), (), (), 4), NUMBERS[4]),
        (tensor(storage(), (0, 7), (7, 1)), np.zeros((0, 7))),
        (tensor(storage(), (1, 6), (1 << 70, 1)), NUMBERS[np.newaxis]),
        (tensor(storage(), (4, 6), (0, 1)), np.tile(NUMBERS, (4, 1))),
        (tensor(storage(), (4, 3), (1, 1)), np.lib.stride_tricks.sliding_window_view(NUMBERS, 3)),
        (tensor(storage(), (6,), (1,), function="_rebuild_tensor"), NUMBERS),
        (call("torch._utils", "_rebuild_parameter", PLAIN, True, {}), NUMBERS.reshape(2, 3)),
    ],
)
def test_views(tmp_path, part, expected, legacy):
    found = read_weights(file_of(tmp_path, {"a": part}, legacy=legacy))
    assert found["a"].dtype == np.float32
    np.testing.assert_array_equal(found["a"], expected)


def test_a_part_of_a_storage_as_before_pytorch_1_6(tmp_path):
    for view, expected in ((("1", 2, 3), NUMBERS[2:5]), (None, NUMBERS[:3])):
        content = {"a": tensor(storage(view=(view,)), (3,), (1,))}
        np.testing.assert_array_equal(read_weights(file_of(tmp_path, content, legacy=True))["a"], expected)
    for view in (("1", 2, 5), ("1", -1, 3), ("1", 3, -2), ("1", "2", 3), ("1", 2), 5):
        path = file_of(tmp_path, {"a": tensor(storage(view=(view,)), (3,), (1,))}, legacy=True)
        assert "part of storage 0 that is outside of it" in refusal(path)


def test_a_file_of_a_machine_of_the_other_byte_order(tmp_path):
    half = np.array([0.5, -2], np.float16)
    content = {"a": PLAIN, "b": tensor(storage("1", "HalfStorage", 2), (2,), (1,)),
               "c": tensor(storage("2", "LongStorage", 1), (1,), (1,)),
               "d": tensor(storage("3", "BFloat16Storage", 1), (1,), (1,))}  # fmt: skip
    storages = {"0": NUMBERS.astype(">f4").tobytes(), "1": half.astype(">f2").tobytes(),
                "2": np.array([258], ">i8").tobytes(), "3": b"\x3f\xc0"}  # fmt: skip
    path = write(tmp_path / "w.pth", zip_bytes(pickled(content), storages, {"w/byteorder": b"big"}))
    found = read_weights(path)
    np.testing.assert_array_equal(found["a"], NUMBERS.reshape(2, 3))
    np.testing.assert_array_equal(found["b"], half)
    assert (found["c"].tolist(), found["d"].tolist()) == ([258], [1.5])
    assert all(array.dtype.isnative for array in found.values())
    write(tmp_path / "w.pth", zip_bytes(pickled(content), storages, {"w/byteorder": b"middle"}))
    assert "byte order is b'middle', expected little or big" in refusal(path)


def test_a_file_that_was_compressed_afterwards(tmp_path):
    path = write(tmp_path / "w.pth", zip_bytes(pickled({"a": PLAIN}), STORED, compression=zipfile.ZIP_DEFLATED))
    np.testing.assert_array_equal(read_weights(path)["a"], NUMBERS.reshape(2, 3))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("part", "words"),
    [
        (tensor(storage(), (7,), (1,)), "claims number 6 of a storage of 6"),
        (tensor(storage(), (2, 3), (4, 1)), "claims number 6"),
        (tensor(storage(), (2,), (1 << 62,)), "claims number 4611686018427387904"),
        (tensor(storage(), (), (), 6), "claims number 6"),
        (tensor(storage(), (1 << 80,), (1,)), "claims number"),
        (tensor(storage(), (1 << 28,), (0,)), "its tensors have 1073741824 bytes, more than 1048576"),
        (tensor(storage(), (1 << 80,), (0,)), "larger than an array can be"),
        (tensor(storage(), (0, 1 << 70), (1, 1)), "larger than an array can be"),
        (tensor(storage(), (-1,), (1,)), "shape and strides are not numbers"),
        (tensor(storage(), (2,), (-1,), 1), "shape and strides are not numbers"),
        (tensor(storage(), (2,), (1,), -1), "shape and strides are not numbers"),
        (tensor(storage(), (True,), (1,)), "shape and strides are not numbers"),
        (tensor(storage(), (1.0,), (1,)), "shape and strides are not numbers"),
        (tensor(storage(), (2,), (1, 1)), "shape and strides are not numbers"),
        (tensor(storage(), [2], [1]), "shape and strides are not numbers"),
        (tensor(storage(), None, None), "shape and strides are not numbers"),
        (tensor(storage(), (1,) * 33, (1,) * 33), "up to 32 axes"),
        (tensor("storage", (2,), (1,)), "has no storage"),
        (tensor(encode(("storage", 1)) + b"Q", (2,), (1,)), "has no storage"),
        (call("torch._utils", "_rebuild_tensor_v2", storage()), "lacks storage or shape"),
        (call("torch._utils", "_rebuild_parameter"), "is made by PyTorch's _rebuild_parameter"),
        (call("torch._utils", "_rebuild_parameter", "a"), "is made by PyTorch's _rebuild_parameter"),
        (tensor(storage(), (2,), (1,), more=({"neg": True},)), "is conjugated or negated"),
        (call("torch._utils", "_rebuild_sparse_tensor", 1), "is made by PyTorch's _rebuild_sparse_tensor, expected a"),
        (call("torch._utils", "_rebuild_\x1b[31m", 1), r"is made by PyTorch's _rebuild_\x1b[31m, expected a"),
        (call("torch._tensor", "_rebuild_from_type_v2", name("torch._utils", "_rebuild_tensor_v2"),
              name("mine", "Tensor"), (storage(), 0, (2,), (1,), False, {}), {}), "PyTorch's _rebuild_from_type_v2"),
        (call("torch._tensor", "_rebuild_from_type_v2", 1, 2, 3), "PyTorch's _rebuild_from_type_v2"),
        (tensor(storage(), (2,), (1,), function="_rebuild_tensor_v3"), "of the type torch.an unknown class"),
        (tensor(storage(), (2,), (1,), function="_rebuild_tensor_v3", more=(name("torch", "float8_e5m2"), {})),
         "of the type torch.float8_e5m2, expected numbers: save tensor.float()"),
    ],
)  # fmt: skip
def test_tensors_that_cannot_be(tmp_path, part, words, legacy):
    needed = STORED if b"FloatStorage" in part else {}
    line = refusal(file_of(tmp_path, {"conv1.weight": part}, needed, legacy=legacy))
    assert words in line
    assert "conv1.weight" in line


@pytest.mark.parametrize(
    ("reference", "words", "legacy_words"),
    [
        (storage(kind="QInt32Storage"), "is of the type torch.QInt32Storage, expected numbers", None),
        (storage(kind="OtherStorage"), "has a storage of torch.OtherStorage", None),
        (encode(("storage", name("mine", "FloatStorage"), "0", "", 6)) + b"Q", "storage of mine.FloatStorage", None),
        (encode(("storage", "FloatStorage", "0", "", 6)) + b"Q", "storage of an unknown class", None),
        (storage(key=0), "has a storage without key or size", None),
        (storage(count=-6), "has a storage without key or size", None),
        (storage(count=6.0), "has a storage without key or size", None),
        (storage(count=7), "has 24 bytes, expected 28 bytes", "has 6 numbers, expected 7"),
        (storage(count=1 << 70), "has 24 bytes, expected", "has 6 numbers, expected"),
        (storage(kind="DoubleStorage"), "has 24 bytes, expected 48 bytes", "truncated or damaged"),
        (storage(key="../../etc/passwd"), "storage ../../etc/passwd, which is missing", "no tensor needs"),
        (storage(kind="UntypedStorage", count=24), "type torch.UntypedStorage, expected numbers", "has 6 numbers"),
    ],
)
def test_storages_that_cannot_be(tmp_path, reference, words, legacy_words):
    content = {"a": tensor(reference, (2,), (1,))}
    assert words in refusal(file_of(tmp_path, content))
    assert (legacy_words or words) in refusal(file_of(tmp_path, content, legacy=True))


def test_a_storage_of_bytes_that_are_no_whole_numbers(tmp_path):
    reference = storage(kind="UntypedStorage", count=23)
    part = tensor(reference, (2,), (1,), function="_rebuild_tensor_v3", more=(name("torch", "uint16"), {}))
    line = refusal(file_of(tmp_path, {"a": part}, {"0": bytes(23)}))
    assert "has a storage of 23 bytes, expected numbers of 2 bytes" in line


def test_a_storage_that_is_missing(tmp_path):
    assert "needs storage 0, which is missing, expected 24 bytes" in refusal(file_of(tmp_path, {"a": PLAIN}, {}))
    assert "needs storage 0, which is missing" in refusal(file_of(tmp_path, {"a": PLAIN}, {}, legacy=True))


def test_two_tensors_of_one_storage_and_different_types(tmp_path):
    content = {"a": PLAIN, "b": tensor(storage(kind="DoubleStorage"), (2,), (1,))}
    assert "needs storage 0, which has 24 bytes, expected 48" in refusal(file_of(tmp_path, content))
    content = {"a": tensor(storage(kind="DoubleStorage"), (2,), (1,)), "b": PLAIN}
    assert "needs storage 0, which has 24 bytes" in refusal(file_of(tmp_path, content, legacy=True))


def test_legacy_headers(tmp_path):
    for header, words in (
        ((MAGIC_NUMBER + 1, 1001, {}), "a pickle that torch.save did not write"),
        (("text", 1001, {}), "a pickle that torch.save did not write"),
        ((MAGIC_NUMBER, 1002, {}), "its version is 1002, expected 1001"),
        ((MAGIC_NUMBER, None, {}), "its version is not a number, expected 1001"),
    ):
        content = legacy_bytes(pickled({"a": PLAIN}), STORED, header=header)
        assert words in refusal(write(tmp_path / "w.pth", content))
    whole = legacy_bytes(pickled({"a": PLAIN}), STORED)
    for missing in (1, 24, 25, 32):
        line = refusal(write(tmp_path / "w.pth", whole[:-missing]))
        assert "storage 0 has" in line
        assert "truncated or damaged" in line
    twice = whole[:-32].removesuffix(pickled(["0"])) + pickled(["0", "0"]) + whole[-32:] * 2
    assert "a storage that no tensor needs" in refusal(write(tmp_path / "w.pth", twice))


def test_archives_that_cannot_be(tmp_path, monkeypatch):
    content = pickled({"a": PLAIN})

    def line(members, **options) -> str:
        return refusal(write(tmp_path / "w.pth", zip_bytes(content, STORED, members, **options)))

    assert "it has 2 files data.pkl, expected one" in line({"v/data.pkl": content})
    assert "it is a TorchScript archive: load it with torch.jit.load" in line({"w/constants.pkl": content})
    with pytest.warns(UserWarning, match="Duplicate"):
        assert "it has two files of one name" in line({"w/data.pkl": content})
    assert "is compressed with method 14" in line({}, compression=zipfile.ZIP_LZMA)
    bomb = {"w/data/1": bytes(1 << 20)}
    assert "times its own" in line(bomb, compression=zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(pytorch_file, "_MOST_PICKLE_BYTES", 50)
    assert "its data.pkl has more than 50 bytes" in line({})


def test_a_changed_byte_of_a_zip_is_noticed(tmp_path):
    whole = bytearray(zip_bytes(pickled({"a": PLAIN}), STORED))
    whole[whole.index(NUMBERS.tobytes()) + 5] ^= 1
    assert "Bad CRC-32" in refusal(write(tmp_path / "w.pth", bytes(whole)))


def test_no_folder_in_the_zip(tmp_path):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("data.pkl", pickled({}))
    assert "it has 0 files data.pkl, expected one" in refusal(write(tmp_path / "w.pth", stream.getvalue()))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("key", ["state_dict", "model", "net"])
def test_a_state_dict_that_contains_itself(tmp_path, key, legacy):
    content = b"}q\x00" + encode(key) + b"h\x00s"
    line = refusal(file_of(tmp_path, content, {}, legacy=legacy))
    assert f"'{key}' is nested more than 8 levels deep or contains itself" in line
    found = file_of(tmp_path, {"a": PLAIN, "b": content}, legacy=legacy)  # it may elsewhere
    assert list(read_weights(found)) == ["a"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (call("argparse", "Namespace"), "found an object of the class argparse.Namespace, expected a state_dict: if"),
        (call("copyreg", "_reconstructor", name("mine", "Net"), name("builtins", "object"), None), "class mine.Net,"),
        ({"epoch": 3, "model": call("ultralytics.nn", "Model")}, "'model' is an object of the class ultralytics.nn.Mo"),
        ({"epoch": 3, "ema": call("a\x1b[31m", "b\u202e")}, r"class a\x1b[31m.b\u202e, expected"),
        ({"epoch": 3}, "found no tensors"),
        ({"state_dict": {}, "args": call("argparse", "Namespace")}, "found no tensors"),
        (name("mine", "Net"), "found the class or function mine.Net, expected a state_dict"),
        ([PLAIN], "found a list, expected a state_dict"),
        (PLAIN, "found a Tensor, expected a state_dict"),
        (storage(), "found a reference to something outside of the pickle"),
        (1 << 70, "found an integer of more than 64 bits"),
    ],
)  # fmt: skip
def test_no_state_dict(tmp_path, content, words):
    line = refusal(file_of(tmp_path, content))
    assert words in line
    if "object" in words:
        assert "torch.save(network.state_dict(), 'weights.pth')" in line


def test_objects_beside_the_tensors_are_skipped(tmp_path):
    history = call("mmengine.logging.history_buffer", "HistoryBuffer", 1) + encode({"a": name("os", "system")}) + b"b"
    content = {"message_hub": {"log_scalars": {"lr": history}}, "args": call("argparse", "Namespace"),
               "state_dict": {"a": PLAIN, "more": call("mine", "State"), "text": "b", "number": 3}}  # fmt: skip
    assert list(read_weights(file_of(tmp_path, content))) == ["a"]


def test_a_dictionary_of_a_class_of_its_own(tmp_path):
    state_dict = call("mine", "StateDict") + encode("a") + PLAIN + b"s"
    assert list(read_weights(file_of(tmp_path, {"state_dict": state_dict}))) == ["a"]


def test_names_and_their_number_have_limits(tmp_path, monkeypatch):
    assert "has 501 characters, expected at most 500" in refusal(file_of(tmp_path, {"x" * 501: PLAIN}))
    assert list(read_weights(file_of(tmp_path, {"x" * 500: PLAIN})))
    monkeypatch.setattr(files, "_MOST_TENSORS", 2)
    assert "holds more than 2 tensors" in refusal(file_of(tmp_path, {"a": PLAIN, "b": PLAIN, "c": PLAIN}))


def test_many_tensors_of_one_storage_do_not_fill_the_memory(tmp_path):
    numbers = np.ones(1 << 16, np.float32)
    content = {f"t{index}": of_array(numbers) for index in range(20)}
    path = file_of(tmp_path, content, {"0": numbers.tobytes()})
    assert "its tensors have 5242880 bytes, more than" in refusal(path)
    half = {f"t{index}": part for index, part in enumerate(list(content.values())[:12])}  # 12 tied tensors are read
    assert len(read_weights(file_of(tmp_path, half, {"0": numbers.tobytes()}))) == 12


@pytest.mark.parametrize("legacy", [False, True])
def test_meta(tmp_path, legacy):
    scalar = call("numpy.core.multiarray", "scalar", call("numpy", "dtype", "f8", False, True),
                  call("_codecs", "encode", np.float64(2.5).tobytes().decode("latin1"), "latin1"))  # fmt: skip
    complex_scalar = call("numpy.core.multiarray", "scalar", call("numpy", "dtype", "c16", False, True), "x" * 16)
    meta = {"cfg": "norm = dict(type='BN')", "CLASSES": ("a", "b"), "PALETTE": [[1, 2, 3]], "best": scalar,
            "none": None, "complex": complex_scalar, "huge": 1 << 80, "time": call("datetime", "date", 1)}  # fmt: skip
    config = call("mmengine.config", "ConfigDict") + encode("depth") + encode(50) + b"s"
    content = {"meta": meta, "state_dict": {"a": PLAIN, "epoch": 7}, "args": call("argparse", "Namespace"), "lr": 0.5,
               "on": True, "config": config, "list": [1, PLAIN, "x"]}  # fmt: skip
    assert read_meta(file_of(tmp_path, content, legacy=legacy)) == {
        "meta": {"cfg": "norm = dict(type='BN')", "CLASSES": ["a", "b"], "PALETTE": [[1, 2, 3]], "best": 2.5},
        "state_dict": {"epoch": 7}, "lr": 0.5, "on": True, "config": {"depth": 50}, "list": [1, None, "x"],
    }  # fmt: skip


def test_meta_of_files_without(tmp_path):
    np.save(tmp_path / "w.npy", {"a": np.ones(2), "b": "text"}, allow_pickle=True)
    assert read_meta(str(tmp_path / "w.npy")) == {}
    assert read_meta(file_of(tmp_path, [1, 2])) == {}
    assert read_meta(file_of(tmp_path, {"a": PLAIN})) == {}
    with pytest.raises(WeightFileError, match="absent.pth: the file does not exist"):
        read_meta(str(tmp_path / "absent.pth"))


def test_meta_in_itself(tmp_path):
    found = read_meta(file_of(tmp_path, b"}q\x00(" + encode("a") + encode(1) + encode("meta") + b"h\x00u"))
    assert found["meta"]["meta"]["a"] == 1
    levels = 0
    while found:
        found, levels = found.get("meta"), levels + 1
    assert levels == 32


def test_meta_of_repeated_lists(tmp_path):
    repeated = b"K\x01" + b"2\x86" * 60  # pairs of equal pairs
    assert read_meta(file_of(tmp_path, {"a": repeated, "meta": {"cfg": "b"}})) == {}


def test_averaged_weights_are_read_if_there_are_no_others(tmp_path, caplog):
    other = tensor(storage(), (6,), (1,))
    with caplog.at_level("INFO"):
        assert read_weights(file_of(tmp_path, {"state_dict_ema": {"a": PLAIN}}))["a"].shape == (2, 3)
        assert read_weights(file_of(tmp_path, {"model_ema": {"a": PLAIN}, "model": {"a": other}}))["a"].shape == (6,)
    assert "reading 'model' of model, model_ema" in caplog.text


def test_tensors_in_dictionaries_and_lists_of_a_state_dict_are_not_dropped(tmp_path):
    """They may belong to layers: names that no layout knows stop the conversion."""
    inner = {"conv": {"weight": PLAIN}, "more": [1, PLAIN]}
    found = read_weights(file_of(tmp_path, {"optimizer": {"m": PLAIN}, "state_dict": {"a": PLAIN, "head": inner}}))
    assert list(found) == ["a", "head/conv/weight", "head/more/1"]


def test_arrays_of_numpy_in_a_state_dict_are_not_dropped(tmp_path):
    array = pickle.dumps(np.arange(3.0), 2)[2:-1]
    found = read_weights(file_of(tmp_path, {"a": PLAIN, "se.weight": array}))
    np.testing.assert_array_equal(found["se.weight"], np.arange(3, dtype=np.float32), strict=True)
    objects = pickle.dumps(np.array([{}, None]), 2)[2:-1]
    assert "'se.weight' is an array of objects, expected numbers" in refusal(file_of(tmp_path, {"se.weight": objects}))


def test_many_tensors_in_lists_that_contain_each_other(tmp_path):
    content = {"a": PLAIN, "b": b"]q\x07(" + b"h\x07" * 1000 + encode({"c": PLAIN}) + b"e"}
    assert list(read_weights(file_of(tmp_path, content))) == ["a", "b/1000/c"]
