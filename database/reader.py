"""tf.data pipeline from samples on disk to batches per tower.

The dataset is a dataset of counters. Sample n of a run belongs to epoch n // N. Its index is a pseudo-random
permutation of the position n % N, keyed by the epoch and the seed, and its augmentation is drawn from (n, seed). The
class that it has to show and the image whose classes are pasted onto it are drawn from (n, seed) too, see
`class_sampling.Sampling`; they do not depend on the other samples of the batch. A run that resumes at step s therefore
continues with sample s * batch and needs no saved iterator. Of several hosts, each reads its share of the samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import tensorflow.compat.v1 as tf

from database.augment import Augmentation, augment, rows_shown
from database.class_crops import PLACE_DRAWS, load_class_crop
from database.class_sampling import CHOICE_DRAWS, Sampling
from database.classes import IGNORE_LABEL
from database.layouts import Sample
from database.mixing import class_mix
from database.sample_loader import SampleLoader

ENDLESS = 2**62  # counters; tf.data has no endless range


@dataclass(frozen=True)
class Batches:
    """One batch, split between the towers.

    Attributes:
        images: tower list float32 [batch_size, h, w, channels], RGB (or BGR) 0..255, minus the mean, or other channels,
            see `Channels.normalized`; with dynamic sizes, h and w differ between towers and steps.
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


class _Stream(IntEnum):
    """Independent streams of a sample's random numbers, besides that of its augmentation."""

    CHOICE = 1
    MIX = 2
    PARTNER = 3
    PARTNER_CHOICE = 4
    EPOCH = 5


_CHOICE_DRAWS = CHOICE_DRAWS + PLACE_DRAWS


def pixel_type(loader: SampleLoader) -> tf.DType:
    """Returns the type of the images that a loader reads; see `images.read_image`."""
    return tf.uint8 if loader.channels is None else tf.float32


def channel_count(loader: SampleLoader) -> int:
    """Returns how many channels the images have that a loader reads."""
    return 3 if loader.channels is None else loader.channels.count


def normalization(
    loader: SampleLoader, image_mean: tuple[float, ...]
) -> tuple[tuple[float, ...], tuple[float, ...] | None]:
    """Returns mean and factor of each channel: those of the loader's images, or the mean given for RGB and None."""
    return (image_mean, None) if loader.channels is None else (loader.channels.offset, loader.channels.scale)


