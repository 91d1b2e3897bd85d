"""Prefixes that other programs add to all names are removed where the rest is known."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tools.source_weights import semseg_weights, smp_weights, torchvision_weights
from tools.convert.conversion import recognize
from tools.convert.layouts import WEIGHT_MAPS
from tools.convert.prefixes import identify
from tools.errors import ConversionError

RESNET = torchvision_weights()


def prefixed(prefix, weights=RESNET):
    return {prefix + name: array for name, array in weights.items()}


@pytest.mark.parametrize(
    "prefix",
    ["backbone.", "encoder_q.", "model.", "encoder.", "_orig_mod.", "module.encoder_q.", "model.backbone.",
     "module.model.encoder."],
)  # fmt: skip
def test_prefixes(caplog, prefix):
    caplog.set_level("INFO")
    weights, weight_map = identify(prefixed(prefix), None)
    assert weights.keys() == RESNET.keys()
    assert all(weights[name] is RESNET[name] for name in RESNET)
    assert weight_map.project == "torchvision's ResNet"
    assert caplog.messages == [f"removed the prefix '{prefix}' from {len(RESNET)} of {len(RESNET)} names"]


@pytest.mark.parametrize(
    ("prefix", "others", "reason"),
    [
        ("encoder_q.", prefixed("encoder_k."), "MoCo's momentum encoder"),
        ("encoder_q.", {"queue": np.ones((2, 3)), "queue_ptr": np.zeros(1)}, "MoCo's queue of features"),
        ("backbone.", {"head.fc.weight": np.ones((2, 3))}, "the classifier of a classification network"),
    ],
)
def test_what_is_beside_the_prefix(prefix, others, reason):
    weights, weight_map = identify({**prefixed(prefix), **others}, None)
    assert weights.keys() == RESNET.keys() | others.keys()
    assert [weight_map.left[pattern] for pattern in weight_map.left if pattern not in WEIGHT_MAPS["torchvision"].left]
    assert reason in weight_map.left.values()


def test_names_without_prefix_are_left_as_they_are(caplog):
    caplog.set_level("INFO")
    weights, weight_map = identify(semseg_weights(), None)
    assert weights.keys() == semseg_weights().keys()
    assert weight_map == WEIGHT_MAPS["semseg"]
    assert not caplog.messages


def test_a_layout_that_has_the_prefix_itself():
    names = ["backbone.stem.0.weight", "decode_head.psp_modules.0.1.conv.weight"]
    weights, weight_map = identify(dict.fromkeys(names), None)
    assert (list(weights), weight_map) == (names, WEIGHT_MAPS["mmseg"])
    weights, weight_map = identify(prefixed("model.", dict.fromkeys(names)), None)
    assert (list(weights), weight_map.project) == (names, WEIGHT_MAPS["mmseg"].project)


def test_names_that_would_become_equal():
    weights = {**prefixed("encoder."), "fc.weight": np.ones(1)}
    with pytest.raises(ConversionError, match="match no known layout"):
        identify(weights, None)


def test_unknown_names():
    with pytest.raises(ConversionError, match="2 tensors .* match no known layout"):
        identify({"model.a": np.ones(1), "backbone.b": np.ones(1)}, None)


def test_a_given_layout():
    weights, weight_map = identify(prefixed("backbone."), "torchvision")
    assert weights.keys() == RESNET.keys()
    assert weight_map.project == recognize(RESNET).project
    weights, weight_map = identify(prefixed("backbone."), "semseg")  # it says what is missing
    assert weights.keys() == prefixed("backbone.").keys()
    assert weight_map == WEIGHT_MAPS["semseg"]


def test_skipped_names_do_not_count():
    """Without those of its decoder, the encoder of segmentation_models.pytorch is torchvision's with a prefix."""
    weights = smp_weights()
    assert identify(weights, None)[1] == WEIGHT_MAPS["smp"]
    found, weight_map = identify(weights, None, r"(decoder|\w+_head)\..*")
    assert weight_map.project == "torchvision's ResNet"
    assert {"conv1.weight", "decoder.conv.0.weight"} < found.keys()
