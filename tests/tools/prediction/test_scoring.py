"""Predicting and scoring the samples of a split."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest
from PIL import Image

from database.errors import ImageError
from database.images import write_image
from database.input_range import InputRange
from database.layouts import Sample
from tools.errors import NotFiniteError
from tools.prediction.predictions import LABELS_ONLY, Prediction
from tools.prediction.scoring import evaluate


class FakePredictor:
    """Predicts the red channel."""

    def predict(self, image, wanted=LABELS_ONLY):
        return Prediction(image[..., 0])


def write_sample(folder, name, red, ids=None):
    """Returns a sample with prediction `red` and label `ids`; None for no label."""
    image = np.zeros((*np.shape(red), 3), np.uint8)
    image[..., 0] = red
    path, label = os.path.join(str(folder), f"{name}.png"), os.path.join(str(folder), f"{name}_label.png")
    write_image(path, image)
    if ids is not None:
        write_image(label, np.asarray(ids, np.uint8))
    return Sample(name, path, None if ids is None else label, {0: 0, 1: 1, 2: 2, 3: 3, 255: 255})


def test_scores_by_hand(tmp_path):
    samples = [
        write_sample(tmp_path, "a", red=[[0, 0, 1]], ids=[[0, 0, 0]]),
        write_sample(tmp_path, "b", red=[[1, 2], [1, 0]], ids=[[1, 255], [2, 255]]),
        write_sample(tmp_path, "unlabelled", red=[[2, 2]]),
    ]
    visited = []
    scores = evaluate(
        FakePredictor(),
        samples,
        4,
        visit=lambda seen: visited.append((seen.sample.name, seen.image.shape, seen.prediction.labels.tolist())),
    )
    # 0: 2 of 3 found, none else called so. 1: 1 found, 2 others called so. 2: none of 1 found. 3: nowhere.
    assert scores.iou == (pytest.approx(2 / 3), pytest.approx(1 / 3), 0.0, None)
    assert scores.mean_iou == pytest.approx((2 / 3 + 1 / 3 + 0) / 3)
    assert scores.pixel_accuracy == pytest.approx(3 / 5)
    assert (scores.images, scores.pixels) == (2, 5)
    assert visited == [
        ("a", (1, 3, 3), [[0, 0, 1]]), ("b", (2, 2, 3), [[1, 2], [1, 0]]), ("unlabelled", (1, 2, 3), [[2, 2]])
    ]  # fmt: skip


@pytest.mark.parametrize("towers", [1, 2])
def test_the_image_is_named_whose_probabilities_are_not_finite(tmp_path, towers):
    class Overflowing(FakePredictor):
        def predict(self, image, wanted=LABELS_ONLY):
            if image[0, 0, 0] == 2:
                raise NotFiniteError("the window")
            return super().predict(image, wanted)

    samples = [write_sample(tmp_path, name, [[red]]) for name, red in (("a", 1), ("b", 2), ("c", 1))]
    with pytest.raises(NotFiniteError, match=rf"^{samples[1].image}: the window$"):
        evaluate(Overflowing(), samples, 3, towers=towers)


class SlowFakePredictor(FakePredictor):
    """Takes longer for the first images, and counts how many it works on at a time."""

    def __init__(self):
        self.lock, self.working, self.most = threading.Lock(), 0, 0

    def predict(self, image, wanted=LABELS_ONLY):
        with self.lock:
            self.working += 1
            self.most = max(self.most, self.working)
        time.sleep(0.2 / (1 + image[0, 0, 0]))
        with self.lock:
            self.working -= 1
        return super().predict(image, wanted)


def test_towers_share_out_the_images(tmp_path):
    samples = [write_sample(tmp_path, str(i), red=[[i, (i + 1) % 4]], ids=[[i, 0]]) for i in [0, 1, 2, 3] * 3]
    results = []
    for towers in (1, 3):
        visited, predictor = [], SlowFakePredictor()
        scores = evaluate(
            predictor, samples, 4, towers=towers,
            visit=lambda seen, v=visited: v.append((seen.sample.name, seen.prediction.labels.tolist())),
        )  # fmt: skip
        assert predictor.most == towers
        results.append((scores, visited))
    assert results[0] == results[1]


def test_no_scores_without_labels(tmp_path):
    assert evaluate(FakePredictor(), [write_sample(tmp_path, "a", red=[[0]])], 4) is None
    assert evaluate(FakePredictor(), [], 4) is None


def test_file_that_cannot_be_read(tmp_path):
    samples = [write_sample(tmp_path, name, red=[[0]], ids=[[0]]) for name in "abc"]
    (tmp_path / "b.png").write_bytes(b"not an image")
    visited = []
    with pytest.raises(ImageError, match=r"b\.png: not an image"):
        evaluate(FakePredictor(), samples, 4, visit=lambda seen: visited.append(seen.sample.name))
    assert visited == ["a"]


@pytest.mark.parametrize("labelled", [False, True])
def test_an_image_with_pixels_that_are_no_number_is_not_predicted(tmp_path, labelled):
    path, label = str(tmp_path / "a.tif"), str(tmp_path / "label.png")
    Image.fromarray(np.array([[0, np.inf]], np.float32)).save(path)
    write_image(label, np.array([[0, 1]], np.uint8))
    sample = Sample("a", path, label if labelled else None, {0: 0, 1: 1})
    with pytest.raises(ImageError, match=f"^{path}: .*the first is inf in row 0, column 1"):
        evaluate(FakePredictor(), [sample], 256)


@pytest.mark.parametrize("labelled", [False, True])
def test_images_of_12_bits_are_predicted_as_their_input_range_says(tmp_path, labelled):
    path, label = str(tmp_path / "deep.png"), str(tmp_path / "label.png")
    write_image(path, np.array([[0, 4095]], np.uint16))
    write_image(label, np.array([[0, 1]], np.uint8))
    sample = Sample("a", path, label if labelled else None, {0: 0, 1: 1}, input_range=InputRange(4095))
    seen = []
    evaluate(FakePredictor(), [sample], 256, visit=lambda found: seen.append(found.prediction.labels.tolist()))
    assert seen == [[[0, 255]]]
