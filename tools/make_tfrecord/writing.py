"""Writes the samples of a split as TFRecord shards with an index."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from database.datasets import Dataset
from database.layouts import Sample
from database.tfrecord import Place, compare_shard, make_example, write_shard
from database.tfrecord_index import IndexedSample, Shard, TFRecordIndex, refuse_other_shards, shard_names
from database.tfrecord_samples import color_rows
from tools.runtime.background import read_ahead
from tools.runtime.progress import Progress

logger = logging.getLogger(__name__)


def write_tfrecords(
    dataset: Dataset,
    samples: Sequence[Sample],
    data_dir: str,
    folder: str,
    *,
    split: str,
    shards: int,
    workers: int,
    from_list: bool = False,
    holdout: float | None = None,
) -> TFRecordIndex:
    """Writes shards and index of a split; existing shards are compared with the files and kept.

    Args:
        dataset: of the samples.
        samples: of the split, with labels.
        data_dir: folder of the samples.
        folder: for the TFRecords.
        split: its name.
        shards: number of files, at most one per sample.
        workers: number of samples that are read and checked in parallel.
        from_list: whether the samples come from a list.
        holdout: fraction of the training images in val, None if none are held out.

    Returns:
        The index that was written.

    Raises:
        TFRecordError: there are shards of other data; an existing shard is damaged; a file cannot be written.
        DatasetError, ImageError: a sample is faulty, see `loading.load_sample`.
    """
    refuse_other_shards(folder, split, shards)
    _warn_of_leftovers(folder)
    names = shard_names(split, shards)
    bounds = [number * len(samples) // shards for number in range(shards + 1)]
    shares = [samples[first:end] for first, end in zip(bounds, bounds[1:], strict=False)]
    paths = [os.path.join(folder, name) for name in names]
    places = _write_shards(paths, shares, data_dir, workers, title=f"TFRecords of {split}")
    parts = [
        Shard(name, [IndexedSample.of(sample, data_dir, place) for sample, place in zip(share, found, strict=True)])
        for name, share, found in zip(names, shares, places, strict=True)
    ]
    label_maps = dataset.label_map, samples[0].label_map
    index = TFRecordIndex(dataset.name, split, from_list, holdout, *label_maps, parts, color_rows(dataset))
    index.write(folder)
    return index


def _warn_of_leftovers(folder: str) -> None:
    """Warns about files of killed processes: as large as a shard, and possibly being written by another process."""
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), ".*.tmp"))):
        logger.warning("%s was left by a process that was killed: remove it, unless another one writes here", path)


def _write_shards(
    paths: Sequence[str], shares: Sequence[Sequence[Sample]], data_dir: str, workers: int, title: str
) -> list[list[Place]]:
    """Writes the shards and returns the place of each example, by shard.

    Shards are written one after the other with several threads each, because reading and decoding release Python's
    lock. A killed process then loses one shard, a faulty file stops all threads at once, and one shard is written as
    fast as several.
    """
    is_there = [os.path.exists(path) for path in paths]
    if any(is_there):
        logger.info("%d of %d shards exist: they are compared with the files and kept", sum(is_there), len(paths))
    places: dict[int, list[Place]] = {}
    with Progress(title, sum(map(len, shares)), unit="img") as progress:
        # Existing shards come first, so that nothing is written next to shards of other data.
        for number in sorted(range(len(paths)), key=lambda number: not is_there[number]):
            # Samples of existing shards are compared byte for byte and were checked when they were written.
            make = partial(make_example, data_dir=data_dir, check=not is_there[number])
            examples = _counted(read_ahead(make, shares[number], workers), progress)
            places[number] = (compare_shard if is_there[number] else write_shard)(paths[number], examples)
    return [places[number] for number in range(len(paths))]


def _counted(examples: Iterable[bytes], progress: Progress) -> Iterator[bytes]:
    for example in examples:
        yield example
        progress.update()
