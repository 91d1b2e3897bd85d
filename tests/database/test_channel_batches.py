"""Batches of images of several channels, compared with those of RGB images and with NumPy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image

from database.augment import Augmentation
from database.channels import USUAL_DEVIATION, Channels
from database.class_sampling import Sampling
from database.dynamic_batches import dynamic_batches
from database.dynamic_sizes import DynamicSizes
from database.errors import ImageError
from database.layouts import Sample
from database.reader import training_batches
from tests.database.multiband_files import write_tiff
from tests.database.tfrecord_files import in_a_shard

SIZE = (12, 17)
LABEL_MAP = {0: 0, 1: 1, 2: 2}
GEOMETRY = Augmentation((9, 13), (0.5, 2.0), 10.0, mirror=True, gaussian_blur=True, cutout=0.4)
MEAN = (120.0, 110.0, 100.0)


def write_samples(folder: Path, images: list[np.ndarray], channels: Channels | None, suffix: str) -> list[Sample]:
    rng = np.random.default_rng(1)
    samples = []
    for index, image in enumerate(images):
        path, label = folder / f"{index}.{suffix}", folder / f"{index}_label.png"
        if suffix == "tif":
            write_tiff(path, image)
        else:
            Image.fromarray(image).save(path)
        Image.fromarray(rng.integers(0, 3, SIZE).astype(np.uint8)).save(label)
        samples.append(Sample(str(index), str(path), str(label), LABEL_MAP, channels=channels))
    return samples


def run(samples, steps=3, *, build=training_batches, towers=1, **options):
    with tf.Graph().as_default(), tf.Session() as session:
        batches = build(samples, batch_size=2, tower_devices=["/cpu:0"] * towers, **{"image_mean": MEAN, **options})
        session.run(batches.initializer)
        return [session.run([batches.images, batches.labels, batches.sample_indices]) for _ in range(steps)]


@pytest.fixture(scope="module")
def colours() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8) for _ in range(4)]


def test_images_are_normalized_as_numpy_does(tmp_path):
    rng = np.random.default_rng(0)
    images = [rng.normal(0, 9, (*SIZE, 5)).astype("<f4") for _ in range(2)]
    mean, deviation = (1.0, -2.0, 3.0, 0.0, 5.5), (9.0, 8.0, 0.5, 100.0, 1.0)
    samples = write_samples(tmp_path, images, Channels(5, mean, deviation), "tif")
    for found, _, indices in run(samples, augmentation=Augmentation(SIZE)):
        expected = [(images[i].astype(np.float64) - mean) / deviation * USUAL_DEVIATION for i in indices]
        np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "sampling", [None, pytest.param(Sampling(4, class_mix=1.0), marks=pytest.mark.slow)], ids=["plain", "class_mix"]
)
def test_channels_are_augmented_as_colours_are(tmp_path, colours, sampling):
    """The first three of five channels are the colours, and the others are copies of the first two."""
    (tmp_path / "rgb").mkdir()
    (tmp_path / "five").mkdir()
    rgb = write_samples(tmp_path / "rgb", colours, None, "png")
    five = [np.concatenate([image, image[..., :2]], axis=2) for image in colours]
    channels = Channels(5, (*MEAN, *MEAN[:2]))
    samples = write_samples(tmp_path / "five", five, channels, "tif")
    options = {"augmentation": GEOMETRY, "sampling": sampling, "seed": 3}
    for found, expected in zip(run(samples, **options), run(rgb, **options), strict=True):
        for (image,), (colour,) in zip(found[:1], expected[:1], strict=True):
            np.testing.assert_allclose(image[..., :3], colour, atol=1e-4)
            np.testing.assert_allclose(image[..., 3:], colour[..., :2], atol=1e-4)
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_array_equal(found[2], expected[2])


@pytest.mark.slow
def test_three_channels_of_bytes_are_the_colours(tmp_path, colours):
    """Also in images of changing sizes, whose colours are rounded in either direction when they are resized."""
    rgb = write_samples(tmp_path, colours, None, "png")
    stored = [replace(sample, channels=Channels(3, MEAN)) for sample in rgb]
    sizes = DynamicSizes((8, 11), 20, mirror=True, gaussian_blur=True)
    for options, atol in (({"augmentation": GEOMETRY}, 1e-4), ({"sizes": sizes, "build": dynamic_batches}, 1.001)):
        for found, expected in zip(run(stored, **options), run(rgb, **options), strict=True):
            np.testing.assert_allclose(found[0], expected[0], atol=atol)
            np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.slow
def test_towers_and_resuming(tmp_path, colours):
    deep = [image.astype("<u2") * 200 for image in colours]
    samples = write_samples(tmp_path, deep, Channels(3, MEAN, (50.0, 60.0, 70.0)), "tif")
    whole = run(samples, 4, augmentation=GEOMETRY)
    later = run(samples, 2, augmentation=GEOMETRY, first_sample=4)
    shared = run(samples, 2, augmentation=GEOMETRY, towers=2)
    for step in range(2):
        np.testing.assert_array_equal(later[step][0], whole[2 + step][0])
        np.testing.assert_array_equal(
            np.stack(shared[step][0]), np.stack([whole[2 * step][0][0], whole[2 * step + 1][0][0]])
        )


def test_tfrecords_hold_all_channels(tmp_path):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 65536, (*SIZE, 6)).astype("<u2") for _ in range(3)]
    (tmp_path / "data").mkdir()
    channels = Channels(6, (9.0,) * 6)
    samples = write_samples(tmp_path / "data", images, channels, "tif")
    stored = [replace(sample, channels=channels) for sample in in_a_shard(samples, tmp_path)]
    assert [sample.known_size() for sample in stored] == [SIZE] * 3
    for found, expected in zip(run(stored, augmentation=GEOMETRY), run(samples, augmentation=GEOMETRY), strict=True):
        np.testing.assert_array_equal(found[0], expected[0])


def test_a_file_of_other_channels_stops_the_input(tmp_path, colours):
    samples = write_samples(tmp_path, colours, Channels(4, (0.0,) * 4), "png")
    with tf.Graph().as_default(), tf.Session() as session:
        batches = training_batches(
            samples, batch_size=2, tower_devices=["/cpu:0"], augmentation=GEOMETRY, image_mean=MEAN
        )
        session.run(batches.initializer)
        with pytest.raises(tf.errors.OpError):
            session.run(batches.images)
    fault = batches.loader.faults[0]
    assert isinstance(fault, ImageError)
    assert "3 channels (Pillow's RGB), expected 4 by --input_channels" in str(fault)
