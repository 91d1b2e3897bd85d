from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.prediction.metrics import ConfusionMatrix, MeanLoss, only_predicted_class


def matrix_by_loop(labels, predictions, num_classes, ignore_label):
    counts = [[0] * num_classes for _ in range(num_classes)]
    for label, prediction in zip(labels, predictions, strict=True):
        for truth, predicted in zip(label.ravel().tolist(), prediction.ravel().tolist(), strict=True):
            if truth != ignore_label:
                counts[truth][predicted] += 1
    return counts


def scores_by_loop(counts):
    classes = range(len(counts))
    iou, accuracy = [], []
    for i in classes:
        true_pixels = sum(counts[i])
        union = true_pixels + sum(counts[j][i] for j in classes if j != i)
        iou.append(counts[i][i] / union if union else None)
        accuracy.append(counts[i][i] / true_pixels if true_pixels else None)
    total = sum(map(sum, counts))
    return {
        "iou": iou,
        "accuracy": accuracy,
        "mean_iou": np.mean([value for value in iou if value is not None]),
        "mean_accuracy": np.mean([value for value in accuracy if value is not None]),
        "pixel_accuracy": sum(counts[i][i] for i in classes) / total,
        "frequency_weighted_iou": sum(sum(counts[i]) / total * iou[i] for i in classes if sum(counts[i])),
    }


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_matrix_and_scores_match_a_loop_over_pixels(dtype):
    random = np.random.default_rng(1)
    labels = [random.integers(0, 19, (height, 31)).astype(dtype) for height in (17, 23)]
    predictions = [
        np.where(random.random(label.shape) < 0.7, label, random.integers(0, 19, label.shape)).astype(dtype)
        for label in labels
    ]
    for label in labels:
        label[random.random(label.shape) < 0.2] = 255
        label[label == 4] = 5  # class 4 never true
    predictions = [np.where(prediction == 255, 0, prediction) for prediction in predictions]
    confusion = ConfusionMatrix(19)
    for label, prediction in zip(labels, predictions, strict=True):
        confusion.process(label, prediction)
    counts = matrix_by_loop(labels, predictions, 19, 255)
    assert confusion.matrix.dtype == np.int64
    assert confusion.matrix.tolist() == counts
    scores = confusion.evaluate()
    for name, expected in scores_by_loop(counts).items():
        assert getattr(scores, name) == pytest.approx(expected, abs=1e-12), name
    assert scores.pixels == sum(int((label != 255).sum()) for label in labels)
    assert scores.images == 2


def test_hand_made_scores():
    confusion = ConfusionMatrix(3)
    confusion.process(np.array([[0, 0, 0, 1], [1, 2, 255, 2]]), np.array([[0, 0, 1, 1], [1, 0, 2, 2]]))
    assert confusion.matrix.tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 1]]
    scores = confusion.evaluate()
    assert scores.iou == pytest.approx((2 / 4, 2 / 3, 1 / 2))
    assert scores.accuracy == pytest.approx((2 / 3, 1.0, 1 / 2))
    assert scores.mean_iou == pytest.approx(5 / 9)
    assert scores.mean_accuracy == pytest.approx(13 / 18)
    assert scores.pixel_accuracy == pytest.approx(5 / 7)
    assert scores.frequency_weighted_iou == pytest.approx((3 / 2 + 4 / 3 + 1) / 7)
    assert (scores.pixels, scores.images) == (7, 1)


def test_dice_and_overall_score_are_their_definitions():
    random = np.random.default_rng(7)
    label = random.integers(0, 4, (40, 50))
    prediction = np.where(random.random(label.shape) < 0.6, label, random.integers(0, 5, label.shape))
    confusion = ConfusionMatrix(6)
    confusion.process(label, prediction)
    scores = confusion.evaluate()
    sizes = [np.float64((label == i).sum() + (prediction == i).sum()) for i in range(6)]
    expected = [2 * ((label == i) & (prediction == i)).sum() / sizes[i] for i in range(5)]
    assert scores.dice == (*(pytest.approx(value, abs=1e-12) for value in expected), None)
    assert scores.mean_dice == pytest.approx(np.mean(expected), abs=1e-12)
    assert scores.overall_score == pytest.approx((scores.mean_iou + np.mean(label == prediction)) / 2, abs=1e-12)


