"""Every tensor of a file counts: those that no layer takes, and values that no network computes with."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.tools.source_weights import (
    csail_c1_weights,
    csail_upernet_weights,
    semseg_weights,
    smp_weights,
    torchvision_weights,
)
from tools.convert.checkpoint import _build
from tools.convert.conversion import convert, examine, refuse_unknown
from tools.convert.layouts import WEIGHT_MAPS
from tools.errors import ConversionError

pytestmark = pytest.mark.usefixtures("narrow_resnet")

NETWORK = "resnet_v1_18"


def test_what_is_left_is_named_with_the_reason():
    source = examine(torchvision_weights(), WEIGHT_MAPS["torchvision"])
    conversion = convert(source, {f"{NETWORK}/conv1/weights": (7, 7, 3, 64)})
    assert conversion.left["fc.bias"] == "the classifier of ImageNet's classes"
    assert conversion.left["bn1.num_batches_tracked"] == "PyTorch's count of training batches"
    assert conversion.left["layer1.0.conv1.weight"] == "this network has no such layer"
    assert "conv1.weight" not in conversion.left
    assert list(conversion.left) == sorted(conversion.left)


@functools.cache
def shapes_of(layout):
    """The shapes of all variables of the network that the tests' weights of a layout are of."""
    with tf.Graph().as_default():
        source = examine(SOURCES[layout](), WEIGHT_MAPS[layout])
        return {variable.op.name: variable.shape.as_list() for variable in _build(source)}


def left_after_all(weights, layout):
    """Converts all variables and returns the reasons for the tensors that are left."""
    source = examine(weights, WEIGHT_MAPS[layout])
    conversion = convert(source, shapes_of(layout))
    refuse_unknown(conversion, source)
    return conversion.left


def encoder_weights():
    """CSAILVision's encoder alone."""
    return {name: array for name, array in csail_c1_weights().items() if not name.startswith(("cbr", "conv_last"))}


SOURCES = {
    "torchvision": torchvision_weights,
    "semseg": semseg_weights,
    "csail_c1": csail_c1_weights,
    "csail_upernet": csail_upernet_weights,
    "semseg_resnet": encoder_weights,
    "smp": smp_weights,
}
ANY_NAME = st.from_regex(r"[a-z]{1,8}(\.[a-z0-9_]{1,8}){0,3}", fullmatch=True)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(list(SOURCES)), ANY_NAME, st.integers(1, 4))
def test_a_tensor_that_no_layer_takes(layout, name, count):
    weights = SOURCES[layout]()
    more = {f"{name}{number}": np.zeros(3, np.float32) for number in range(count)}
    assume(not more.keys() & weights.keys() and not name.startswith("fc."))
    others = f" and {count - 1} more" if count > 1 else ""
    total = len(weights) + count
    with pytest.raises(ConversionError, match=rf"^'{name}0'{others} of {total} tensors belong to no layer of .*--skip"):
        left_after_all({**weights, **more}, layout)


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("torchvision", "fc.weight"),
        ("csail_c1", "fc.weight"),
        ("csail_c1", "bn1._tmp_running_mean"),
        ("csail_upernet", "fpn_in.0.1._tmp_running_var"),
        ("csail_c1", "cbr.1._running_iter"),
        ("semseg", "cls.1.num_batches_tracked"),
        ("smp", "encoder.layer3.0.conv1.weight"),
        ("smp", "classification_head.3.weight"),
    ],
)
def test_harmless_tensors(layout, name):
    assert name in left_after_all({**SOURCES[layout](), name: np.ones(3, np.float32)}, layout)


def test_heads_on_a_named_layout_without_heads():
    """Taken for its ResNet alone before."""
    with pytest.raises(ConversionError, match=r"^'cbr.0.weight' and 13 more of \d+ tensors belong to no layer"):
        left_after_all(csail_c1_weights(), "semseg_resnet")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layout", SOURCES)
def test_not_finite_anywhere(layout, bad):
    """Also where no layer takes it: the training diverged, or the file is damaged."""
    sound = {**SOURCES[layout](), "more.weight": np.ones((2, 3), np.float32)}
    source = examine(sound, WEIGHT_MAPS[layout])
    shapes = shapes_of(layout)
    for name, array in sound.items():
        if array.dtype.kind == "f":
            weights = {**sound, name: array.copy()}
            weights[name].flat[-1] = bad
            with pytest.raises(ConversionError, match=f"'{name}' has 1 bad value of {array.size} .*finite"):
                convert(replace(source, weights=weights), shapes)


@pytest.mark.parametrize("value", [-1e-6, -1])
@pytest.mark.parametrize("layout", SOURCES)
def test_negative_variances_anywhere(layout, value):
    sound = SOURCES[layout]()
    source = examine(sound, WEIGHT_MAPS[layout])
    shapes = shapes_of(layout)
    for name, array in [*sound.items(), ("other.running_var", np.ones(4, np.float32))]:
        if name.endswith("running_var"):
            weights = {**sound, name: array.copy()}
            weights[name][0] = value
            with pytest.raises(ConversionError, match=f"'{name}' has 1 bad value .*expected variances of 0"):
                convert(replace(source, weights=weights), shapes)
