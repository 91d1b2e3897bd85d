"""Encoders that end before block 4: what is built, and what such a network cannot have."""

from __future__ import annotations

import dataclasses

import pytest
import tensorflow.compat.v1 as tf

from model import choices, encoders, pspnet_mg
from model.architecture import Architecture
from model.encoder_end import (
    ALL_BLOCKS,
    DECODERS_OF_LAST_BLOCK,
    ENCODER_BLOCKS,
    built_parts,
    fault_of_end,
    has_auxiliary_features,
    largest_output_stride,
)
from model.errors import EncoderEndError
from model.icnet import CASCADES
from model.pspnet_mg import DECODERS

NETWORK = "resnet_v1_18"
# Inverted residual units are many; the residual units of a ResNet are two in each block here.
NETWORKS = (NETWORK, pytest.param("mobilenet_v2", marks=pytest.mark.slow))


def build(network, blocks, convention="reference", output_stride=32, size=64):
    """The shapes of all endpoints and of all variables."""
    with tf.Graph().as_default():
        endpoints = encoders.encoder(network, convention)(
            [tf.placeholder(tf.float32, [1, size, size, 3])],
            network,
            convention=convention,
            output_stride=output_stride,
            stem=choices.NETWORKS[network].stem,
            encoder_blocks=blocks,
        )
        shapes = {variable.op.name: variable.shape.as_list() for variable in tf.global_variables()}
        return {name: tower.shape.as_list() for name, [tower] in endpoints.items()}, shapes


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_the_layers_of_the_first_blocks_are_those_of_the_whole_encoder(network):
    """With the same strides and dilation, whatever comes after."""
    for output_stride in (8, 32):
        whole, variables = build(network, ALL_BLOCKS, output_stride=output_stride)
        for blocks in ENCODER_BLOCKS:
            endpoints, found = build(network, blocks, output_stride=output_stride)
            parts = ("conv1", *(f"block{number}" for number in range(1, blocks + 1)))
            assert built_parts(blocks) == parts
            assert found == {name: shape for name, shape in variables.items() if name.split("/")[0] in parts}
            own = {name: shape for name, shape in whole.items() if name.split("/")[0] in (*parts, "pool1")}
            assert endpoints == own


@pytest.mark.parametrize("convention", [name for name in choices.STRIDE_CONVENTIONS if name != "fast_segmentation"])
@pytest.mark.parametrize("blocks", ENCODER_BLOCKS)
def test_largest_output_stride_is_that_of_the_features(convention, blocks):
    """The one left out strides as slim's, and dilates strided layers at output stride 32, which is rejected."""
    endpoints, _ = build(NETWORK, blocks, convention)
    assert endpoints[f"block{blocks}"][1] == 64 // largest_output_stride(convention, blocks)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("blocks", ENCODER_BLOCKS)
def test_auxiliary_features_are_an_endpoint_or_not(network, blocks):
    endpoints, _ = build(network, blocks)
    assert has_auxiliary_features(network, blocks) == (choices.NETWORKS[network].auxiliary in endpoints)


def test_decoders_of_the_last_block():
    """They are built with fewer blocks below; these read several."""
    assert set(DECODERS_OF_LAST_BLOCK) < set(DECODERS)
    assert not set(DECODERS_OF_LAST_BLOCK) & {"upernet", *CASCADES}


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ((2, "ppm_1x1", "reference", 8), None),
        ((2, "ppm", "slim", 16), None),
        ((3, "c1", "contracted", 16), None),
        ((4, "upernet", "reference", 32), None),
        ((4, "icnet", "slim", 8), None),
        ((2, "upernet", "reference", 8), ("decoder", "upernet", DECODERS_OF_LAST_BLOCK)),
        ((3, "icnet", "reference", 8), ("decoder", "icnet", DECODERS_OF_LAST_BLOCK)),
        ((2, "ppm", "reference", 16), ("output_stride", 16, (8,))),
        ((2, "ppm", "slim", 32), ("output_stride", 32, (8, 16))),
        ((3, "c1", "caffe", 32), ("output_stride", 32, (8, 16))),
    ],
)
def test_faults(options, fault):
    assert fault_of_end(*options) == fault


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"decoder": "icnet_wide"},
            "decoder is icnet_wide and resnet_v1_18 ends after block2, expected ppm or ppm_1x1 or c1",
        ),
        ({"output_stride": 16}, "output_stride is 16 and resnet_v1_18 ends after block2, expected 8"),
    ],
)
def test_networks_that_need_later_blocks(options, words):
    architecture = Architecture(NETWORK, 3, encoder_blocks=2, **options)
    with tf.Graph().as_default(), pytest.raises(EncoderEndError, match=f"^{words}$"):
        pspnet_mg.pspnet([tf.zeros([1, 32, 32, 3])], architecture, is_training=False)


def test_an_auxiliary_head_needs_its_block():
    architecture = Architecture(NETWORK, 3, encoder_blocks=2)
    words = "^resnet_v1_18 ends after block2, and its auxiliary head needs block3$"
    with tf.Graph().as_default(), pytest.raises(EncoderEndError, match=words):
        pspnet_mg.pspnet([tf.zeros([1, 32, 32, 3])], architecture, is_training=False, has_auxiliary=True)


@pytest.mark.parametrize("decoder", DECODERS_OF_LAST_BLOCK)
@pytest.mark.parametrize("blocks", ENCODER_BLOCKS)
def test_heads_read_the_last_block(decoder, blocks):
    """Their kernels have its channels, and the logits the size of the image."""
    architecture = Architecture(NETWORK, 3, decoder=decoder, encoder_blocks=blocks, head_depth=12)
    with tf.Graph().as_default():
        [logits] = pspnet_mg.pspnet([tf.zeros([1, 40, 56, 3])], architecture, is_training=False).logits
        kernels = {v.op.name: v.shape.as_list() for v in tf.trainable_variables() if v.shape.ndims == 4}
    depth = (128, 256, 512)[blocks - 2]
    levels = 0 if decoder == "c1" else 4
    assert architecture.pooled_depth == depth // 4
    assert kernels[f"{NETWORK}/block4/unit_3/weights"][2] == depth + levels * depth // 4
    assert len([name for name in kernels if "/psp/" in name]) == levels
    assert logits.shape == [1, 40, 56, 3]
    assert {name.split("/")[1] for name in kernels} - {"psp", "logits"} == {*built_parts(blocks), "block4"}


def test_an_architecture_has_all_blocks_unless_it_says_otherwise():
    assert Architecture(NETWORK, 3).encoder_blocks == ALL_BLOCKS == max(ENCODER_BLOCKS)
    assert dataclasses.replace(Architecture(NETWORK, 3), encoder_blocks=3).last_block == "block3"
