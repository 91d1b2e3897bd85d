"""The names listed in `model/choices.py` and the tables of functions that they select from."""

from __future__ import annotations

import pytest
import tensorflow.compat.v1 as tf

from model import (
    architecture,
    choices,
    encoders,
    icnet,
    losses,
    optimizers,
    pooling,
    pspnet_mg,
    pyramid_convolution,
    schedules,
    utils_mg,
)


@pytest.mark.parametrize(
    ("listed", "table"),
    [
        pytest.param(choices.DECODERS, pspnet_mg.DECODERS, id="DECODERS"),
        pytest.param(choices.CASCADES, icnet.CASCADES, id="CASCADES"),
        pytest.param(choices.POOL_PADDINGS, pooling.POOL_PADDINGS, id="POOL_PADDINGS"),
        pytest.param(choices.INITIALIZERS, utils_mg.INITIALIZERS, id="INITIALIZERS"),
        pytest.param(choices.PIXEL_LOSSES, losses.PIXEL_LOSSES, id="PIXEL_LOSSES"),
        pytest.param(choices.REGION_LOSSES, losses.REGION_LOSSES, id="REGION_LOSSES"),
        pytest.param(choices.SCHEDULES, schedules.SCHEDULES, id="SCHEDULES"),
        pytest.param(choices.OPTIMIZERS, optimizers.OPTIMIZERS, id="OPTIMIZERS"),
    ],
)
def test_choices_are_those_of_the_model(listed, table):
    assert list(listed) == list(table)


def test_every_encoder_can_be_built():
    families = {type(encoder) for encoder in choices.NETWORKS.values()}
    assert families == set(encoders.FAMILIES)
    for encoder in choices.NETWORKS.values():
        assert encoder.stem in choices.STEMS
        assert set(encoder.conventions) <= set(choices.STRIDE_CONVENTIONS)
        assert len(encoder.units) == len(encoder.depths) == 4


@pytest.mark.parametrize(
    ("network", "three_convs", "stem"),
    [
        ("resnet_v1_50", None, "conv7"),
        ("resnet_v1_50", False, "conv7"),
        ("resnet_v1_50", True, "deep_128"),
        ("resnext_50_32x4d", True, "deep_128"),
        ("resnet_v1d_50", None, "deep_64"),
        ("resnet_v1d_50", True, "deep_64"),
        ("resnet_v1d_50", False, None),
        ("mobilenet_v2", None, "conv3"),
        ("mobilenet_v2", False, "conv3"),
        ("mobilenet_v2", True, None),
    ],
)
def test_stems(network, three_convs, stem):
    assert choices.stem_of(network, three_convs) == stem
    if three_convs is None:
        assert architecture.Architecture(network, 4).stem == stem


def test_positions_are_known_for_every_grid():
    assert set(pyramid_convolution._POSITIONS) == set(choices.RESIZE_GRIDS)


def test_float_types_are_the_dtypes_of_their_names():
    assert {"32": tf.float32, "16": tf.float16, "bf16": tf.bfloat16} == pspnet_mg.FLOAT_TYPES


@pytest.mark.parametrize("name", ["normal", "ohem", "focal_2", "focal_0.5"])
def test_every_listed_pixel_loss_is_built(name):
    assert choices.LOSS_TYPES.fullmatch(name)
    assert callable(losses.pixel_loss(name))


def test_label_smoothing_is_for_losses_that_are_cross_entropies():
    assert {losses.PIXEL_LOSSES[name] for name in choices.CROSS_ENTROPIES} == {losses.cross_entropy}
