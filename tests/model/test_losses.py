"""Compares the losses with float64 NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import losses
from tests.model import reference
from tests.model.sessions import device_of, run, towers

CLASSES = 5


def _batch(*shapes: tuple[int, int, int], ignored: float = 0.3) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(2)
    logits = [rng.normal(0, 3, (*shape, CLASSES)).astype(np.float32) for shape in shapes]
    labels = [rng.integers(0, CLASSES, shape).astype(np.int32) for shape in shapes]
    for y in labels:
        y[rng.random(y.shape) < ignored] = 255
    return logits, labels


def _mean_loss(logits, labels, loss_type, **options):
    """Computes the loss over all towers and its gradient with respect to the logits."""
    with tf.Graph().as_default():
        xs, feed = towers(logits)
        ys, more = towers(labels)
        loss = losses.batch_loss(xs, ys, losses.LossOptions(loss_type, **options)).value
        assert device_of(loss) == 0
        return run([loss, tf.gradients(loss, xs)], feed | more)


def _focal(logits, labels, gamma):
    negative_log_likelihood = reference.pixel_cross_entropy(logits, labels)
    return (1 - np.exp(-negative_log_likelihood)) ** gamma * negative_log_likelihood


@pytest.mark.parametrize(("loss_type", "gamma"), [("normal", 0), ("focal_2", 2), ("focal_0.5", 0.5), ("focal_0", 0)])
def test_mean_over_valid_pixels_of_all_towers(loss_type, gamma):
    logits, labels = _batch((2, 4, 5), (1, 3, 3), (1, 6, 2))
    labels[1][:] = 255
    loss, gradients = _mean_loss(logits, labels, loss_type)
    pixels = np.concatenate([_focal(x, y, gamma) for x, y in zip(logits, labels, strict=True)])
    assert len(pixels) not in (0, 61)
    np.testing.assert_allclose(loss, pixels.mean(), rtol=1e-6)
    for gradient, y in zip(gradients, labels, strict=True):
        np.testing.assert_array_equal(gradient[y == 255], 0)
        assert np.all(np.abs(gradient[y != 255]).sum(axis=-1) > 0)


@pytest.mark.parametrize(("loss_type", "gamma"), [("normal", 0), ("focal_2", 2)])
def test_gradient_equals_central_differences(loss_type, gamma):
    (logits,), (labels,) = _batch((1, 2, 3))
    _, (gradient,) = _mean_loss([logits], [labels], loss_type)
    for position in np.ndindex(logits.shape):
        step = np.zeros(logits.shape)
        step[position] = 1e-5
        above, below = (_focal(logits + sign * step, labels, gamma).mean() for sign in (1, -1))
        np.testing.assert_allclose(gradient[position], (above - below) / 2e-5, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss_type", ["normal", "focal_2", "ohem", "normal+dice+lovasz"])
def test_no_valid_pixel_gives_zero(loss_type):
    logits, labels = _batch((1, 3, 4), (1, 2, 2), ignored=1.1)
    loss, gradients = _mean_loss(logits, labels, loss_type)
    assert loss == 0
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("loss_type", ["normal", "focal_0", "focal_0.5", "focal_1", "focal_2"])
def test_certain_pixels_have_finite_gradients(loss_type):
    logits = np.zeros((1, 1, 2, CLASSES), np.float32)
    logits[0, 0, :, 1] = 200
    loss, (gradient,) = _mean_loss([logits], [np.int32([[[1, 0]]])], loss_type)
    # In float32, p is 1 at the first pixel; at the second the loss is 200.
    np.testing.assert_allclose(loss, 100, rtol=1e-6)
    np.testing.assert_allclose(gradient[0, 0], [[0] * CLASSES, [-0.5, 0.5, 0, 0, 0]], atol=1e-6)


def test_focal_loss_keeps_its_digits_where_the_pixel_is_nearly_certain():
    logits, labels = [np.float32([[[[14.0, 0, 0, 0, 0]]]])], [np.int32([[[0]]])]
    negative_log_likelihood = np.float64(_mean_loss(logits, labels, "normal")[0])
    loss, _ = _mean_loss(logits, labels, "focal_2")
    # 1 - p is 3e-6; computed as a difference in float32 it would have an error of 1 %.
    expected = (1 - np.exp(-negative_log_likelihood)) ** 2 * negative_log_likelihood
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


WEIGHTS = (0.5, 2.0, 0.0, 1.0, 3.5)


@pytest.mark.parametrize("gamma", [0, 2])
def test_class_weights_weigh_the_mean(gamma):
    logits, labels = _batch((2, 4, 5), (1, 3, 3))
    loss, gradients = _mean_loss(logits, labels, f"focal_{gamma}", class_weights=WEIGHTS)
    pixels = np.concatenate([_focal(x, y, gamma) for x, y in zip(logits, labels, strict=True)])
    weights = np.concatenate([np.take(WEIGHTS, y[y != 255]) for y in labels])
    np.testing.assert_allclose(loss, (weights * pixels).sum() / weights.sum(), rtol=1e-6)
    for gradient, y in zip(gradients, labels, strict=True):
        np.testing.assert_array_equal(gradient[(y == 255) | (y == 2)], 0)


def test_only_classes_without_weight_give_zero():
    logits, labels = _batch((1, 3, 4))
    loss, (gradient,) = _mean_loss(logits, [np.where(labels[0] == 255, 255, 2).astype(np.int32)], "normal",
                                   class_weights=WEIGHTS)  # fmt: skip
    assert loss == 0
    np.testing.assert_array_equal(gradient, 0)


def _hard(pixel_losses: np.ndarray, threshold: float, min_kept: int) -> np.ndarray:
    """Returns which pixels are hard, given the probabilities of their labels."""
    order = np.argsort(-pixel_losses)
    probabilities = np.exp(-pixel_losses[order])
    hard = np.zeros(len(pixel_losses), bool)
    hard[order[(probabilities <= threshold) | (np.arange(len(order)) < min_kept)]] = True
    return hard


@pytest.mark.parametrize("class_weights", [None, WEIGHTS], ids=["equal", "weighted"])
@pytest.mark.parametrize(("threshold", "min_kept"), [(0.3, 1), (0.3, 20), (0.01, 1), (1.0, 1), (0.3, 10_000)])
def test_only_hard_pixels_count(threshold, min_kept, class_weights):
    logits, labels = _batch((2, 4, 5), (1, 3, 3))
    loss, gradients = _mean_loss(
        logits, labels, "ohem", ohem_threshold=threshold, ohem_min_kept=min_kept, class_weights=class_weights
    )
    valid = [y != 255 for y in labels]
    weights = np.concatenate([np.take(class_weights or [1.0] * 5, y[v]) for y, v in zip(labels, valid, strict=True)])
    pixels = np.concatenate([_focal(x, y, 0) for x, y in zip(logits, labels, strict=True)])
    counted = weights > 0
    kept = np.zeros(len(pixels), bool)
    kept[counted] = _hard(pixels[counted], threshold, min_kept)
    np.testing.assert_allclose(loss, (weights * pixels)[kept].sum() / weights[kept].sum(), rtol=1e-6)
    reached = np.concatenate([np.abs(g[v]).sum(axis=-1) > 0 for g, v in zip(gradients, valid, strict=True)])
    np.testing.assert_array_equal(reached, kept)


def _smoothed(logits, labels, smoothing):
    """The cross entropy between the smoothed labels and the probabilities, at the valid pixels."""
    valid = labels != 255
    targets = (1 - smoothing) * np.eye(CLASSES)[labels[valid]] + smoothing / CLASSES
    return -(targets * reference.log_softmax(logits[valid])).sum(axis=-1)


@pytest.mark.parametrize("class_weights", [None, WEIGHTS], ids=["equal", "weighted"])
def test_label_smoothing(class_weights):
    logits, labels = _batch((2, 4, 5), (1, 3, 3))
    loss, gradients = _mean_loss(logits, labels, "normal", label_smoothing=0.2, class_weights=class_weights)
    pixels = np.concatenate([_smoothed(x, y, 0.2) for x, y in zip(logits, labels, strict=True)])
    weights = np.concatenate([np.take(class_weights or [1.0] * 5, y[y != 255]) for y in labels])
    np.testing.assert_allclose(loss, np.average(pixels, weights=weights), rtol=1e-6)
    for x, y, gradient in zip(logits, labels, gradients, strict=True):
        targets = 0.8 * np.eye(CLASSES)[np.where(y == 255, 0, y)] + 0.2 / CLASSES
        weight = np.where(y == 255, 0, np.take(class_weights or [1.0] * 5, np.where(y == 255, 0, y)))
        expected = weight[..., np.newaxis] * (np.exp(reference.log_softmax(x)) - targets) / weights.sum()
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-8)


def test_label_smoothing_leaves_the_choice_of_hard_pixels():
    logits, labels = _batch((2, 4, 5), (1, 3, 3))
    loss, _ = _mean_loss(logits, labels, "ohem", ohem_threshold=0.3, ohem_min_kept=9, label_smoothing=0.2)
    pairs = list(zip(logits, labels, strict=True))
    hard = _hard(np.concatenate([_focal(x, y, 0) for x, y in pairs]), 0.3, 9)
    smoothed = np.concatenate([_smoothed(x, y, 0.2) for x, y in pairs])
    assert 9 <= hard.sum() < len(hard)
    np.testing.assert_allclose(loss, smoothed[hard].mean(), rtol=1e-6)


def test_label_smoothing_is_finite_for_large_logits():
    logits = np.float32([[[[1e4, -1e4, 0, 0, 0], [-1e4, 1e4, 0, 0, 0]]]])
    loss, (gradient,) = _mean_loss([logits], [np.int32([[[0, 0]]])], "normal", label_smoothing=0.1)
    np.testing.assert_allclose(loss, (0.1 / 5 * 5e4 + 0.92 * 2e4 + 0.02 * 3e4) / 2, rtol=1e-6)
    np.testing.assert_allclose(gradient[0, 0, 1], [-0.46, 0.49, -0.01, -0.01, -0.01], atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_sum_of_losses(smoothing):
    logits, labels = _batch((2, 4, 5), (1, 3, 3))
    names = {"normal": 0.25, "ohem": 1.0, "dice": 0.5, "lovasz": 3.0, "focal_2": 2.0}
    options = {"class_weights": WEIGHTS, "ohem_min_kept": 9, "label_smoothing": smoothing}
    text = "0.25*normal+ohem+0.5*dice+3*lovasz+2*focal_2"
    loss, gradients = _mean_loss(logits, labels, text, **options)
    alone = {name: _mean_loss(logits, labels, name, **options) for name in names}
    np.testing.assert_allclose(loss, sum(factor * alone[name][0] for name, factor in names.items()), rtol=1e-6)
    for tower, gradient in enumerate(gradients):
        expected = sum(factor * alone[name][1][tower] for name, factor in names.items())
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)
    with tf.Graph().as_default():
        terms = losses.batch_loss(*map(lambda arrays: towers(arrays)[0], (logits, labels)),
                                  losses.LossOptions(text)).terms  # fmt: skip
    assert list(terms) == ["normal", "ohem", "dice", "lovasz", "focal_2"]


@pytest.mark.parametrize("name", ["", "focal", "focal_", "focal_x", "focal_-1", "focal_2 ", "ohem_", "dice"])
def test_unknown_pixel_loss(name):
    with pytest.raises(ValueError, match=f"pixel loss '{name}' is unknown: use normal, ohem or focal_<gamma>"):
        losses.pixel_loss(name)
