"""Configurations of mmsegmentation are read, and nothing in them is run."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.security.canary import Canary
from tools.convert.config_text import read_config_text
from tools.errors import ConfigTextError


def test_what_mmcv_and_mmengine_write():
    """Python runs the same text; `dict({...})` is how they write keys that are not names."""
    text = """
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    type='EncoderDecoder',
    backbone=dict(depth=50, dilations=(1, 1, 2, 4), norm_cfg=norm_cfg),
    decode_head=dict(align_corners=False, ignore=-1, weights=[0.5, -1e-3], none=None, one=(1, )),
    names=dict({'a b': 1, 2: 'two'}, c={'d': dict()}))
crop_size = other = (769, 769)
log_level = 'INFO' 'S'
"""
    expected: dict = {}
    exec(text, {}, expected)
    assert read_config_text(text) == expected


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


@given(PLAIN)
def test_literals(value):
    assert read_config_text(f"a = {value!r}") == {"a": ast.literal_eval(repr(value))}


@pytest.mark.parametrize(
    "value",
    ["f(1)", "a.b", "1 + 1", "[x for x in (1,)]", "dict(**{})", "dict([(1, 2)])", "unknown", "lambda: 1", "f'{1}'",
     "b'bytes'", "1j", "...", "-'a'", "-True", "{**{}}", "{(1,): 2}", "{None: 1}", "dict(a=open)", "(1, *(2,))",
     "-" * 70 + "1", "'a' % ()"],
)  # fmt: skip
def test_anything_else_is_left_out(value):
    assert read_config_text(f"before = 1\nit = {value}\nafter = [2]") == {"before": 1, "after": [2]}


def test_a_name_whose_last_value_cannot_be_read_has_none():
    assert read_config_text("a = 1\na = f()\nb = 2") == {"b": 2}
    assert read_config_text('"""Text."""\na = 1\na = 2') == {"a": 2}


@pytest.mark.parametrize(
    "statement",
    ["a['b'] = 2", "a.b = 2", "a |= c", "a.update(c)", "del a", "del a['b']", "a: dict = c", "if True:\n    a = c",
     "a, d = 1, 2", "for a in ():\n    pass", "def a(): pass", "class a: pass", "import os as a",
     "from os import *", "d = a.pop('b')", "d = [a.pop(x) for x in c]", "d = (a := c)", "d = e = f(a)"],
)  # fmt: skip
def test_a_text_that_may_change_what_it_assigned_is_not_read(statement):
    with pytest.raises(ConfigTextError, match="^has "):
        read_config_text(f"c = dict()\na = dict(b=1)\n{statement}")


@pytest.mark.parametrize(
    "text",
    ["a = (", "a = " + "9" * 5000, "a = " + "(" * 500 + ")" * 500, "a = " + "-" * 100_000 + "1", "a = 1\0",
     "a = " + "x." * 100_000 + "x"],
    ids=["cut off", "digits", "brackets", "signs", "zero byte", "attributes"],
)  # fmt: skip
def test_what_is_not_python_for_its_parser(text):
    try:
        assert read_config_text(text) == {}
    except ConfigTextError as error:
        assert str(error) == "is not Python"  # noqa: PT017


def test_long_texts():
    with pytest.raises(ConfigTextError, match="has 262145 characters, expected at most 262144"):
        read_config_text("#" * 262_145)
    assert read_config_text("a = 1\n" + "#" * 262_138) == {"a": 1}


def test_nothing_is_run(tmp_path):
    canary = Canary(tmp_path)
    text = f"a = {canary.expression}\nb = dict(c={canary.expression})\nd = 1"
    assert read_config_text(text) == {"d": 1}
    with pytest.raises(ConfigTextError, match="has the statement Expr, expected assignments to names"):
        read_config_text(f"{text}\n{canary.expression}")
    assert not canary.sang()


def test_values_in_each_other():
    """Python shares them; 2 to the power of 60 elements would fill no memory."""
    lines = ["a0 = [1, 1]", *(f"a{number} = [a{number - 1}, a{number - 1}]" for number in range(1, 60))]
    assert len(read_config_text("\n".join(lines))) == 60
