"""A pruned network computes what the whole one does with the removed filters at zero."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import choices, pspnet_mg, resnet
from model.architecture import Architecture
from model.channel_groups import layers_of
from model.errors import PruningError
from tests.differences import relative_difference
from tools.errors import FlagError, PruneError
from tools.prune.network import Pruning, network_variables, pruned_network, shapes_of

NETWORK = "resnet_v1_18"
BASIC = choices.ResNet((1, 2, 1, 1), (16, 24, 32, 40), bottleneck=False)
IDENTITY = choices.ResNet((1, 1, 1, 1), (64, 24, 32, 40), bottleneck=False)
BOTTLENECK = choices.ResNet((2, 1, 1, 1), (32, 48, 64, 80), bottleneck=True)
TOLERANCE = 1e-5  # of the largest logit
IMAGE = np.random.default_rng(5).uniform(-1, 1, (1, 65, 65, 3)).astype(np.float32)


def architecture_of(**options) -> Architecture:
    return Architecture(NETWORK, 3, head_depth=28, auxiliary_depth=20, **options)


def random_values(architecture: Architecture) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    values = {}
    for name, shape in shapes_of(architecture).items():
        if name.endswith("/weights"):
            array = rng.normal(0, (2 / np.prod(shape[:3])) ** 0.5, shape)
        elif name.endswith(("gamma", "moving_variance")):
            array = rng.uniform(0.5, 1.5, shape)
        else:
            array = rng.uniform(-0.2, 0.2, shape)
        values[name] = array.astype(np.float32)
    return values


def logits_of(architecture: Architecture, values: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The logits of all heads."""
    with tf.Graph().as_default(), tf.Session() as session:
        has_auxiliary = architecture.encoder_blocks > 2
        outputs = pspnet_mg.pspnet([tf.constant(IMAGE)], architecture, is_training=False, has_auxiliary=has_auxiliary)
        feed = {variable.initializer.inputs[1]: values[variable.op.name] for variable in tf.model_variables()}
        session.run([variable.initializer for variable in tf.model_variables()], feed)
        return [x for [x] in session.run([outputs.logits, *outputs.auxiliary])]


def with_zeros(values: dict[str, np.ndarray], kept: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """The values with gamma and beta of all other filters at zero, so that their outputs are zero."""
    zeroed = dict(values)
    for scope, filters in kept.items():
        for vector in ("gamma", "beta"):
            name = f"{NETWORK}/{scope}/BatchNorm/{vector}"
            zeroed[name] = np.zeros_like(values[name])
            zeroed[name][filters] = values[name][filters]
    return zeroed


@pytest.mark.parametrize(
    ("size", "options", "kind"),
    [
        pytest.param(*(BASIC, {}, "all"), marks=pytest.mark.slow),
        (BASIC, {"decoder": "c1"}, "inner"),
        (BASIC, {"decoder": "ppm_1x1", "encoder_blocks": 2}, "all"),
        pytest.param(*(BASIC, {"decoder": "icnet"}, "all"), marks=pytest.mark.slow),
        pytest.param(*(BASIC, {"decoder": "upernet", "output_stride": 32}, "all"), marks=pytest.mark.slow),
        pytest.param(*(IDENTITY, {}, "all"), marks=pytest.mark.slow),
        pytest.param(*(IDENTITY, {"activation": "leaky_relu"}, "inner"), marks=pytest.mark.slow),
        pytest.param(*(BOTTLENECK, {"decoder": "icnet_wide", "pyramid_order": "add"}, "all"), marks=pytest.mark.slow),
        pytest.param(
            *(BOTTLENECK, {"stem": "deep_128", "pyramid_order": "upsample_first"}, "all"), marks=pytest.mark.slow
        ),
        pytest.param(*(BOTTLENECK, {"filter_scale": 0.5, "decoder": "icnet_wide"}, "inner"), marks=pytest.mark.slow),
    ],
)
def test_equals_the_whole_network_with_zeros(size, options, kind, monkeypatch, record_property):
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, size)
    architecture = architecture_of(**options)
    values = random_values(architecture)
    pruned = pruned_network(architecture, values, Pruning(0.5, kind))
    assert {name: list(array.shape) for name, array in pruned.values.items()} == shapes_of(pruned.architecture)
    found = logits_of(pruned.architecture, pruned.values)
    difference = relative_difference(found, logits_of(architecture, with_zeros(values, pruned.kept)))
    record_property("logits", difference)
    assert difference <= TOLERANCE
    assert relative_difference(found, logits_of(architecture, values)) > 1e-2


