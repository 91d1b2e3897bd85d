"""Tests the central claim: any list of towers computes what one tower with all images does, and correctly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model import dilated_convolution
from tests.differences import relative_difference
from tests.model.reference_network import NETWORK, ReferenceNetwork
from tests.model.training_step import OPTIONS, Step, batch, take_step

DROPOUT = replace(OPTIONS, dropout=True)

NUM_IMAGES = 4
DECAY_RATE = OPTIONS.weight_decay_rate


@pytest.fixture(scope="module")
def whole_batch() -> tuple[np.ndarray, np.ndarray]:
    """Creates four images and labels of 33 x 33 pixels; the last two have more ignored pixels than the first two."""
    images, labels = batch((2, 33, 33), (2, 33, 33))
    return np.concatenate(images), np.concatenate(labels)


@pytest.fixture(scope="module")
def one_tower(whole_batch) -> Step:
    """Runs a step with all four images on one tower, with dropout in both heads."""
    images, labels = whole_batch
    return take_step([images], [labels], DROPOUT)


@pytest.fixture(
    scope="module",
    params=[(1, 2, 1), *(pytest.param(counts, marks=pytest.mark.slow) for counts in ((3, 1), (1, 1, 1, 1)))],
    ids=str,
)
def several_towers(request, whole_batch) -> tuple[int, Step]:
    """Runs a step that splits the four images into towers; the graph of three towers has unknown sizes."""
    images, labels = whole_batch
    counts = request.param
    ends = np.cumsum(counts)[:-1]
    step = take_step(np.split(images, ends), np.split(labels, ends), DROPOUT, known=len(counts) != 3)
    return len(counts), step


def _relative_errors(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> dict[str, float]:
    """Returns the largest difference by name, relative to the largest value of the variable."""
    assert set(actual) == set(expected)
    return {name: relative_difference(actual[name], e) for name, e in expected.items()}


def test_losses_are_those_of_one_tower(several_towers, one_tower, record_property):
    _, step = several_towers
    for name in ("loss", "auxiliary_loss", "weight_decay", "total_loss"):
        difference = relative_difference(getattr(step, name), getattr(one_tower, name))
        record_property("losses", difference)
        assert difference < 2e-6


def test_dropout_is_on_in_both_heads(whole_batch, one_tower):
    images, labels = whole_batch
    without = ReferenceNetwork(one_tower.values).total_loss([images], [labels], DECAY_RATE)
    for with_it, loss in zip((one_tower.loss, one_tower.auxiliary_loss), without, strict=False):
        assert 1e-3 * loss < abs(with_it - loss) < 0.2 * loss


def test_gradients_are_those_of_one_tower(several_towers, one_tower, record_property):
    _, step = several_towers
    assert len(one_tower.gradients) == 82
    assert all(np.abs(gradient).max() > 0 for gradient in one_tower.gradients.values())
    difference = max(_relative_errors(step.gradients, one_tower.gradients).values())
    record_property("gradients of every variable", difference)
    assert difference < 2e-4


def test_running_averages_are_those_of_one_tower(several_towers, one_tower):
    _, step = several_towers
    assert len(one_tower.averages) == 52
    assert max(_relative_errors(step.averages, one_tower.averages).values()) < 5e-6


def test_every_tower_convolves_on_its_own_device(several_towers, one_tower):
    # 20 convolutions of the encoder, 4 of the pyramid, 2 of the head and 2 of the auxiliary head. The gradients of
    # the 8 dilated ones are convolutions and matrix products if the processor has no kernels for them.
    lacking = 0 if dilated_convolution._cpu_has_float32_kernels() else 8
    expected = {"Conv2D": 28 + lacking, "Conv2DBackpropFilter": 28 - lacking, "Conv2DBackpropInput": 28 - lacking}
    for num_towers, step in ((1, one_tower), several_towers):
        counts = {kind: np.bincount(devices).tolist() for kind, devices in step.devices.items()}
        assert counts == {kind: [count] * num_towers for kind, count in expected.items()}


def test_predictions_are_those_of_one_tower(several_towers, one_tower):
    _, step = several_towers
    predictions = np.concatenate(step.predictions)
    assert predictions.shape == (NUM_IMAGES, 33, 33)
    assert np.mean(predictions != one_tower.predictions[0]) < 1e-3


@pytest.fixture(scope="module")
def uneven_batch() -> tuple[list[np.ndarray], list[np.ndarray]]:
    return batch((2, 33, 33), (1, 41, 33), (1, 33, 25))


@pytest.fixture(scope="module")
def uneven_towers(uneven_batch) -> Step:
    """Runs towers that differ in batch size, height, width and ignored pixels, in a graph with unknown sizes."""
    images, labels = uneven_batch
    return take_step(images, labels, known=False)


def test_uneven_towers_equal_float64(uneven_batch, uneven_towers):
    images, labels = uneven_batch
    network = ReferenceNetwork(uneven_towers.values)
    losses = network.total_loss(images, labels, DECAY_RATE)
    actual = (uneven_towers.loss, uneven_towers.auxiliary_loss, uneven_towers.total_loss)
    np.testing.assert_allclose(actual, losses, rtol=2e-6)
    logits, _ = network.logits(images)
    for prediction, x in zip(uneven_towers.predictions, logits, strict=True):
        assert np.mean(prediction != x.argmax(axis=-1)) < 1e-3


def test_running_averages_of_uneven_towers_equal_float64(uneven_batch, uneven_towers):
    network = ReferenceNetwork(uneven_towers.values)
    network.logits(uneven_batch[0])
    expected = {}
    for scope, moments in network.moments.items():
        for name, moment in zip(("moving_mean", "moving_variance"), moments, strict=True):
            full_name = f"{NETWORK}/{scope}/BatchNorm/{name}"
            expected[full_name] = 0.9 * uneven_towers.values[full_name] + 0.1 * moment
    assert max(_relative_errors(uneven_towers.averages, expected).values()) < 5e-6


@pytest.mark.parametrize(
    "part",
    ["/conv1/weights", "block3/", "/BatchNorm/gamma", "/BatchNorm/beta", "psp/", "aux_logits/"],
)
def test_gradients_of_uneven_towers_equal_float64(part, uneven_batch, uneven_towers):
    # The derivative along a random direction of one part's variables, by central differences in float64.
    images, labels = uneven_batch
    names = [name for name in uneven_towers.gradients if part in name]
    rng = np.random.default_rng(0)
    values = uneven_towers.values
    direction = {n: rng.normal(0, np.abs(values[n]).mean(), values[n].shape) for n in names}
    step = 1e-6
    above, below = (
        ReferenceNetwork(values | {n: values[n] + sign * step * d for n, d in direction.items()}).total_loss(
            images, labels, DECAY_RATE
        )[2]
        for sign in (1, -1)
    )
    gradients = uneven_towers.gradients
    along = sum(float((gradients[n].astype(np.float64) * d).sum()) for n, d in direction.items())
    size = sum(float((gradients[n].astype(np.float64) ** 2 * d**2).sum()) for n, d in direction.items()) ** 0.5
    assert abs(along - (above - below) / (2 * step)) < 1e-3 * size
