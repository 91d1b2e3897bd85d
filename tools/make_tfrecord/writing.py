"""A split's samples written as shards of records with their index."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from database.datasets import Dataset
from database.layouts import Sample
from database.record_index import IndexedSample, RecordIndex, Shard, color_rows, refuse_other_shards, shard_names
from database.tfrecord import Place, compare_shard, record_of, write_shard
from tools.runtime.background import read_ahead
from tools.runtime.progress import Progress

logger = logging.getLogger(__name__)


def write_records(
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
) -> RecordIndex:
    """Writes shards and index of a split; shards that are there already are compared with the files and kept.

    Args:
        dataset: that the samples are of.
        samples: of the split, with labels.
        data_dir: that they lie in.
        folder: for the records.
        split: its name.
        shards: number of files, at most one per sample.
        workers: samples that are read and checked at a time.
        from_list: whether a list told the samples.
        holdout: the fraction of the training images that is val, None where nothing is held out.

    Returns:
        The index that was written.

    Raises:
        TFRecordError: shards of other data are there; one that is there is damaged; a file cannot be written.
        DatasetError, ImageError: a sample is faulty, see `loading.load_sample`.
    """
    refuse_other_shards(folder, split, shards)
    _tell_leftovers(folder)
    names = shard_names(split, shards)
    bounds = [number * len(samples) // shards for number in range(shards + 1)]
    shares = [samples[first:end] for first, end in zip(bounds, bounds[1:], strict=False)]
    paths = [os.path.join(folder, name) for name in names]
    places = _write_shards(paths, shares, data_dir, workers, title=f"records of {split}")
    parts = [
        Shard(name, [IndexedSample.of(sample, data_dir, place) for sample, place in zip(share, found, strict=True)])
        for name, share, found in zip(names, shares, places, strict=True)
    ]
    label_maps = dataset.label_map, samples[0].label_map
    index = RecordIndex(dataset.name, split, from_list, holdout, *label_maps, parts, color_rows(dataset))
    index.write(folder)
    return index


def _tell_leftovers(folder: str) -> None:
    """Warns of what killed processes left: as large as a shard, and not to be told from what others write now."""
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), ".*.tmp"))):
        logger.warning("%s was left by a process that was killed: remove it, unless another one writes here", path)


def _write_shards(
    paths: Sequence[str], shares: Sequence[Sequence[Sample]], data_dir: str, workers: int, title: str
) -> list[list[Place]]:
    """Where each record is, by shard.

    Shard after shard, the samples of each by several threads, as reading and decoding let go of Python's lock: so a
    killed process loses one shard, a faulty file stops the others at once, and a single shard is written as fast.
    """
    is_there = [os.path.exists(path) for path in paths]
    if any(is_there):
        logger.info("%d of %d shards are there: they are compared with the files and kept", sum(is_there), len(paths))
    places: dict[int, list[Place]] = {}
    with Progress(title, sum(map(len, shares)), unit="img") as progress:
        # First those that are there, so that nothing is written beside shards of other data.
        for number in sorted(range(len(paths)), key=lambda number: not is_there[number]):
            # What is the same byte for byte was checked when it was written.
            make = partial(record_of, data_dir=data_dir, check=not is_there[number])
            records = _counted(read_ahead(make, shares[number], workers), progress)
            places[number] = (compare_shard if is_there[number] else write_shard)(paths[number], records)
    return [places[number] for number in range(len(paths))]


def _counted(records: Iterable[bytes], progress: Progress) -> Iterator[bytes]:
    for record in records:
        yield record
        progress.update()
