"""Compares Dice and Lovasz-softmax with float64 NumPy, and lists of towers with one tower."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import losses
from tests.differences import relative_difference
from tests.model import reference
from tests.model.sessions import device_of, run, towers

CLASSES = 5
SHAPES = ((2, 4, 5), (1, 3, 3), (1, 6, 2))
WEIGHTS = (0.5, 2.0, 0.0, 1.0, 3.5)
REGIONS = ("dice", "lovasz")


def _batch(*shapes: tuple[int, int, int], ignored: float = 0.3) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(5)
    logits = [rng.normal(0, 2, (*shape, CLASSES)).astype(np.float32) for shape in shapes]
    labels = [rng.integers(0, CLASSES, shape).astype(np.int32) for shape in shapes]
    for y in labels:
        y[rng.random(y.shape) < ignored] = 255
    return logits, labels


def _loss(logits, labels, loss_type, known=True, dtype=tf.float32, **options):
    """Computes the loss over all towers and its gradient with respect to the logits."""
    with tf.Graph().as_default():
        xs, feed = towers(logits, dtype, known)
        ys, more = towers(labels, known=True)
        loss = losses.batch_loss(xs, ys, losses.LossOptions(loss_type, **options)).value
        assert (device_of(loss), loss.dtype, loss.shape.rank) == (0, tf.float32, 0)
        gradients = tf.gradients(loss, xs, colocate_gradients_with_ops=True)
        assert [device_of(gradient) for gradient in gradients] == list(range(len(xs)))
        return run([loss, [tf.cast(gradient, tf.float32) for gradient in gradients]], feed | more)


def _valid_pixels(logits: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns probabilities [pixels, classes] and labels [pixels] of the pixels that are not ignored."""
    probabilities = np.exp(reference.log_softmax(np.concatenate([x.reshape(-1, CLASSES) for x in logits])))
    targets = np.concatenate([y.ravel() for y in labels])
    return probabilities[targets != 255], targets[targets != 255]


def _dice_of_class(p: np.ndarray, g: np.ndarray) -> float:
    """The formula of MONAI's and segmentation_models_pytorch's DiceLoss without smoothing terms."""
    return 1 - 2 * float(p @ g) / float(p.sum() + g.sum())


def _lovasz_of_class(p: np.ndarray, g: np.ndarray) -> float:
    """The definition: the integral over thresholds of the Jaccard loss of the pixels whose error is larger."""
    errors = np.abs(g - p)
    total, previous = 0.0, 0.0
    for threshold in np.sort(errors):  # the set of errors above is the same between two neighbours
        wrong = errors >= threshold
        jaccard = wrong.sum() / ((g > 0) | wrong).sum()
        total += (threshold - previous) * jaccard
        previous = threshold
    return total


OF_CLASS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {"dice": _dice_of_class, "lovasz": _lovasz_of_class}


def _expected(logits, labels, name, weights=(1.0,) * CLASSES):
    p, targets = _valid_pixels(logits, labels)
    present = [c for c in range(CLASSES) if (targets == c).any()]
    values = [OF_CLASS[name](p[:, c], (targets == c).astype(np.float64)) for c in present]
    return np.average(values, weights=[weights[c] for c in present])


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["equal", "weighted"])
@pytest.mark.parametrize("name", REGIONS)
def test_value_is_that_of_the_definition(name, weights):
    logits, labels = _batch(*SHAPES)
    labels[0][labels[0] == 4], labels[1][labels[1] == 4], labels[2][labels[2] == 4] = 255, 255, 3  # 4 is absent
    loss, _ = _loss(logits, labels, name, class_weights=weights)
    np.testing.assert_allclose(loss, _expected(logits, labels, name, weights or (1.0,) * CLASSES), rtol=1e-6)


def test_lovasz_is_the_jaccard_loss_of_certain_predictions():
    labels = np.int32([[[0, 0, 0, 1, 1, 2, 255, 255]]])
    predicted = np.array([0, 0, 1, 1, 1, 0, 2, 1])
    logits = np.float32(50 * np.eye(CLASSES)[predicted]).reshape(1, 1, 8, CLASSES)
    loss, _ = _loss([logits], [labels], "lovasz")
    np.testing.assert_allclose(loss, np.mean([1 - 2 / 4, 1 - 2 / 3, 1 - 0 / 1]), rtol=1e-6)


