"""Batches of chosen images: a sample depends only on the seed and its number."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from database.class_sampling import ClassDraws, Sampling
from tests.database import tfrecord_files
from tests.database.test_reader import AS_IT_IS, EVERYTHING, run_batches, write_samples

COUNT = 5
# Sample n shows class n.
COUNTS = np.diag([100, 60, 30, 10, 1])
CHOSEN = Sampling(
    COUNT,
    repeats=np.array([1, 1, 1, 1.5, 2.5]),
    class_crops=0.5,
    classes=ClassDraws(COUNTS, 0.3),
    class_mix=0.5,
)
ALL = replace(EVERYTHING, jitter_colors=False, gaussian_blur=False, color_jitter=0.5, cutout=0.3)
STEPS = 6


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return write_samples(tmp_path_factory.mktemp("images"), COUNT)


@pytest.fixture(scope="module")
def batches(samples):
    return run_batches(samples, STEPS, augmentation=ALL, sampling=CHOSEN, seed=3)


def flat(batches):
    """Returns images, labels and indices by the number of the sample."""
    images, labels, indices = batches
    return images.reshape(-1, *images.shape[-3:]), labels.reshape(-1, *labels.shape[-2:]), indices.ravel()


@pytest.mark.parametrize(
    ("augmentation", "labels", "sums"),
    [
        (EVERYTHING, "104a867d1eb98b7f", (410011.94796991814, 59121607.202746585)),
        (replace(EVERYTHING, max_rotation=0.0), "b37370384845b7cf", (410701.9032334625, 59119627.5458495)),
        (replace(EVERYTHING, gaussian_blur=False), "104a867d1eb98b7f", (410564.1928291321, 63483305.96759739)),
    ],
)
def test_without_choices_batches_are_as_before(tmp_path, augmentation, labels, sums):
    """The values were recorded before images could be chosen; the sums allow for the rounding of other processors."""
    images, ids, indices = run_batches(
        write_samples(tmp_path, 7), 9, towers=2, augmentation=augmentation, seed=3, parallel_calls=1
    )
    assert hashlib.sha256(indices.tobytes()).hexdigest()[:16] == "d4cfea2c8b977ad8"
    assert hashlib.sha256(ids.tobytes()).hexdigest()[:16] == labels
    pixels = images.astype(np.float64)
    assert (pixels.sum(), np.square(pixels).sum()) == pytest.approx(sums, rel=1e-6)


def test_starting_later_is_skipping_batches(samples, batches):
    skipped = 2
    rest = run_batches(
        samples, STEPS - skipped, augmentation=ALL, sampling=CHOSEN, seed=3, first_sample=2 * skipped, parallel_calls=1
    )
    for values, of_rest in zip(batches, rest, strict=True):
        assert values[skipped:].tobytes() == of_rest.tobytes()


def test_towers_and_batches_do_not_matter(samples, batches):
    other = run_batches(samples, 2, towers=2, augmentation=ALL, sampling=CHOSEN, seed=3, batch_size=3)
    for values, of_other in zip(flat(batches), flat(other), strict=True):
        assert values.tobytes() == of_other.tobytes()


@pytest.mark.slow
def test_seeds_differ(samples):
    first, other = (run_batches(samples, STEPS, sampling=CHOSEN, seed=seed) for seed in (0, 1))
    assert (first[2] != other[2]).any()
    assert (first[1] != other[1]).any()


def test_tfrecords_and_files_give_the_same_batches(tmp_path):
    files = tfrecord_files.write_samples(tmp_path, COUNT)
    records = tfrecord_files.in_a_shard(files, tmp_path)
    options = {"sampling": CHOSEN, "seed": 5}
    for of_files, of_records in zip(
        run_batches(files, STEPS, **options), run_batches(records, STEPS, **options), strict=True
    ):
        assert of_files.tobytes() == of_records.tobytes()


def test_classes_are_drawn_for_the_asked_share_of_the_crops(samples):
    classes = ClassDraws(COUNTS, 0.3)
    sampling = Sampling(COUNT, class_crops=0.6, classes=classes)
    _, labels, indices = flat(run_batches(samples, 20, batch_size=20, sampling=sampling))
    np.testing.assert_array_equal(labels[:, 0, 0], indices)
    shares = np.bincount(indices, minlength=COUNT) / indices.size
    # Four standard deviations of a binomial.
    np.testing.assert_allclose(shares, 0.4 / COUNT + 0.6 * classes.probabilities, atol=4 * np.sqrt(0.25 / indices.size))


def test_an_epoch_repeats_images(samples):
    repeats = np.array([1.0, 1.0, 1.0, 1.5, 2.5])
    _, _, indices = flat(run_batches(samples, 7, sampling=Sampling(COUNT, repeats=repeats)))
    epochs = [np.bincount(epoch, minlength=COUNT).tolist() for epoch in indices.reshape(2, 7)]
    for shown in epochs:
        assert (np.floor(repeats) <= shown).all()
        assert (shown <= np.ceil(repeats)).all()


@pytest.mark.slow
def test_other_crops_are_pasted_onto_the_asked_share(samples):
    """Labels show one class each: pasting half of the classes, rounded up, replaces the crop."""
    _, plain, indices = flat(run_batches(samples, 20, batch_size=20))
    images, labels, of_mixed = flat(run_batches(samples, 20, batch_size=20, sampling=Sampling(COUNT, class_mix=0.5)))
    np.testing.assert_array_equal(indices, of_mixed)
    replaced = (labels != plain).any(axis=(1, 2))
    # A fifth of the partners shows the same class.
    assert replaced.mean() == pytest.approx(0.5 * 0.8, abs=4 * np.sqrt(0.24 / indices.size))
    partners = np.bincount(labels[replaced, 0, 0], minlength=COUNT) / replaced.sum()
    np.testing.assert_allclose(partners, 1 / COUNT, atol=0.13)
    of_samples = flat(run_batches(samples, 5, batch_size=1))
    sources = dict(zip(of_samples[2].tolist(), of_samples[0], strict=True))
    for image, label in zip(images, labels, strict=True):
        np.testing.assert_array_equal(image, sources[int(label[0, 0])])


def test_partners_may_be_unreadable(tmp_path):
    samples = write_samples(tmp_path, COUNT)
    Path(samples[4].image).write_bytes(b"")
    options = {"augmentation": AS_IT_IS, "sampling": CHOSEN, "max_bad_files": 1}
    _, labels, indices = flat(run_batches(samples, 10, **options))
    assert not (indices == 4).any()
    assert not (labels == 4).any()
