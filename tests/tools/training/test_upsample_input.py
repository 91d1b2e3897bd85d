"""`--upsample_input`: training on, and predicting, images as if they were enlarged first."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image
from scipy import ndimage

from database.augment import NUM_DRAWS, Augmentation, augment
from database.datasets import get_dataset
from database.layouts import Sample
from model import pspnet_mg
from tests.database import reference
from tests.tools.random_pspnet import (
    ARCHITECTURE,
    CLASSES,
    MEAN,
    assert_labels_are_most_probable,
    random_pspnet_record,
)
from tools.flags.train import TrainConfig
from tools.prediction import predictor
from tools.prediction.predictor import Predictor
from tools.prediction.protocols import at_scales
from tools.prediction.scoring import evaluate
from tools.prediction.sliding import SlidingPredictor
from tools.runs.record import ModelRecord
from tools.training.settings import augmentation_of

SIZE = (37, 46)
CROP = (33, 40)
pytestmark = pytest.mark.usefixtures("narrow_resnet")


def enlarged(array, factor):
    """float64 [H * factor, W * factor, C], bilinear between the centres of pixels, by SciPy."""
    return ndimage.zoom(array.astype(np.float64), (factor, factor, 1), order=1, mode="nearest", grid_mode=True)


def test_flags_enlarge_the_range_of_scales():
    assert augmentation_of(TrainConfig(batch_size=2, upsample_input=2)).scale_range == (1.0, 4.0)
    config = TrainConfig(batch_size=2, upsample_input=3, scale_min=0.75, scale_max=1.25)
    assert augmentation_of(config).scale_range == (2.25, 3.75)
    assert augmentation_of(TrainConfig(batch_size=2, upsample_input=4, random_scale=False)).scale_range == (4.0, 4.0)


def run_augment(image, label, draws, augmentation):
    """[crop, label] for each row of draws."""
    with tf.Graph().as_default(), tf.Session() as session:
        row = tf.placeholder(tf.float32, [NUM_DRAWS])
        results = augment(tf.constant(image), tf.constant(label), row, augmentation, (0.0, 0.0, 0.0))
        return [session.run(results, {row: values}) for values in draws]


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(0)
    label = np.kron(rng.choice([0, 7, 90, 200], (5, 6)), np.ones((9, 9)))[: SIZE[0], : SIZE[1]].astype(np.uint8)
    smooth = enlarged(rng.integers(0, 256, (5, 6, 3)), 9)[: SIZE[0], : SIZE[1]]
    return np.rint(smooth).astype(np.uint8), label


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_crops_show_what_those_of_an_enlarged_sample_show(sample, factor):
    """Frame, place, rotation and mirror, and so the labels; pixels differ by what a second interpolation smooths."""
    image, label = sample
    draws = np.random.default_rng(1).random((12, NUM_DRAWS)).astype(np.float32)
    changes = Augmentation(CROP, (0.5, 2.0), 10.0, mirror=True)
    at_once = dataclasses.replace(changes, scale_range=(0.5 * factor, 2.0 * factor))
    first = np.rint(enlarged(image, factor)).astype(np.uint8), np.kron(label, np.ones((factor, factor), np.uint8))
    compared = 0
    for values, once, twice in zip(
        draws, run_augment(image, label, draws, at_once), run_augment(*first, draws, changes), strict=True
    ):
        clear = reference.warp(image, label, values, at_once)[3] & reference.warp(*first, values, changes)[3]
        np.testing.assert_array_equal(once[1][clear], twice[1][clear])
        compared += np.count_nonzero(clear & (once[1] != 255))
        assert np.abs(once[0] - twice[0]).mean() < 1
    assert compared > 0.5 * len(draws) * CROP[0] * CROP[1]


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_unscaled_crops_are_cut_from_the_enlarged_image(sample, factor):
    image, label = sample
    draws = np.full((1, NUM_DRAWS), 0.25, np.float32)
    [(crop, crop_label)] = run_augment(image, label, draws, Augmentation(CROP, (float(factor), float(factor))))
    top, left = (int(0.25 * (size * factor - crop + 1)) for size, crop in zip(SIZE, CROP, strict=True))
    part = slice(top, top + CROP[0]), slice(left, left + CROP[1])
    np.testing.assert_allclose(crop, enlarged(image, factor)[part], rtol=0, atol=1e-2)
    np.testing.assert_array_equal(crop_label, np.kron(label, np.ones((factor, factor), int))[part])


@pytest.mark.parametrize("window", [(24, 32), None])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_probabilities_are_those_of_the_enlarged_image_in_the_size_of_the_image(factor, window):
    """A network that looks at single pixels, for which windows do not matter."""
    mixing = np.random.default_rng(2).normal(0, 3, (3, CLASSES))

    def predict(windows):
        exponentials = np.exp(windows @ mixing)
        return exponentials / exponentials.sum(axis=-1, keepdims=True)

    image = np.random.default_rng(3).normal(0, 1, (*SIZE, 3)).astype(np.float32)
    predicted = predict(enlarged(image, factor))
    expected = ndimage.zoom(predicted, (1 / factor, 1 / factor, 1), order=1, mode="nearest", grid_mode=True)
    sliding = SlidingPredictor(predict, CLASSES, window, scales=(float(factor),), mirror=False)
    np.testing.assert_allclose(sliding.probabilities(image), expected, rtol=0, atol=1e-5)


def test_predictor_sees_the_enlarged_image(random_pspnet):
    image = np.random.default_rng(4).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    image[:8] //= 8
    with tf.Graph().as_default(), tf.Session() as session:
        window = enlarged(image.astype(np.float32) - np.float32(MEAN), 2)[np.newaxis].astype(np.float32)
        [output] = pspnet_mg.forward_graph([tf.constant(window)], ARCHITECTURE)
        tf.train.Saver().restore(session, random_pspnet)
        expected = session.run(output)[0].reshape(16, 2, 16, 2, CLASSES).mean(axis=(1, 3))
    with Predictor(random_pspnet, random_pspnet_record(upsample_input=2), mirror=False) as predictor:
        labels = predictor.labels(image)
    assert_labels_are_most_probable(labels, expected)


@pytest.mark.parametrize(("multi_scale", "scales"), [(False, [3.0]), (True, [1.5, 2.25, 3.0, 3.75, 4.5, 5.25])])
def test_scales_of_a_test_are_those_of_the_enlarged_image(random_pspnet, monkeypatch, multi_scale, scales):
    seen = []
    monkeypatch.setattr(
        predictor, "SlidingPredictor", lambda *arguments, **options: seen.append(options["scales"].scales)
    )
    with Predictor(random_pspnet, random_pspnet_record(upsample_input=3), protocol=at_scales(multi_scale=multi_scale)):
        pass
    assert seen == [tuple(scales)]


def test_scores_are_of_the_size_of_the_labels(random_pspnet, tmp_path):
    """33x21 pixels are scored, not their fourfold."""
    rng = np.random.default_rng(5)
    paths = [str(tmp_path / name) for name in ("image.png", "label.png")]
    Image.fromarray(rng.integers(0, 256, (33, 21, 3)).astype(np.uint8)).save(paths[0])
    Image.fromarray(rng.integers(0, CLASSES, (33, 21)).astype(np.uint8)).save(paths[1])
    sample = Sample("a", *paths, {0: 0, 1: 1, 2: 2})
    seen = []
    with Predictor(random_pspnet, random_pspnet_record(upsample_input=2)) as predictor:
        scores = evaluate(predictor, [sample], CLASSES, visit=lambda found: seen.append(found.prediction.labels.shape))
    assert seen == [(33, 21)]
    assert scores is not None
    assert scores.pixels == 33 * 21


def test_record_keeps_the_factor(tmp_path):
    config = TrainConfig(batch_size=2, upsample_input=2)
    record = ModelRecord.of_run(config, get_dataset("Cityscapes"))
    record.write(str(tmp_path))
    read = ModelRecord.read(str(tmp_path))
    assert read is not None
    assert read.upsample_input == 2
