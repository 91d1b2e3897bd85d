"""Dictionaries in .npy files: read as NumPy wrote them, and nothing else is done that a file says."""

from __future__ import annotations

import collections
import decimal
import io
import os
import pickle
import subprocess

import numpy as np
import pytest
from numpy.lib import format as npy_format

from tools.convert.npy_dictionary import read_npy_dictionary
from tools.errors import NpyDictionaryError

CONTENT = {
    "conv1": {"weights": np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4), "biases": np.ones(4)},
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "big_endian": np.arange(3, dtype=">i2"),
    "half": np.array([0.5, -2], np.float16),
    "flags": np.array([True, False]),
    "scalar": np.float64(2.5),
    "list": [1, 2.5, "text", [np.zeros(2, np.uint8)]],
}


def npy_file(path, content, protocol=4) -> str:
    """Writes a .npy file with the pickle of anything after its header."""
    array = np.empty((), dtype=object)
    array[()] = content
    stream = io.BytesIO()
    npy_format.write_array_header_1_0(stream, npy_format.header_data_from_array_1_0(array))
    stream.write(pickle.dumps(array, protocol))
    path.write_bytes(stream.getvalue())
    return str(path)


def with_pickle(path, pickled: bytes) -> str:
    """Writes a .npy file with these bytes after its header."""
    stream = io.BytesIO()
    header = npy_format.header_data_from_array_1_0(np.empty((), dtype=object))
    npy_format.write_array_header_1_0(stream, header)
    path.write_bytes(stream.getvalue() + pickled)
    return str(path)


def assert_same(found, expected):
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_same(found[key], value)
    elif isinstance(expected, list):
        assert isinstance(found, list)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    else:
        assert found == expected


def test_what_numpy_saved(tmp_path):
    np.save(tmp_path / "weights.npy", CONTENT, allow_pickle=True)
    assert_same(read_npy_dictionary(str(tmp_path / "weights.npy")), CONTENT)


@pytest.mark.parametrize("protocol", range(5))
def test_every_protocol_of_numpy(tmp_path, protocol):
    assert_same(read_npy_dictionary(npy_file(tmp_path / "w.npy", CONTENT, protocol)), CONTENT)


def test_ordered_dictionary(tmp_path):
    content = collections.OrderedDict(b=np.ones(2), a=collections.OrderedDict(c=np.zeros(1)))
    found = read_npy_dictionary(npy_file(tmp_path / "w.npy", content))
    assert_same(found, {"b": np.ones(2), "a": {"c": np.zeros(1)}})


