"""Pickles as inert values: every protocol is understood, nothing is called, and what is damaged or endless ends."""

from __future__ import annotations

import argparse
import collections
import io
import os
import pickle
import pickletools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools.convert.pytorch_files import call, name, pickled
from tools.convert import inert_pickle
from tools.convert.inert_pickle import load_pickle
from tools.convert.inert_values import Made, Name, shown
from tools.errors import NpyDictionaryError, PickleError


def load(content: bytes, most_bytes: int = 1 << 20):
    return load_pickle(io.BytesIO(content), most_bytes).value


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(), inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(), inner).map(collections.OrderedDict)
    ),
    max_leaves=30,
)


@settings(deadline=None)
@given(value=VALUES, protocol=st.integers(0, 5))
def test_plain_values_are_those_of_pickle(value, protocol):
    content = pickle.dumps(value, protocol)
    assert load(content) == pickle.loads(content)


@settings(deadline=None)
@given(value=st.binary(), protocol=st.integers(3, 5))
def test_bytes_are_those_of_pickle(value, protocol):
    assert load(pickle.dumps([value, bytearray(value)], protocol))[0] == value


def test_text_and_objects_of_python_2():
    assert load(b"(dp0\nS'a\\xff'\np1\nI5\nsS'b'\nL7L\nsS\"it's\"\nF1.5\ns.") == {"a\xff": 5, "b": 7, "it's": 1.5}
    assert load(b"ccollections\nOrderedDict\n((lp0\n(lp1\nS'a'\naI1\naatR.") == {"a": 1}
    made = load(b"(I1\nimodule\nClass\n.")
    assert (made.by, made.arguments) == (Name("module", "Class"), (1,))
    made = load(b"(cmodule\nClass\nI1\no.")
    assert (made.class_name, made.arguments) == ("module.Class", (1,))


@pytest.mark.parametrize("protocol", range(6))
def test_objects_are_recorded_and_not_made(tmp_path, protocol):
    class Calls:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was here"),)

    found = load(pickle.dumps({"a": argparse.Namespace(x=1), "b": Calls(), "c": {1, 2}, "d": os.getcwd}, protocol))
    assert found["a"].class_name == "argparse.Namespace"
    assert found["a"].state == {"x": 1}
    assert (found["b"].class_name, found["b"].arguments) == ("posix.mkdir", (str(tmp_path / "was here"),))
    assert isinstance(found["c"], Made)
    assert found["d"] == Name("posix", "getcwd")
    assert not (tmp_path / "was here").exists()


def test_no_class_is_imported():
    assert load(pickled(name("not.there", "Class"))) == Name("not.there", "Class")


def test_entries_of_objects_and_of_dictionaries_with_a_default():
    found = load(pickle.dumps(collections.defaultdict(list, a=1)))
    assert found == {"a": 1}
    found = load(pickle.dumps(collections.Counter("aab"), 2))
    assert isinstance(found, Made)
    made = load(pickled(call("addict", "Dict") + b"X\x01\x00\x00\x00aK\x05s"))
    assert (made.class_name, made.items) == ("addict.Dict", {"a": 5})


def test_keys_that_are_not_text():
    found = load(pickle.dumps({"a": 1, 2: "b", (1, 2): 3, None: 4, 1 << 70: 5, b"c": 6, True: 7}, 4))
    assert found == {"a": 1}
    assert found.has_other_keys
    assert not load(pickle.dumps({"a": 1})).has_other_keys


def test_a_key_nested_so_deeply_that_hashing_it_would_end_the_process():
    assert load(b"\x80\x02})" + b"\x85" * 500_000 + b"K\x01s.") == {}


def test_values_that_contain_themselves():
    values: list = []
    values.append(values)
    found = load(pickle.dumps(values))
    assert found[0] is found


