"""The choice of images: by repeats and by classes, against the formulas of the papers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from database.class_sampling import ClassDraws, Sampling, class_probabilities, repeat_factors

# Five images of four classes; no image shows class 3.
COUNTS = np.array([[90, 10, 0, 0], [100, 0, 0, 0], [80, 15, 5, 0], [100, 0, 0, 0], [60, 0, 0, 0]], np.int64)
NO_CLASS = np.array([0.999, 0.5, 0.5], np.float32)


@pytest.mark.parametrize("temperature", [0.01, 0.1, 10.0])
def test_probabilities_are_those_of_daformer(temperature):
    frequencies = [430 / 460, 25 / 460, 5 / 460]
    weights = [math.exp((1 - frequency) / temperature) for frequency in frequencies]
    expected = [weight / sum(weights) for weight in weights]
    np.testing.assert_allclose(class_probabilities(COUNTS, temperature), [*expected, 0.0], rtol=1e-12)


def test_probabilities_of_very_rare_classes_are_about_equal():
    counts = np.array([[10**9, 10**5, 1]])
    common, rare, rarest = class_probabilities(counts)
    assert rare == pytest.approx(rarest, rel=0.02)
    assert common < 1e-40


def test_a_low_temperature_does_not_overflow():
    np.testing.assert_array_equal(class_probabilities(COUNTS, 1e-9), [0, 0, 1, 0])
    assert not class_probabilities(np.zeros((2, 3), np.int64)).any()


def test_repeat_factors_are_those_of_lvis():
    threshold = 0.9
    expected = []
    for row in COUNTS:
        of_classes = [1.0]
        for train_id in np.flatnonzero(row):
            fraction = sum(1 for other in COUNTS if other[train_id]) / len(COUNTS)
            of_classes.append(max(1.0, math.sqrt(threshold / fraction)))
        expected.append(max(of_classes))
    assert expected == pytest.approx([1.5, 1, math.sqrt(0.9 / 0.2), 1, 1])
    np.testing.assert_allclose(repeat_factors(COUNTS, threshold), expected, rtol=1e-12)
    np.testing.assert_array_equal(repeat_factors(COUNTS, 0.1), np.ones(5))


def _round(sampling, offset):
    return [sampling.choose(slot + offset, NO_CLASS).image for slot in range(sampling.round_length)]


def test_a_round_shows_an_image_as_often_as_its_repeats_say():
    repeats = np.array([1.5, 1.0, 2.1213, 1.0, 1.3])
    sampling = Sampling(5, repeats=repeats)
    assert sampling.round_length == 7
    offsets = (np.arange(1000) + 0.5) / 1000
    shown = np.array([np.bincount(_round(sampling, offset), minlength=5) for offset in offsets])
    expected = repeats * 7 / repeats.sum()
    assert (np.abs(shown - expected) < 1).all()  # rounded down or up
    np.testing.assert_allclose(shown.mean(axis=0), expected, atol=2e-3)
    np.testing.assert_allclose(sampling.image_shares(), expected / 7)


@pytest.mark.parametrize("offset", [0.0, 0.4, 0.999])
def test_repeats_of_one_are_every_image_once(offset):
    assert _round(Sampling(300, repeats=np.ones(300)), offset) == list(range(300))
    assert _round(Sampling(300), offset) == list(range(300))


def test_classes_and_their_images_are_drawn_as_often_as_planned():
    classes = ClassDraws(COUNTS, 1.0)
    sampling = Sampling(5, class_crops=0.25, classes=classes)
    grid = (np.arange(200) + 0.5) / 200
    chosen = [sampling.choose(0, np.array([0.1, of_class, of_image])) for of_class in grid for of_image in grid]
    shares = np.bincount([choice.train_id for choice in chosen], minlength=4) / len(chosen)
    np.testing.assert_allclose(shares, class_probabilities(COUNTS, 1.0), atol=0.01)
    assert all(COUNTS[choice.image, choice.train_id] for choice in chosen)
    for train_id, images in enumerate([5, 2, 1]):
        times = np.bincount([choice.image for choice in chosen if choice.train_id == train_id])
        np.testing.assert_allclose(times[times > 0] / times.sum(), 1 / images, atol=0.01)
    of_images = np.bincount([choice.image for choice in chosen], minlength=5) / len(chosen)
    np.testing.assert_allclose(sampling.image_shares(), 0.75 / 5 + 0.25 * of_images, atol=0.01)
    assert sampling.image_shares().sum() == pytest.approx(1)


def test_only_the_asked_share_is_chosen_by_class():
    sampling = Sampling(5, class_crops=0.25, classes=ClassDraws(COUNTS))
    draws = np.array([[share, 0.999999, 0.999999] for share in (0.0, 0.249, 0.25, 0.9)], np.float32)
    assert [sampling.choose(3, row) for row in draws] == [(2, 2), (2, 2), (3, None), (3, None)]