@pytest.mark.parametrize("name", REGIONS)
def test_gradient_equals_central_differences(name):
    logits, labels = _batch((1, 3, 4), (1, 2, 3))
    _, gradients = _loss(logits, labels, name, class_weights=WEIGHTS)
    for tower, gradient in enumerate(gradients):
        for position in np.ndindex(gradient.shape):
            values = []
            for sign in (1, -1):
                moved = [x.astype(np.float64) for x in logits]
                moved[tower][position] += sign * 1e-6
                values.append(_expected(moved, labels, name, WEIGHTS))
            np.testing.assert_allclose(gradient[position], (values[0] - values[1]) / 2e-6, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "num_towers", "known"),
    [
        *((name, 2 + known, known) for name in (*REGIONS, "normal+0.5*dice+2*lovasz") for known in (True, False)),
        ("0.5*ohem+focal_2", 3, False),
        ("lovasz", 7, False),  # more towers than classes
    ],
)
def test_towers_equal_one(name, num_towers, known):
    shapes = [(1 + tower % 2, 3 + tower, 4) for tower in range(num_towers)]
    logits, labels = _batch(*shapes)
    labels[1][:] = 255
    options = {"class_weights": WEIGHTS, "label_smoothing": 0.1 if "normal" in name else 0.0, "ohem_min_kept": 9}
    loss, gradients = _loss(logits, labels, name, known, **options)
    joined = [np.concatenate([x.reshape(1, 1, -1, *x.shape[3:]) for x in xs], axis=2) for xs in (logits, labels)]
    expected, (gradient,) = _loss(joined[:1], joined[1:], name, **options)
    assert relative_difference(loss, expected) < 1e-6
    actual = np.concatenate([g.reshape(-1, CLASSES) for g in gradients])
    assert relative_difference(actual, gradient.reshape(-1, CLASSES)) < 1e-6
    targets = joined[1].ravel()
    np.testing.assert_array_equal(actual[targets == 255], 0)
    assert np.all(np.abs(actual[(targets != 255) & (targets != 2)]).sum(axis=-1) > 0) or "ohem" in name


def test_every_tower_sorts_its_share_of_the_classes():
    with tf.Graph().as_default() as graph:
        xs, _ = towers(_batch(*SHAPES)[0], known=False)
        ys, _ = towers(_batch(*SHAPES)[1])
        losses.batch_loss(xs, ys, losses.LossOptions("lovasz"))
        loops = [op for op in graph.get_operations() if op.type in ("While", "StatelessWhile")]
        assert Counter(device_of(op.outputs[0]) for op in loops) == {0: 1, 1: 1, 2: 1}
        sorts = [
            node.device
            for function in graph.as_graph_def().library.function
            for node in function.node_def
            if node.op == "TopKV2"
        ]
        assert sorted(device[-1] for device in sorts) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("size", "dtype"), [(1.0, tf.float32), (1e4, tf.float32), (1e4, tf.float16), (1e4, tf.bfloat16)]
)
@pytest.mark.parametrize("case", ["all ignored", "one pixel", "one class", "class of weight 0", "certain"])
@pytest.mark.parametrize("name", REGIONS)
def test_gradients_are_finite(name, case, size, dtype):
    (x, *_), (y, *_) = _batch((2, 4, 5))
    y[:] = {"all ignored": 255, "class of weight 0": 2}.get(case, 1)
    if case == "one pixel":
        y[:], y[1, 2, 3] = 255, 4
    x = np.clip(x * size, -1e4, 1e4)
    if case == "certain":
        x = np.float32(size * np.eye(CLASSES)[np.where(y == 255, 0, y)])
        x[0, 0, 0] = size * np.eye(CLASSES)[3]
    loss, (gradient,) = _loss([x], [y], name, dtype=dtype, class_weights=WEIGHTS)
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()
    assert -1e-6 <= loss <= 1 + 1e-6
    if case in ("all ignored", "class of weight 0"):
        assert loss == 0
        np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("name", REGIONS)
def test_ignored_pixels_may_be_anything(name):
    logits, labels = _batch(*SHAPES)
    expected, _ = _loss(logits, labels, name)
    for x, y in zip(logits, labels, strict=True):
        x[y == 255] = np.nan
    np.testing.assert_array_equal(_loss(logits, labels, name)[0], expected)


@pytest.mark.parametrize("name", REGIONS)
def test_sums_of_many_pixels_keep_their_digits(name):
    rng = np.random.default_rng(6)
    labels = [rng.integers(0, 2, (1, 600, 700)).astype(np.int32)]
    logits = [rng.normal(0, 1, (1, 600, 700, CLASSES)).astype(np.float32)]
    logits[0][..., 0] += 2 * (labels[0] == 0)
    loss, (gradient,) = _loss(logits, labels, name)
    p, targets = _valid_pixels(logits, labels)
    values, slopes = [], np.zeros(p.shape)
    for c in (0, 1):
        g = (targets == c).astype(np.float64)
        if name == "dice":
            values.append(_dice_of_class(p[:, c], g))
            total = p[:, c].sum() + g.sum()
            slopes[:, c] = (2 * float(p[:, c] @ g) / total - 2 * g) / total
            continue
        order = np.argsort(-np.abs(g - p[:, c]), kind="stable")
        hits = np.cumsum(g[order])
        jaccard = 1 - (g.sum() - hits) / (g.sum() + np.arange(1, len(g) + 1) - hits)
        growth = np.diff(jaccard, prepend=0.0)
        values.append(float(np.abs(g - p[:, c])[order] @ growth))
        slopes[order, c] = growth * np.where(g[order] > 0, -1, 1)
    np.testing.assert_allclose(loss, np.mean(values), rtol=1e-6)
    expected = p * (slopes - (p * slopes).sum(axis=-1, keepdims=True)) / 2
    # float32 probabilities change the order of neighbours, whose slopes are nearly the same
    assert relative_difference(gradient.reshape(-1, CLASSES), expected) < 2e-5