@pytest.mark.slow
def test_second_stage(monkeypatch):
    """The share is that of the filters before the first stage."""
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, BOTTLENECK)
    architecture = architecture_of(decoder="icnet_wide")
    first = pruned_network(architecture, random_values(architecture), Pruning(0.75))
    second = pruned_network(first.architecture, first.values, Pruning(0.5))
    once = pruned_network(architecture, random_values(architecture), Pruning(0.5))
    assert second.architecture == once.architecture
    assert {name: array.shape for name, array in second.values.items()} == {
        name: array.shape for name, array in once.values.items()
    }
    assert set(first.architecture.filters) == set(second.architecture.filters)
    with pytest.raises(PruneError, match=r"has more than 0\.5 of its filters before any pruning: give a smaller"):
        pruned_network(second.architecture, second.values, Pruning(0.5))


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["icnet_wide", "ppm"])
def test_half_of_the_filters_are_those_of_filter_scale(decoder, monkeypatch):
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, BOTTLENECK)
    architecture = architecture_of(decoder=decoder)
    pruned = pruned_network(architecture, random_values(architecture), Pruning(0.5))
    assert shapes_of(pruned.architecture) == shapes_of(replace(architecture, filter_scale=0.5, head_depth=14))


@pytest.mark.slow
def test_layers_that_keep_their_filters(monkeypatch):
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, BASIC)
    architecture = architecture_of(decoder="icnet")
    values = random_values(architecture)
    inner = pruned_network(architecture, values, Pruning(0.5, "inner")).architecture.filters
    assert {scope for scope in inner if not scope.startswith(("psp/", "icnet/detail"))} == {
        *(f"block{block}/unit_1/basic_v1/conv1" for block in (1, 2, 3, 4)),
        "block2/unit_2/basic_v1/conv1",
        "block4/unit_2",
    }
    skipped = pruned_network(architecture, values, Pruning(0.5, "all", ("conv1", "icnet", "block1/unit_1/basic_v1")))
    assert not [scope for scope in skipped.architecture.filters if scope.startswith(("conv1", "icnet", "block1"))]
    assert skipped.architecture.filters["psp/pool1"] == 5
    with pytest.raises(FlagError, match="'fpn' is no layer of resnet_v1_18: choose from block1, block2"):
        pruned_network(architecture, values, Pruning(0.5, "all", ("fpn",)))


@pytest.mark.slow
def test_without_auxiliary_heads(monkeypatch):
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, BASIC)
    architecture = architecture_of()
    names = shapes_of(architecture, has_auxiliary=False)
    values = {name: array for name, array in random_values(architecture).items() if name in names}
    pruned = pruned_network(architecture, values, Pruning(0.5))
    assert set(pruned.values) == set(names)
    with tf.Graph().as_default():
        variables = network_variables(pruned.architecture, has_auxiliary=False)
        assert {v.op.name: v.shape.as_list() for v in variables} == {
            name: list(array.shape) for name, array in pruned.values.items()
        }


def test_encoders_that_cannot_be_pruned():
    architecture = Architecture("mobilenet_v2", 3)
    with pytest.raises(PruningError, match="^mobilenet_v2 has layers with groups of channels"):
        pruned_network(architecture, {}, Pruning(0.5))
    assert layers_of(Architecture("resnet_v1d_50", 3))