def test_a_name_may_be_refused():
    def check(module: str, name: str) -> None:
        raise NpyDictionaryError(f"asks for {module}.{name}")

    with pytest.raises(NpyDictionaryError, match="asks for os.getcwd"):
        load_pickle(io.BytesIO(pickled(name("os", "getcwd"))), 100, check)


def test_what_follows_stays_in_the_file():
    file = io.BytesIO(pickle.dumps([1]) + pickle.dumps("b") + b"more")
    assert [load_pickle(file, 100).value for _ in range(2)] == [[1], "b"]
    assert file.read() == b"more"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "truncated"),
        (b"\x80\x02", "truncated"),
        (b"\x80\x02K", "damaged"),
        (b"\x80\x02\x82\x01.", r"operation b'\\x82'"),  # of copyreg's registry
        (b"\x97.", r"operation b'\\x97'"),
        (b".", "damaged"),
        (b"t.", "damaged"),
        (b"\x85.", "takes more values than it has"),
        (b"h\x05.", "damaged"),
        (b"Nr\xff\xff\xff\x7f.", "part 1 has the number 2147483647"),
        (b"Np-1\n.", "part 1 has the number -1"),
        (b"NNa.", "appends to what is no list"),
        (b"]NNs.", "sets entries of what is no dictionary"),
        (b"}(Nu.", "sets entries of what is no dictionary"),
        (b"NNR.", "arguments of a call are not a tuple"),
        (b"NN\x93.", "a name is not text"),
        (b"cos\ngetcwd", "truncated"),
        (b"cos\ngetcwd\nNb.", "gives a function a state"),
        (b"NNb.", "gives a value a state"),
        (pickled(call("collections", "OrderedDict", [1])), "an entry of a dictionary is no pair"),
        (b"\x8e" + b"\xff" * 7 + b"\x00.", "truncated, damaged, or longer than"),
        (b"L" + b"9" * 5000 + b"L\n.", "damaged"),
        (b"X\x02\x00\x00\x00\xff\xff.", "damaged"),
        (b"Fx\x1b[31m\n.", r"damaged \(could not convert string to float: b?'x\\+x1b"),
    ],
)  # fmt: skip
def test_damaged_pickles(content, words):
    with pytest.raises(PickleError, match=words) as caught:
        load(content)
    assert str(caught.value).isprintable()


def test_operations_are_counted():
    pickle_of_one = load_pickle(io.BytesIO(b"\x80\x02K\x01."), 100)
    assert (pickle_of_one.value, pickle_of_one.operations, pickle_of_one.most_values) == (1, 2, 10_020)


def test_limits(monkeypatch):
    with pytest.raises(PickleError, match="longer than 100 bytes"):
        load(pickle.dumps("x" * 200), most_bytes=100)
    with pytest.raises(PickleError, match="longer than 100 bytes"):
        load(b"S'" + b"x" * 200 + b"'\n.", most_bytes=100)
    monkeypatch.setattr(inert_pickle, "MOST_OPERATIONS", 50)
    with pytest.raises(PickleError, match="more than 50 operations"):
        load(pickle.dumps(list(range(100))))


def test_every_operation_but_those_of_buffers_and_the_registry_is_known():
    known = {pickletools.code2op[code.decode("latin-1")].name for code in inert_pickle._OPERATIONS}
    assert {opcode.name for opcode in pickletools.opcodes} - known == {
        "STOP", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER",
    }  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_random_damage_ends_in_a_value_or_one_line(data):
    content = bytearray(pickle.dumps({"a": [1, (2.5, "b")], "c": np.ones(3), "d": argparse.Namespace(e=1)}, 2))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        load(bytes(content))
    except PickleError as error:
        assert str(error).isprintable()  # noqa: PT017


def test_shown():
    assert shown("plain ö") == "plain ö"
    assert shown("a\x1b[31m\n\u202eb\ud800") == "a\\x1b[31m\\n\\u202eb\\ud800"
    assert len(shown("x" * 1000)) < 110
