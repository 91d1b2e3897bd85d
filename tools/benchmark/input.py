"""Measures the training crops per processor core from whole frames, cropping first or last."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import partial

import numpy as np
import tensorflow.compat.v1 as tf

from database.augment import Augmentation
from database.classes import IGNORE_LABEL, identity_map
from database.images import write_image
from database.layouts import Sample
from database.reader import training_batches
from database.synthetic import render_scene
from tools.benchmark.timing import Row, processor_seconds

_FRAME = (1024, 2048)
_SCALES = (0.5, 2.0)
# Number of batches that both pipelines prepare in the background.
_MADE_AHEAD = 2
_MEAN = (120.0, 115.0, 110.0)


def measure_input(*, crop_size: tuple[int, int], repeats: int) -> list[Row]:
    """Measures crops per second of processor time, from PNG files of 1024x2048.

    `ours` is the training pipeline; `reference_order` has the order of PSPNet-TF-Reproduce: the whole frame is decoded,
    its colours are changed, it is mirrored and scaled, and then cropped.

    Args:
        crop_size: height and width of the crops.
        repeats: number of crops of each pipeline, after those that are prepared in the background.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        sample = write_frame(folder, _FRAME)
        for name, build in (("ours", _ours), ("reference_order", _reference_order)):
            seconds = _seconds_per_crop(partial(build, sample, crop_size), repeats)
            rows.append(Row(f"input.{name}", 1 / seconds, "images/s per core"))
    return rows


def write_frame(folder: str, size: tuple[int, int], number: int = 0) -> Sample:
    """Writes a street scene of height and width `size`, generated from `number`, and its label as PNG files."""
    image, label = render_scene(np.random.default_rng(number), *size)
    name = f"frame{number}"
    image_path, label_path = (os.path.join(folder, f"{name}-{kind}.png") for kind in ("image", "label"))
    write_image(image_path, image)
    write_image(label_path, label)
    return Sample(name, image_path, label_path, identity_map(255))


def _seconds_per_crop(build: Callable[[], tuple[list[tf.Tensor], tf.Operation]], repeats: int) -> float:
    with tf.Graph().as_default() as graph:
        fetches, initializer = build()
        graph.finalize()
    with tf.Session(graph=graph) as session:
        session.run(initializer)
        return processor_seconds(lambda: session.run(fetches), warm_up=2 * _MADE_AHEAD, repeats=repeats)


def _ours(sample: Sample, crop_size: tuple[int, int]) -> tuple[list[tf.Tensor], tf.Operation]:
    augmentation = Augmentation(crop_size, _SCALES, mirror=True, jitter_colors=True)
    batches = training_batches(
        [sample],
        batch_size=1,
        tower_devices=["/device:CPU:0"],
        augmentation=augmentation,
        image_mean=_MEAN,
        parallel_calls=1,
    )
    return [*batches.images, *batches.labels], batches.initializer


def _reference_order(sample: Sample, crop_size: tuple[int, int]) -> tuple[list[tf.Tensor], tf.Operation]:
    dataset = tf.data.Dataset.from_tensors((sample.image, str(sample.label))).repeat()
    dataset = dataset.map(lambda image, label: _crop_last(image, label, crop_size), num_parallel_calls=1)
    dataset = dataset.batch(1).prefetch(_MADE_AHEAD)
    iterator = tf.data.make_initializable_iterator(dataset)
    return list(iterator.get_next()), iterator.initializer


def _crop_last(image_path: tf.Tensor, label_path: tf.Tensor, crop_size: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    image = tf.cast(tf.image.decode_png(tf.io.read_file(image_path), channels=3), tf.float32)
    label = tf.cast(tf.image.decode_png(tf.io.read_file(label_path), channels=1), tf.float32)
    image = tf.image.random_brightness(image, 63.0)
    image = tf.image.random_saturation(image, 0.5, 1.5)
    image = tf.image.random_contrast(image, 0.2, 1.8)
    together = tf.image.random_flip_left_right(tf.concat([image - _MEAN, label], axis=-1))
    size = tf.cast(tf.random.uniform([], *_SCALES) * _FRAME, tf.int32)
    image = tf.image.resize_bilinear(together[tf.newaxis, ..., :3], size)[0]
    label = tf.image.resize_nearest_neighbor(together[tf.newaxis, ..., 3:], size)[0] - IGNORE_LABEL
    height, width = tf.unstack(tf.maximum(size, crop_size))
    padded = tf.image.pad_to_bounding_box(tf.concat([image, label], axis=-1), 0, 0, height, width)
    crop = tf.image.random_crop(padded, [*crop_size, 4])
    return crop[..., :3], tf.cast(crop[..., 3] + IGNORE_LABEL, tf.int32)
