"""The names listed in `model/choices.py` and the tables of functions that they select from."""

from __future__ import annotations

import pytest
import tensorflow.compat.v1 as tf

from model import choices, losses, optimizers, pooling, pspnet_mg, pyramid_convolution, schedules, utils_mg


@pytest.mark.parametrize(
    ("listed", "table"),
    [
        pytest.param(choices.DECODERS, pspnet_mg.DECODERS, id="DECODERS"),
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
