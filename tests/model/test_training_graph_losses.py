"""The training step with sums of losses: both heads, sizes of logits, towers, and recomputed activations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import training_graph
from model.losses import LossOptions, batch_loss
from tests.differences import relative_difference
from tests.model.sessions import open_session, run, towers
from tests.model.training_step import ARCHITECTURE, OPTIONS, Step, batch, initialize, take_step

SUM = replace(OPTIONS, loss_type="normal+0.5*dice+0.5*lovasz", label_smoothing=0.1, class_weights=(1.0, 2.0, 0.5))


@pytest.fixture(scope="module", autouse=True)
def _small(small_resnet):
    """Every network here is small."""


@pytest.fixture(scope="module")
def whole_batch() -> tuple[np.ndarray, np.ndarray]:
    images, labels = batch((2, 33, 33), (1, 33, 33))
    return np.concatenate(images), np.concatenate(labels)


@pytest.fixture(scope="module")
def one_tower(whole_batch) -> Step:
    images, labels = whole_batch
    return take_step([images], [labels], SUM)


def _difference(step: Step, expected: Step) -> float:
    assert set(step.gradients) == set(expected.gradients)
    return max(relative_difference(step.gradients[name], x) for name, x in expected.gradients.items())


@pytest.mark.slow
def test_towers_equal_one(whole_batch, one_tower):
    images, labels = whole_batch
    step = take_step(np.split(images, [2]), np.split(labels, [2]), SUM, known=False)
    for name in ("loss", "auxiliary_loss", "total_loss"):
        assert relative_difference(getattr(step, name), getattr(one_tower, name)) < 2e-6
    assert _difference(step, one_tower) < 2e-4


@pytest.mark.slow
def test_recomputed_activations_change_nothing(whole_batch, one_tower):
    images, labels = whole_batch
    step = take_step([images], [labels], replace(SUM, save_memory=True))
    assert relative_difference(step.total_loss, one_tower.total_loss) < 2e-6
    assert _difference(step, one_tower) < 2e-4


@pytest.mark.slow
@pytest.mark.parametrize("float_type", ["16", "bf16"])
def test_half_precision(whole_batch, one_tower, float_type):
    images, labels = whole_batch
    step = take_step([images], [labels], replace(SUM, float_type=float_type))
    assert all(np.isfinite(gradient).all() for gradient in step.gradients.values())
    np.testing.assert_allclose(step.loss, one_tower.loss, rtol=0.05)


@pytest.mark.parametrize("upsampled", [pytest.param(True, marks=pytest.mark.slow), False])
def test_both_heads_have_the_loss(whole_batch, upsampled):
    images, labels = whole_batch
    with tf.Graph().as_default():
        (xs, feed), (ys, more) = towers([images], known=False), towers([labels])
        options = replace(SUM, upsample_logits=upsampled)
        graph = training_graph.train_graph(xs, ys, ARCHITECTURE, options)
        heads = [graph.endpoints[name][0] for name in ("logits", "auxiliary_logits")]
        with open_session(rewrite_graph=False) as session:
            initialize(session)
            fetches = [heads, (graph.loss, graph.auxiliary_loss), graph.loss_terms]
            logits, actual, terms = session.run(fetches, feed | more)
    positions = np.floor((np.arange(5) + 0.5) * 33 / 5).astype(int)
    shrunk = labels[:, positions][:, :, positions]
    factors = {"normal": 1, "dice": 0.5, "lovasz": 0.5}
    assert sum(factors[name] * value for name, value in terms.items()) == pytest.approx(actual[0], rel=1e-6)
    for x, value in zip(logits, actual, strict=True):
        assert x.shape == (3, 5, 5, ARCHITECTURE.num_classes)
        if not upsampled:
            how = LossOptions(SUM.loss_type, SUM.class_weights, label_smoothing=SUM.label_smoothing)
            with tf.Graph().as_default():
                expected = run(batch_loss([tf.constant(x)], [tf.constant(shrunk)], how).value)
            np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert actual[0] != actual[1]