@dataclass(frozen=True)
class _SampleMaker:
    """Maps the counter of a draw to the sample's image, label and index."""

    loader: SampleLoader
    sampling: Sampling
    augmentation: Augmentation
    image_mean: tuple[float, float, float]
    color_switch: bool
    seed: int

    def make(self, counter: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Makes the image float32 [h, w, C], label int32 [h, w] and index, int64 scalar, of a counter, int64 scalar."""
        draws = tf.random.stateless_uniform([self.augmentation.num_draws], seed=tf.stack([counter, self.seed]))
        choice = self._choice_draws(counter, _Stream.CHOICE)
        image, label, index = self._crop(self._slot(counter), choice, draws)
        if self.sampling.class_mix:
            mix = self._uniform(counter, _Stream.MIX, 1 + IGNORE_LABEL)
            image, label = tf.cond(
                mix[0] < self.sampling.class_mix,
                lambda: class_mix(image, label, *self._partner(counter), mix[1:]),
                lambda: (image, label),
            )
        return (image[..., ::-1] if self.color_switch else image), label, index

    def _uniform(self, number: tf.Tensor, stream: _Stream, count: int, dtype: tf.DType = tf.float32) -> tf.Tensor:
        """Draws uniform numbers [count] of a stream, from the counter of a sample or the number of a round."""
        key = tf.random.experimental.stateless_fold_in(
            tf.stack([number, self.seed]), tf.constant(int(stream), tf.int64)
        )
        return tf.random.stateless_uniform([count], key, dtype=dtype)

    def _choice_draws(self, counter: tf.Tensor, stream: _Stream) -> tf.Tensor:
        if not self.sampling.class_crops:
            return tf.zeros([_CHOICE_DRAWS])
        return self._uniform(counter, stream, _CHOICE_DRAWS)

    def _slot(self, counter: tf.Tensor) -> tf.Tensor:
        """Computes the sample's place in its round, float64 scalar, see `Sampling.choose`."""
        length = self.sampling.round_length
        slot = tf.cast(sample_index(counter, length, self.seed), tf.float64)
        if self.sampling.repeats is None:
            return slot
        return slot + self._uniform(counter // length, _Stream.EPOCH, 1, tf.float64)[0]

    def _partner(self, counter: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Makes the image and label that are pasted onto the sample of a counter: any sample, augmented as others."""
        draws = self._uniform(counter, _Stream.PARTNER, 1 + self.augmentation.num_draws)
        slot = tf.cast(draws[0], tf.float64) * self.sampling.round_length
        return self._crop(slot, self._choice_draws(counter, _Stream.PARTNER_CHOICE), draws[1:])[:2]

    def _crop(self, slot: tf.Tensor, choice: tf.Tensor, draws: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Loads and augments one sample; see `make` for what it returns."""
        image, label, height, index, draws = tf.numpy_function(
            self._load,
            [slot, choice, draws],
            [pixel_type(self.loader), tf.uint8, tf.int64, tf.int64, tf.float32],
            stateful=False,
        )
        image.set_shape([None, None, channel_count(self.loader)])
        label.set_shape([None, None])
        height.set_shape([])
        index.set_shape([])
        draws.set_shape([self.augmentation.num_draws])
        mean, scale = normalization(self.loader, self.image_mean)
        return *augment(image, label, draws, self.augmentation, mean, height, scale), index

    def _load(
        self, slot: np.ndarray, choice: np.ndarray, draws: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.int64, np.int64, np.ndarray]:
        chosen, train_id = self.sampling.choose(float(slot), choice[:CHOICE_DRAWS])
        if train_id is None:
            image, label, height, place = self.loader.load_first_rows(
                chosen, lambda height: rows_shown(draws, height, self.augmentation)
            )
        else:
            (image, label, height, draws), place = self.loader.load_with(
                chosen,
                lambda sample: load_class_crop(sample, train_id, choice[CHOICE_DRAWS:], draws, self.augmentation),
            )
        return image, label, np.int64(height), np.int64(place), draws


def training_batches(
    samples: Sequence[Sample],
    *,
    batch_size: int,
    tower_devices: Sequence[str],
    augmentation: Augmentation,
    sampling: Sampling | None = None,
    image_mean: tuple[float, float, float],
    color_switch: bool = False,
    seed: int = 0,
    first_sample: int = 0,
    max_bad_files: int = 0,
    parallel_calls: int = tf.data.AUTOTUNE,
    host_rank: int = 0,
    host_count: int = 1,
) -> Batches:
    """Builds the input of a training graph; reading and augmentation run on the host, ahead of the towers.

    Args:
        samples: samples with labels.
        batch_size: images per tower.
        tower_devices: device of each tower.
        augmentation: settings of the augmentation.
        sampling: how images are chosen; None for every image once per epoch.
        image_mean: RGB, 0..255; not used for images of other channels, which have their own.
        color_switch: whether to output BGR, which weights from Caffe expect.
        seed: seed of the order and of the augmentation.
        first_sample: counter to start from: batches done * batch_size * towers of all hosts.
        max_bad_files: number of samples that may be unreadable; see `SampleLoader`.
        parallel_calls: number of samples read in parallel.
        host_rank, host_count: this host and the number of hosts, which all have the same number of towers. Sample n
            gets to the same place of the same batch for any number of hosts.

    Returns:
        Endless batches.
    """
    loader = SampleLoader(samples, max_bad_files)
    maker = _SampleMaker(loader, sampling or Sampling(len(samples)), augmentation, image_mean, color_switch, seed)
    make_sample = tf.autograph.experimental.do_not_convert(maker.make)
    own = batch_size * len(tower_devices)
    with tf.device("/CPU:0"):
        dataset = tf.data.Dataset.range(first_sample // host_count, ENDLESS)
        if host_count > 1:  # of each batch, a host reads its stretch of counters
            dataset = dataset.map(
                tf.autograph.experimental.do_not_convert(lambda n: (n // own * host_count + host_rank) * own + n % own)
            )
        dataset = dataset.map(make_sample, num_parallel_calls=parallel_calls, deterministic=True)
        dataset = dataset.batch(own, drop_remainder=True).prefetch(2)
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
