"""tf.data pipeline of batches whose image size varies by step and by tower.

As in `database.reader`, all random choices are functions of counters: at step s, tower t of T gets batch s * T + t,
where T counts the towers of all hosts. A resumed run therefore needs no saved iterator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from database.augment import NUM_DRAWS
from database.colors import finished
from database.dynamic_sizes import DynamicSizes, GroupedOrder, fitted, fitted_size, padded_batch
from database.layouts import Sample
from database.loading import sample_sizes
from database.reader import (
    ENDLESS,
    Batches,
    channel_count,
    normalization,
    on_towers,
    pixel_type,
    untuned_iterator,
)
from database.sample_loader import SampleLoader


@dataclass(frozen=True)
class _BatchMaker:
    """Maps a batch number to the batch's images, labels and sample indices."""

    loader: SampleLoader
    order: GroupedOrder
    batch_size: int
    sizes: DynamicSizes
    image_mean: tuple[float, float, float]
    color_switch: bool
    seed: int

    def _load(self, number: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, ...]:
        """Loads images [N, H, W, channels], labels uint8 [N, H, W], unpadded sizes int32 [N, 2], indices int64 [N]."""
        choices = self.sizes.short_sides
        short_side = choices[int(draws[0, 0] * len(choices))]
        pairs, indices = [], []
        for planned, of_sample in zip(self.order.batch(int(number)), draws, strict=True):
            image, label, index = self.loader.load(int(planned))
            indices.append(index)
            size = fitted_size(label.shape, short_side, self.sizes.max_size)
            pairs.append(fitted(image, label, size, mirrored=self.sizes.mirror and of_sample[4] < 0.5))
        images, labels = padded_batch(pairs, self.sizes.multiple)
        return images, labels, np.array([label.shape for _, label in pairs], np.int32), np.array(indices, np.int64)

    def make(self, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Makes images float32 [N, H, W, C], labels int32 [N, H, W], indices int64 [N] of batch `number`, int64 []."""
        counters = [number * self.batch_size + i for i in range(self.batch_size)]
        draws = tf.stack([tf.random.stateless_uniform([NUM_DRAWS], seed=tf.stack([n, self.seed])) for n in counters])
        images, labels, sizes, indices = tf.numpy_function(
            self._load, [number, draws], [pixel_type(self.loader), tf.uint8, tf.int32, tf.int64], stateful=False
        )
        images.set_shape([self.batch_size, None, None, channel_count(self.loader)])
        labels.set_shape([self.batch_size, None, None])
        sizes.set_shape([self.batch_size, 2])
        indices.set_shape([self.batch_size])
        finished_images = [self._finished(images[i], sizes[i], draws[i]) for i in range(self.batch_size)]
        return tf.stack(finished_images), tf.cast(labels, tf.int32), indices

    def _finished(self, image: tf.Tensor, size: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        """Applies the colour changes to one image, subtracts the mean and sets the padding to 0."""
        height, width = tf.unstack(tf.shape(image)[:2])
        inside = tf.logical_and(tf.range(height)[:, tf.newaxis] < size[0], tf.range(width)[tf.newaxis] < size[1])
        pixels = finished(
            tf.cast(image, tf.float32), inside, draws, self.sizes, *normalization(self.loader, self.image_mean)
        )
        return pixels[..., ::-1] if self.color_switch else pixels


def dynamic_batches(
    samples: Sequence[Sample],
    *,
    batch_size: int,
    tower_devices: Sequence[str],
    sizes: DynamicSizes,
    image_mean: tuple[float, float, float],
    color_switch: bool = False,
    seed: int = 0,
    first_step: int = 0,
    max_bad_files: int = 0,
    parallel_calls: int = tf.data.AUTOTUNE,
    host_rank: int = 0,
    host_count: int = 1,
) -> Batches:
    """Builds the input of a training graph in which each tower gets its own image size, which varies by step.

    Args:
        samples: samples with labels; the headers of all images are read to get their sizes.
        batch_size: images per tower.
        tower_devices: device of each tower.
        sizes: how images are resized and augmented.
        image_mean: RGB, 0..255; not used for images of other channels, which have their own.
        color_switch: whether to output BGR, which weights from Caffe expect.
        seed: seed of the order, the sizes and the augmentations.
        first_step: the step to start from, equal to the number of steps done.
        max_bad_files: number of samples that may be unreadable, apart from their headers, which must all be readable.
        parallel_calls: number of steps prepared in parallel.
        host_rank, host_count: this host and the number of hosts, which all have the same number of towers.

    Returns:
        Endless batches, whose heights and widths are not known statically.

    Raises:
        ImageError: the header of an image cannot be read.
        DatasetError: see `GroupedOrder`.
    """
    order = GroupedOrder(sample_sizes(samples), batch_size, seed)
    loader = SampleLoader(samples, max_bad_files)
    maker = _BatchMaker(loader, order, batch_size, sizes, image_mean, color_switch, seed)
    towers = len(tower_devices)

    first_tower, all_towers = host_rank * towers, host_count * towers

    def make_step(step: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], ...]:
        numbers = range(first_tower, first_tower + towers)
        return tuple(zip(*(maker.make(step * all_towers + tower) for tower in numbers), strict=True))

    with tf.device("/CPU:0"):
        dataset = tf.data.Dataset.range(first_step, ENDLESS)
        dataset = dataset.map(
            tf.autograph.experimental.do_not_convert(make_step), num_parallel_calls=parallel_calls, deterministic=True
        )
        iterator = untuned_iterator(dataset.prefetch(2))
        images, labels, indices = iterator.get_next()
        sample_indices = tf.concat(indices, axis=0)
    return Batches(
        on_towers(images, tower_devices, "images"),
        on_towers(labels, tower_devices, "labels"),
        sample_indices,
        iterator.initializer,
        loader,
    )
