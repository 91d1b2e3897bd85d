"""Tests that batches from TFRecords equal batches from files."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from database.augment import Augmentation
from database.dynamic_batches import dynamic_batches
from database.dynamic_sizes import DynamicSizes
from database.errors import TFRecordError
from database.reader import sample_index, training_batches
from tests.database.tfrecord_files import flip_a_bit, in_a_shard, index_of, write_samples

EVERYTHING = Augmentation((5, 7), (0.5, 2.0), 10.0, mirror=True, jitter_colors=True, gaussian_blur=True)


def batches(samples, steps, first_sample=0):
    """Returns images, labels and indices of some steps over two towers, as bytes for comparison."""
    with tf.Graph().as_default(), tf.Session() as session:
        built = training_batches(
            samples, batch_size=2, tower_devices=["/cpu:0"] * 2, augmentation=EVERYTHING, image_mean=(1.0, 2.0, 3.0),
            seed=5, first_sample=first_sample,
        )  # fmt: skip
        session.run(built.initializer)
        found = [session.run([built.images, built.labels, built.sample_indices]) for _ in range(steps)]
    return [np.stack(values) for values in zip(*found, strict=True)]


def test_batches_are_those_of_files_bit_for_bit(tmp_path):
    """Four epochs of six samples in three shards with the whole augmentation, and again from the fourth step on."""
    samples = write_samples(tmp_path / "data", 6)
    index = index_of([samples[:1], samples[1:4], samples[4:]], tmp_path, tmp_path / "tfrecord")
    stored = index.samples(str(tmp_path / "tfrecord"), str(tmp_path))
    assert [(s.name, s.image, s.label, s.label_map) for s in stored] == [
        (s.name, s.image, s.label, s.label_map) for s in samples
    ]
    whole = batches(samples, 6)
    assert sorted(whole[2].ravel()) == sorted([*range(6)] * 4)
    for sample in samples:
        os.remove(sample.image)
        os.remove(sample.label)
    for values, expected in zip(batches(stored, 6), whole, strict=True):
        assert values.tobytes() == expected.tobytes()
    for values, expected in zip(batches(stored, 3, first_sample=3 * 4), whole, strict=True):
        assert values.tobytes() == expected[3:].tobytes()


def test_batches_of_changing_size_are_those_of_files(tmp_path):
    samples = write_samples(tmp_path / "data", 3) + write_samples(tmp_path / "tall", 3, size=(9, 5))
    stored = in_a_shard(samples, tmp_path)
    found = []
    for source in (samples, stored):
        with tf.Graph().as_default(), tf.Session() as session:
            sizes = DynamicSizes((8, 11), 20, mirror=True, jitter_colors=True)
            built = dynamic_batches(
                source, batch_size=2, tower_devices=["/cpu:0"], sizes=sizes, image_mean=(1.0, 2.0, 3.0), first_step=1
            )
            session.run(built.initializer)
            steps = [session.run([*built.images, *built.labels, built.sample_indices]) for _ in range(5)]
            found.append([values.tobytes() for step in steps for values in step])
    assert found[0] == found[1]
    assert len(set(found[0])) > 5


def test_a_damaged_example_stops_the_pipeline_and_is_named(tmp_path):
    stored = in_a_shard(write_samples(tmp_path, 6), tmp_path)
    with tf.Graph().as_default(), tf.Session() as session:
        built = training_batches(
            stored, batch_size=2, tower_devices=["/cpu:0"], augmentation=EVERYTHING, image_mean=(0.0, 0.0, 0.0)
        )
        fifth = stored[int(session.run(sample_index(tf.constant(4, tf.int64), 6, 0)))]
        flip_a_bit(fifth.shard, fifth.place.offset + 50)
        session.run(built.initializer)
        for _ in range(2):
            session.run(built.images)
        with pytest.raises(tf.errors.OpError):
            session.run(built.images)
    assert type(built.loader.faults[0]) is TFRecordError
    assert str(built.loader.faults[0]).startswith(f"{fifth.shard}: example {fifth.number} is damaged")