def test_python_2(tmp_path):
    """As Python 2 with NumPy 1 wrote {'conv': {'biases': float32 [1, 2]}} with protocol 2."""
    raw = np.array([1, 2], "<f4").tobytes()
    reconstruct = b"cnumpy.core.multiarray\n_reconstruct\n"
    begin = reconstruct + b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R("
    dtype = b"cnumpy\ndtype\nU\x02%sK\x00K\x01\x87R(K\x03U\x01%sNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    inner = begin + b"K\x01K\x02\x85" + dtype % (b"f4", b"<") + b"\x89U" + bytes([len(raw)]) + raw + b"tb"
    content = b"}U\x04conv}U\x06biases" + inner + b"ss"
    outer = begin + b"K\x01)" + dtype % (b"O8", b"|") + b"\x89]" + content + b"atb"
    path = with_pickle(tmp_path / "w.npy", b"\x80\x02" + outer + b".")
    assert_same(read_npy_dictionary(path), {"conv": {"biases": np.array([1, 2], np.float32)}})


class _Calls:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call


class _WithState:
    """Pickles as an object of its class, with a state."""

    def __init__(self):
        self.value = 1


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("place", ["value", "in an array", "instead of the dictionary", "as a key"])
def test_call_is_refused_and_not_made(tmp_path, protocol, place):
    mark = tmp_path / "was here"
    call = _Calls(os.mkdir, str(mark))
    content = {
        "value": {"weights": call},
        "in an array": {"weights": np.array([call, None], dtype=object)},
        "instead of the dictionary": call,
        "as a key": {call: 1},
    }[place]
    path = npy_file(tmp_path / "w.npy", content, protocol)
    with pytest.raises(NpyDictionaryError, match=r"w.npy: asks for \w+.mkdir, but only arrays, dictionaries"):
        read_npy_dictionary(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "value",
    [
        _Calls(eval, "1"),
        _Calls(subprocess.run, ["true"]),
        _Calls(getattr, "text", "upper"),
        _Calls(np.load, "w.npy"),
        _Calls(np.frombuffer, b"1234"),
        os.system,
        np.sum,
        _WithState,
        _WithState(),
        np.float32,
        np.ma.masked_array([1.0], [True]),
        decimal.Decimal(1),
        range(3),
        {1, 2},
        bytearray(b"ab"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_classes_and_functions(tmp_path, value):
    path = npy_file(tmp_path / "w.npy", {"weights": np.ones(2), "more": value})
    with pytest.raises(NpyDictionaryError, match="asks for|holds a"):
        read_npy_dictionary(path)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "holds a NoneType, expected arrays"),
        ((1, 2), "holds a tuple, expected arrays"),
        (b"ab", "holds a bytes, expected arrays"),
        (1j, "asks for builtins.complex"),
        (np.array(["a", "b"]), "holds an array of type 'U1', expected numbers"),
        (np.array([1], "M8[s]"), "holds an array of type 'M8', expected numbers"),
        (np.array([1j]), "holds an array of type 'c16', expected numbers"),
        (np.zeros(1, [("a", "f4")]), "holds an array of type 'V4', expected numbers"),
        ({1: 2}, "holds a dictionary whose keys are not strings"),
        (np.array([1, None], dtype=object), "holds a NoneType"),
    ],
    ids=str,
)
def test_other_values(tmp_path, value, words):
    path = npy_file(tmp_path / "w.npy", {"weights": value})
    with pytest.raises(NpyDictionaryError) as caught:
        read_npy_dictionary(path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(path)


_RECONSTRUCT = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n"
_TYPE = b"\x80\x02cnumpy\ndtype\n"


@pytest.mark.parametrize(
    ("pickled", "words"),
    [
        (_RECONSTRUCT + b"}U\x0c__setstate__K\x01sb.", "gives a function a state"),
        (_RECONSTRUCT + b"N}U\x07__doc__K\x01s\x86b.", "gives a function a state"),
        (_RECONSTRUCT + b".", "holds the class or function numpy.core.multiarray._reconstruct"),
        (_RECONSTRUCT + b")\x81.", "holds an array without numbers"),  # an object of a function
        (_RECONSTRUCT + b")R.", "holds an array without numbers"),  # an array that is never filled
        (_TYPE + b"K\x01\x85R.", "holds an array of type 1"),
        (_TYPE + b"U\x02f4\x85R(K\x03U\x01?tb.", "byte order '?'"),
        (b"\x80\x02c_codecs\nencode\nU\x01aU\x04utf8\x86R.", "encodes a str as 'utf8'"),
        (b"\x80\x02]\x94h\x00a.", "nested more than 100 levels deep"),  # a list in itself
        (b"\x80\x02U\x01aQ.", "holds a reference to something outside of the pickle"),
    ],
)
def test_crafted_pickles(tmp_path, pickled, words):
    path = with_pickle(tmp_path / "w.npy", pickled)
    with pytest.raises(NpyDictionaryError) as caught:
        read_npy_dictionary(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_objects_cannot_be_made_of_bytes(tmp_path):
    """An array of objects over raw bytes would make pointers of them."""
    begin = _RECONSTRUCT + b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R("
    dtype = b"cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    state = b"K\x01K\x01\x85" + dtype + b"\x89U\x08AAAAAAAAtb."
    with pytest.raises(NpyDictionaryError):
        read_npy_dictionary(with_pickle(tmp_path / "w.npy", begin + state))
    scalar = b"\x80\x02cnumpy.core.multiarray\nscalar\n" + dtype + b"U\x08AAAAAAAA\x86R."
    with pytest.raises(NpyDictionaryError, match="holds objects in the place of numbers"):
        read_npy_dictionary(with_pickle(tmp_path / "w.npy", scalar))


@pytest.mark.parametrize("content", [b"", b"not a .npy file", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x09\x00" + b"0" * 200])
def test_no_npy_file(tmp_path, content):
    (tmp_path / "w.npy").write_bytes(content)
    with pytest.raises(NpyDictionaryError) as caught:
        read_npy_dictionary(str(tmp_path / "w.npy"))
    assert str(caught.value).startswith(f"{tmp_path / 'w.npy'}: ")
    assert "\n" not in str(caught.value)


def test_future_format(tmp_path):
    np.save(tmp_path / "w.npy", CONTENT, allow_pickle=True)
    content = bytearray((tmp_path / "w.npy").read_bytes())
    content[6] = 3
    (tmp_path / "w.npy").write_bytes(content)
    with pytest.raises(NpyDictionaryError, match=r".npy format \(3, 0\), expected 1.0 or 2.0"):
        read_npy_dictionary(str(tmp_path / "w.npy"))


def test_truncated_file(tmp_path):
    path = npy_file(tmp_path / "w.npy", CONTENT)
    os.truncate(path, os.path.getsize(path) // 2)
    with pytest.raises(NpyDictionaryError, match="w.npy: the pickle is damaged .*expected 32 bytes"):
        read_npy_dictionary(path)


def test_array_of_numbers(tmp_path):
    np.save(tmp_path / "w.npy", np.ones(3, np.float32))
    with pytest.raises(NpyDictionaryError, match="holds an array of float32, expected a dictionary of arrays"):
        read_npy_dictionary(str(tmp_path / "w.npy"))


@pytest.mark.parametrize(("content", "kind"), [([1, 2], "a list"), ("text", "a str"), (3, "an int")])
def test_no_dictionary(tmp_path, content, kind):
    with pytest.raises(NpyDictionaryError, match=f"holds {kind}, expected a dictionary of arrays"):
        read_npy_dictionary(npy_file(tmp_path / "w.npy", content))


@pytest.mark.parametrize("pickled", [b"\x80\x02}r\xff\xff\xff\x7f.", b"}p99999999999\n."])
def test_a_wrong_number_of_a_part_takes_no_memory(tmp_path, pickled):
    with pytest.raises(NpyDictionaryError, match="w.npy: the pickle is damaged, as its part . has the number"):
        read_npy_dictionary(with_pickle(tmp_path / "w.npy", pickled))


def test_hundreds_of_parts_under_python_2(tmp_path):
    content = {f"layer_{index}": {"weights": np.full(2, index, np.float32)} for index in range(300)}
    assert_same(read_npy_dictionary(npy_file(tmp_path / "w.npy", content, protocol=2)), content)
