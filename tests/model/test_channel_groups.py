"""The described layers are those of the built networks, and their channels add up."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tensorflow.compat.v1 as tf

from model import choices, pspnet_mg, resnet
from model.architecture import Architecture
from model.channel_groups import IMAGES, fault_of_filters, known_filters, layers_of, writers_of
from model.errors import PruningError

NETWORK = "resnet_v1_18"
BASIC = choices.ResNet((1, 2, 1, 1), (16, 24, 32, 40), bottleneck=False)
# Its first block adds the output of the stem.
IDENTITY = choices.ResNet((1, 1, 1, 2), (64, 24, 32, 40), bottleneck=False)
BOTTLENECK = choices.ResNet((2, 1, 1, 1), (32, 48, 64, 80), bottleneck=True)

CASES = [
    *((BASIC, {"decoder": decoder}) for decoder in choices.DECODERS),
    (BOTTLENECK, {"decoder": "icnet_wide", "pyramid_order": "add"}),
    (BOTTLENECK, {"decoder": "upernet", "pyramid_order": "upsample_first", "output_stride": 32}),
    (BOTTLENECK, {"stem": "deep_128"}),
    (BOTTLENECK, {"decoder": "ppm_1x1", "encoder_blocks": 2}),
    (BASIC, {"encoder_blocks": 3}),
    (IDENTITY, {}),
    (IDENTITY, {"stem": "deep_128", "filter_scale": 0.5}),
]


@pytest.mark.parametrize(("size", "options"), CASES)
def test_layers_are_those_of_the_network(size, options, monkeypatch):
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, size)
    architecture = Architecture(NETWORK, 3, head_depth=28, auxiliary_depth=20, **options)
    with tf.Graph().as_default():
        images = [tf.placeholder(tf.float32, [1, 64, 64, 3])]
        has_auxiliary = architecture.encoder_blocks > 2
        pspnet_mg.pspnet(images, architecture, is_training=False, has_auxiliary=has_auxiliary)
        shapes = {variable.op.name: variable.shape.as_list() for variable in tf.model_variables()}
    prefix, suffix = f"{NETWORK}/", "/weights"
    kernels = {
        name.removeprefix(prefix).removesuffix(suffix): shape for name, shape in shapes.items() if name.endswith(suffix)
    }
    layers = layers_of(architecture)
    assert sorted(layer.scope for layer in layers) == sorted(kernels)
    widths = {IMAGES: 3}
    for layer in layers:
        if layer.writes is not None:
            assert widths.setdefault(layer.writes, kernels[layer.scope][3]) == kernels[layer.scope][3], layer
    for layer in layers:
        assert sum(widths[group] for group in layer.reads) == kernels[layer.scope][2], layer
        assert (layer.writes is None) == (kernels[layer.scope][3] == 3 and "logits" in layer.scope)


def test_units_of_a_block_add_to_the_same_channels(monkeypatch):
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, IDENTITY)
    writers = writers_of(layers_of(Architecture(NETWORK, 3)))
    assert writers["block1"] == ["conv1", "block1/unit_1/basic_v1/conv2"]
    block4 = [f"block4/unit_{unit}/basic_v1" for unit in (1, 2)]
    assert writers["block4"] == [f"{block4[0]}/shortcut", f"{block4[0]}/conv2", f"{block4[1]}/conv2"]
    assert writers["psp/pool6"] == ["psp/pool6"]
    assert "auxiliary" not in writers


@pytest.mark.parametrize("network", ["mobilenet_v2", "resnext_50_32x4d"])
def test_groups_of_channels(network):
    with pytest.raises(PruningError, match=f"^{network} has layers with groups of channels"):
        layers_of(Architecture(network, 3))
    assert fault_of_filters(Architecture(network, 3)) is None
    assert "layers with groups" in fault_of_filters(Architecture(network, 3, filters={"conv1": 3}))


def test_faults_of_filters(monkeypatch):
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, BASIC)
    whole = Architecture(NETWORK, 3)
    block1 = ("block1/unit_1/basic_v1/shortcut", "block1/unit_1/basic_v1/conv2")
    assert fault_of_filters(whole) is None
    assert fault_of_filters(replace(whole, filters=dict.fromkeys(block1, 8))) is None
    assert fault_of_filters(replace(whole, filters={"conv9": 8})).startswith("has 'conv9', which is no layer of")
    assert f"different numbers for {block1[0]}" in fault_of_filters(replace(whole, filters={block1[1]: 8}))


def test_filters_that_another_decoder_has_too(monkeypatch):
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, BASIC)
    architecture = Architecture(NETWORK, 3, decoder="upernet")
    # The layer after the pyramid is added to the lateral layers, which UPerNet alone has.
    filters = {"conv1": 32, "psp/pool6": 9, "block4/unit_2": 100, "icnet/detail1": 16}
    assert known_filters(filters, architecture) == {"conv1": 32, "psp/pool6": 9}
    assert known_filters({}, Architecture("mobilenet_v2", 3)) == {}