def test_pixels_without_a_predicted_class_count_as_missed():
    """As `intersectionAndUnion` of semseg, whose histogram of the prediction leaves out ids that are no class."""
    random = np.random.default_rng(8)
    label, prediction = random.integers(0, 4, (2, 30, 40))
    label[:5], prediction[random.random(label.shape) < 0.3] = 255, 255
    confusion = ConfusionMatrix(4, missed_label=255)
    confusion.process(label, prediction)
    scores, valid = confusion.evaluate(), label != 255
    for i in range(4):
        true, found = (label == i) & valid, (prediction == i) & valid
        assert scores.iou[i] == (true & found).sum() / (true | found).sum()
        assert scores.accuracy[i] == (true & found).sum() / true.sum()
    assert scores.pixels == valid.sum()
    assert scores.pixel_accuracy == ((label == prediction) & valid).sum() / valid.sum()


def test_iou_is_of_the_whole_set_not_the_mean_over_images():
    confusion = ConfusionMatrix(2)
    confusion.process(np.array([[0, 1, 1, 1]]), np.array([[0, 1, 1, 1]]))
    confusion.process(np.array([[0, 0]]), np.array([[0, 1]]))
    assert confusion.evaluate().iou == pytest.approx((2 / 3, 3 / 4))


def test_absent_class_is_left_out_of_the_means():
    confusion = ConfusionMatrix(3)
    confusion.process(np.array([[0, 0, 2, 2]]), np.array([[0, 0, 2, 0]]))
    scores = confusion.evaluate()
    assert scores.iou == pytest.approx((2 / 3, None, 1 / 2))
    assert scores.accuracy == pytest.approx((1.0, None, 1 / 2))
    assert scores.mean_iou == pytest.approx(7 / 12)
    assert scores.mean_accuracy == pytest.approx(3 / 4)


def test_class_only_predicted_counts_zero_in_mean_iou_and_not_in_mean_accuracy():
    confusion = ConfusionMatrix(2)
    confusion.process(np.array([[0, 0, 0, 0]]), np.array([[0, 0, 0, 1]]))
    scores = confusion.evaluate()
    assert scores.iou == (3 / 4, 0.0)
    assert scores.accuracy == (3 / 4, None)
    assert scores.mean_iou == 3 / 8
    assert scores.mean_accuracy == 3 / 4
    assert scores.frequency_weighted_iou == 3 / 4


@pytest.mark.filterwarnings("error")
def test_no_valid_pixel_gives_nan():
    confusion = ConfusionMatrix(2)
    confusion.process(np.full((3, 3), 255, np.uint8), np.zeros((3, 3), np.uint8))
    scores = confusion.evaluate()
    assert scores.iou == scores.accuracy == (None, None)
    assert all(
        map(
            math.isnan,
            (scores.mean_iou, scores.mean_accuracy, scores.pixel_accuracy, scores.frequency_weighted_iou),
        )
    )
    assert (scores.pixels, scores.images) == (0, 1)


@pytest.mark.parametrize(("dtype", "ignore_label"), [(np.int32, -1), (np.uint8, -1), (np.uint8, 11), (np.uint8, 300)])
def test_other_ignore_labels(dtype, ignore_label):
    label = np.array([[0, 1]], dtype)
    if np.iinfo(dtype).min <= ignore_label <= np.iinfo(dtype).max:
        label[0, 1] = ignore_label
    confusion = ConfusionMatrix(11, ignore_label)
    confusion.process(label, np.array([[0, 1]], dtype))
    assert confusion.evaluate().pixels == int((label.astype(int) != ignore_label).sum())


def test_ignore_label_that_is_a_class_id_is_left_out():
    confusion = ConfusionMatrix(2, ignore_label=0)
    confusion.process(np.array([[0, 1, 1]]), np.array([[1, 1, 0]]))
    assert confusion.matrix.tolist() == [[0, 0], [1, 1]]


def test_prediction_is_not_looked_at_where_the_label_is_ignored():
    confusion = ConfusionMatrix(2)
    confusion.process(np.array([[0, 255]]), np.array([[0, 255]]))
    assert confusion.matrix.tolist() == [[1, 0], [0, 0]]


