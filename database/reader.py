"""tf.data pipeline from samples on disk to batches per tower.

The dataset is a dataset of counters. Sample n of a run belongs to epoch n // N. Its index is a pseudo-random
permutation of the position n % N, keyed by the epoch and the seed, and its augmentation is drawn from (n, seed). A run
that resumes at step s therefore continues with sample s * batch and needs no saved iterator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from database.augment import NUM_DRAWS, Augmentation, augment, rows_shown
from database.layouts import Sample
from database.sample_loader import SampleLoader

ENDLESS = 2**62  # counters; tf.data has no endless range


@dataclass(frozen=True)
class Batches:
    """One batch, split between the towers.

    Attributes:
        images: tower list float32 [batch_size, h, w, 3], RGB (or BGR) 0..255, minus the mean; with dynamic sizes, h and
            w differ between towers and steps.
        labels: tower list int32 [batch_size, h, w], training ids, 255 ignored.
        sample_indices: int64 [towers * batch_size], positions in the list of samples, in tower order.
        initializer: must be run once per session before the first batch.
        loader: reads the samples; its `faults` hold the causes if a batch fails with a TensorFlow error.
    """

    images: list[tf.Tensor]
    labels: list[tf.Tensor]
    sample_indices: tf.Tensor
    initializer: tf.Operation
    loader: SampleLoader


def sample_index(counter: tf.Tensor, num_samples: int, seed: int) -> tf.Tensor:
    """Computes the sample of the counter-th draw of a run: int64 scalar -> int64 scalar below `num_samples`.

    Each epoch of `num_samples` consecutive counters visits every sample once.
    """
    epoch, position = counter // num_samples, counter % num_samples
    # index_shuffle uses only the low bits of its key, 8 of each word for up to 65536 samples: mix in the rest.
    key = tf.random.stateless_uniform([2], tf.stack([epoch, seed]), minval=None, maxval=None, dtype=tf.int32)
    return tf.random.experimental.index_shuffle(position, key, num_samples - 1)


@dataclass(frozen=True)
class _SampleMaker:
    """Maps the counter of a draw to the sample's image, label and index."""

    loader: SampleLoader
    num_samples: int
    augmentation: Augmentation
    image_mean: tuple[float, float, float]
    color_switch: bool
    seed: int

    def _load(self, index: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.int64, np.int64]:
        image, label, height, place = self.loader.load_first_rows(
            int(index), lambda height: rows_shown(draws, height, self.augmentation)
        )
        return image, label, np.int64(height), np.int64(place)

    def make(self, counter: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Makes the image float32 [h, w, 3], label int32 [h, w] and index, int64 scalar, of a counter, int64 scalar."""
        index = sample_index(counter, self.num_samples, self.seed)
        draws = tf.random.stateless_uniform([NUM_DRAWS], seed=tf.stack([counter, self.seed]))
        image, label, height, index = tf.numpy_function(
            self._load, [index, draws], [tf.uint8, tf.uint8, tf.int64, tf.int64], stateful=False
        )
        image.set_shape([None, None, 3])
        label.set_shape([None, None])
        height.set_shape([])
        index.set_shape([])
        crop, crop_label = augment(image, label, draws, self.augmentation, self.image_mean, height)
        return (crop[..., ::-1] if self.color_switch else crop), crop_label, index


def training_batches(
    samples: Sequence[Sample],
    *,
    batch_size: int,
    tower_devices: Sequence[str],
    augmentation: Augmentation,
    image_mean: tuple[float, float, float],
    color_switch: bool = False,
    seed: int = 0,
    first_sample: int = 0,
    max_bad_files: int = 0,
    parallel_calls: int = tf.data.AUTOTUNE,
) -> Batches:
    """Builds the input of a training graph; reading and augmentation run on the host, ahead of the towers.

    Args:
        samples: samples with labels.
        batch_size: images per tower.
        tower_devices: device of each tower.
        augmentation: settings of the augmentation.
        image_mean: RGB, 0..255.
        color_switch: whether to output BGR, which weights from Caffe expect.
        seed: seed of the order and of the augmentation.
        first_sample: counter to start from: steps done * batch_size * towers.
        max_bad_files: number of samples that may be unreadable; see `SampleLoader`.
        parallel_calls: number of samples read in parallel.

    Returns:
        Endless batches.
    """
    loader = SampleLoader(samples, max_bad_files)
    maker = _SampleMaker(loader, len(samples), augmentation, image_mean, color_switch, seed)
    make_sample = tf.autograph.experimental.do_not_convert(maker.make)
    with tf.device("/CPU:0"):
        dataset = tf.data.Dataset.range(first_sample, ENDLESS)
        dataset = dataset.map(make_sample, num_parallel_calls=parallel_calls, deterministic=True)
        dataset = dataset.batch(batch_size * len(tower_devices), drop_remainder=True).prefetch(2)
        iterator = untuned_iterator(dataset)
        images, labels, indices = iterator.get_next()
        image_shares, label_shares = (tf.split(batch, len(tower_devices)) for batch in (images, labels))
    tower_images = on_towers(image_shares, tower_devices, "images")
    tower_labels = on_towers(label_shares, tower_devices, "labels")
    return Batches(tower_images, tower_labels, indices, iterator.initializer, loader)


def untuned_iterator(dataset: tf.data.Dataset) -> tf.data.Iterator:
    """Makes an iterator whose parallelism TensorFlow does not tune; AUTOTUNE is then one call per core, at most 16.

    With tuning, closing a session may take a minute: its thread sleeps for up to 60 s between two rounds, and may miss
    the request to end, because `CancellationManager::StartCancel` wakes it before it marks the request.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return tf.data.make_initializable_iterator(dataset.with_options(options))


def on_towers(shares: Sequence[tf.Tensor], tower_devices: Sequence[str], name: str) -> list[tf.Tensor]:
    """Puts each tower's share of a batch on its device."""
    placed = []
    for device, share in zip(tower_devices, shares, strict=True):
        with tf.device(device):
            placed.append(tf.identity(share, name))
    return placed