def test_stack_counts_as_its_images():
    confusion = ConfusionMatrix(2)
    confusion.process(np.zeros((5, 2, 3), np.uint8), np.ones((5, 2, 3), np.uint8))
    assert confusion.evaluate().images == 5
    assert confusion.matrix.tolist() == [[0, 30], [0, 0]]


def test_losses_are_added_up_exactly_whatever_their_order():
    """Of several hosts, each sees some of the images."""
    rng = np.random.default_rng(0)
    images = [(rng.choice([0, 1, 255], (4, 5)), rng.random((4, 5), np.float32)) for _ in range(7)]
    whole, parts = MeanLoss(), [MeanLoss(), MeanLoss(), MeanLoss()]
    for index, image in enumerate(images):
        whole.process(*image)
        parts[index % 3].process(*image)
    total = MeanLoss()
    total.set_parts([part.parts() for part in parts])
    assert total.value == whole.value
    values = np.concatenate([-np.log(of_label[label != 255].astype(np.float64)) for label, of_label in images])
    assert whole.value == pytest.approx(values.mean(), rel=1e-6)
    nothing = MeanLoss()
    nothing.set_parts([MeanLoss().parts()] * 2)
    assert nothing.value is None


def test_matrix_is_a_copy():
    confusion = ConfusionMatrix(2)
    confusion.process(np.array([[0]]), np.array([[1]]))
    confusion.matrix[:] = 9
    assert confusion.matrix.tolist() == [[0, 1], [0, 0]]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=2, max_size=40), st.data())
def test_parts_count_as_the_whole(pairs, data):
    cut = data.draw(st.integers(1, len(pairs) - 1))
    label, prediction = np.array(pairs).T[:, np.newaxis]
    confusion = ConfusionMatrix(4, ignore_label=4)
    confusion.process(label[:, :cut], prediction[:, :cut])
    confusion.process(label[:, cut:], prediction[:, cut:])
    assert confusion.matrix.tolist() == matrix_by_loop([label], [prediction], 4, 4)


@pytest.mark.parametrize(
    ("label", "prediction", "message"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), r"shape \[3, 2\], label \[2, 3\]"),
        (np.zeros((2, 2)), np.zeros((2, 2), int), "label has dtype float64"),
        (np.zeros((2, 2), int), np.zeros((2, 2), np.float32), "prediction has dtype float32"),
        (np.array([[0, 3]]), np.array([[0, 0]]), r"label holds id 3: expected 0\.\.2 or 255 \(ignored\)"),
        (np.array([[0, -1]]), np.array([[0, 0]]), "label holds id -1"),
        (np.array([[0, 0]]), np.array([[0, 3]]), r"prediction holds id 3: expected 0\.\.2;"),
        (np.array([[0, 0]]), np.array([[-2, 0]]), "prediction holds id -2"),
        (
            np.array([[0, 0]]),
            np.array([[2**64 - 1, 0]], np.uint64),
            "prediction holds id 18446744073709551615",
        ),
    ],
)
def test_unfit_arrays_are_refused_and_not_counted(label, prediction, message):
    confusion = ConfusionMatrix(3)
    with pytest.raises(ValueError, match=message) as caught:
        confusion.process(label, prediction)
    assert "\n" not in str(caught.value)
    assert not confusion.matrix.any()
    assert confusion.evaluate().images == 0


def test_no_classes_are_refused():
    with pytest.raises(ValueError, match="num_classes is 0"):
        ConfusionMatrix(0)


@given(
    st.lists(st.sampled_from([0, 1, 2, 255]), min_size=1, max_size=12),
    st.one_of(st.integers(0, 2).map(lambda index: [index] * 12), st.lists(st.integers(0, 2), min_size=12, max_size=12)),
)
def test_the_only_predicted_class(label, prediction):
    """Against the pixels themselves; a class that is the only one in the labels is rightly the only one predicted."""
    matrix = ConfusionMatrix(3)
    matrix.process(np.array([label], np.uint8), np.array([prediction[: len(label)]], np.uint8))
    scored = [(truth, found) for truth, found in zip(label, prediction, strict=False) if truth != 255]
    found = {found for _, found in scored}
    truths = {truth for truth, _ in scored}
    is_constant = len(found) == 1 and found < truths
    assert only_predicted_class(matrix.evaluate()) == (found.pop() if is_constant else None)
