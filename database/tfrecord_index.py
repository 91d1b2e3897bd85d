"""The index of the TFRecords of a split: what they were made from, and in which shard and where each example is.

<folder>/train-00000-of-00016.tfrecord ...   the shards, see `database.tfrecord`
<folder>/train.index.json                    written when all shards are there
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from database.atomic import text_written_atomically
from database.errors import TFRecordError
from database.images import image_size
from database.json_files import read_json
from database.json_values import checksum_of, label_map_of, text_of, whole_in
from database.label_maps import MOST_FILE_ID
from database.layouts import Sample
from database.loading import label_path
from database.tfrecord import Place, TFRecordSample, path_in_example

_VERSION = 2
# Limits of what image formats and file systems can hold.
_LONGEST_SIDE = (1 << 31) - 1
_MOST_BYTES = (1 << 63) - 1
_MOST_CHECKSUM = (1 << 32) - 1


def shard_names(split: str, count: int) -> list[str]:
    """Returns the file names of a split's shards."""
    return [f"{split}-{number:05d}-of-{count:05d}.tfrecord" for number in range(count)]


def refuse_other_shards(folder: str, split: str, count: int) -> None:
    """Rejects a folder in which the split has shards that belong to another number of shards than `count`.

    Raises:
        TFRecordError: such a shard exists.
    """
    pattern = re.compile(rf"{re.escape(split)}-\d+-of-(\d+)\.tfrecord")
    planned = set(shard_names(split, count))
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        match = pattern.fullmatch(name)
        if match and name not in planned:
            raise TFRecordError(
                f"{os.path.join(folder, name)}: this is one of {int(match[1])} shards, expected {count}: give "
                f"--shards {int(match[1])}, remove the shards of this split or write to another folder with --out"
            )


def has_index(folder: str, split: str) -> bool:
    """Returns whether the TFRecords of a split exist and are complete."""
    return os.path.exists(index_path(folder, split))


def index_path(folder: str, split: str) -> str:
    return os.path.join(folder, f"{split}.index.json")


class IndexedSample(NamedTuple):
    """A sample in the index.

    Attributes:
        name: name of the sample.
        image, label: see `tfrecord.path_in_example`.
        size: (height, width) of both in pixels.
        place: place of the example in its shard.
    """

    name: str
    image: str
    label: str
    size: tuple[int, int]
    place: Place

    @classmethod
    def of(cls, sample: Sample, data_dir: str, place: Place) -> IndexedSample:
        """Makes the entry of a sample whose files are in `data_dir`, with its place in the shard."""
        image, label = (path_in_example(path, data_dir) for path in (sample.image, label_path(sample)))
        return cls(sample.name, image, label, image_size(sample.image, channels=sample.channels), place)


class Shard(NamedTuple):
    """One TFRecord file."""

    file: str
    samples: list[IndexedSample]


@dataclass(frozen=True)
class TFRecordIndex:
    """The index of a split.

    Attributes:
        database, split: dataset and split of the TFRecords.
        from_list: whether the split was given by a list file.
        holdout: the fraction of the training images used as val; None if nothing is held out.
        dataset_label_map: label map of the dataset, see `datasets.Dataset`.
        label_map: label map of the samples; it differs if the files store training ids already.
        shards: in order, with their samples in the dataset's order.
        colors: rows [red, green, blue, id] of the palette that colour label files were checked with; None without a
            palette.
    """

    database: str
    split: str
    from_list: bool
    holdout: float | None
    dataset_label_map: Mapping[int, int]
    label_map: Mapping[int, int]
    shards: Sequence[Shard]
    colors: list[list[int]] | None = None

    @property
    def num_samples(self) -> int:
        return sum(len(shard.samples) for shard in self.shards)

    def write(self, folder: str) -> None:
        """Writes the index into the folder of the TFRecords atomically.

        Raises:
            TFRecordError: the index cannot be written.
        """
        values = {
            "version": _VERSION,
            "database": self.database,
            "split": self.split,
            "from_list": self.from_list,
            "holdout": self.holdout,
            "num_samples": self.num_samples,
            "num_shards": len(self.shards),
            "dataset_label_map": self.dataset_label_map,
            "label_map": self.label_map,
            **({} if self.colors is None else {"colors": self.colors}),
            "columns": ["name", "image", "label", "height", "width", *Place._fields],
            "shards": [
                {
                    "file": shard.file,
                    "samples": [[*sample[:3], *sample.size, *sample.place] for sample in shard.samples],
                }
                for shard in self.shards
            ],
        }
        values["checksum"] = checksum_of(values)
        path = index_path(folder, self.split)
        try:
            with text_written_atomically(path) as file:
                json.dump(values, file)
        except OSError as error:
            raise TFRecordError(f"{path}: the index cannot be written ({error.strerror})") from error

    @classmethod
    def read(cls, folder: str, split: str) -> TFRecordIndex:
        """Reads the index of a split.

        Raises:
            TFRecordError: the index does not exist, is damaged, has another version or split, or names files other than
                its shards.
        """
        path = index_path(folder, split)
        try:
            values = read_json(path)
        except FileNotFoundError as error:
            raise TFRecordError(
                f"{path}: the index does not exist, so the TFRecords of split '{split}' are missing or incomplete: "
                f"write them with python -m tools.make_tfrecord --split {split}"
            ) from error
        except (OSError, ValueError) as error:
            raise TFRecordError(f"{path}: the index cannot be read ({error}): {_WRITE_AGAIN}") from error
        version = values.get("version") if isinstance(values, dict) else None
        if version != _VERSION:
            raise TFRecordError(
                f"{path}: the index has version {str(version)[:40]}, expected {_VERSION}: {_WRITE_AGAIN}"
            )
        if values.get("checksum") != checksum_of(values):
            raise TFRecordError(f"{path}: the index is damaged or was changed (its checksum differs): {_WRITE_AGAIN}")
        try:
            index = cls._of_values(values)
            expected = whole_in(values["num_samples"], 0, _MOST_BYTES)
            fits = (index.split, index.num_samples) == (split, expected)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TFRecordError(f"{path}: the index is damaged ({repr(error)[:200]}): {_WRITE_AGAIN}") from error
        if not fits:
            raise TFRecordError(
                f"{path}: the index holds {index.num_samples} samples of split '{index.split}', expected "
                f"{values['num_samples']} of '{split}': {_WRITE_AGAIN}"
            )
        _refuse_other_files(path, index)
        return index

    @classmethod
    def _of_values(cls, values: Mapping[str, Any]) -> TFRecordIndex:
        shards = [
            Shard(str(shard["file"]), [_indexed_sample(row) for row in shard["samples"]]) for shard in values["shards"]
        ]
        label_maps = label_map_of(values["dataset_label_map"]), label_map_of(values["label_map"])
        holdout, from_list, colors = values["holdout"], values["from_list"], values.get("colors")
        if holdout is not None and not (type(holdout) in (int, float) and 0 < holdout < 1):
            raise ValueError("holdout is no fraction")
        if type(from_list) is not bool:
            raise ValueError("from_list is neither true nor false")
        if colors is not None:
            colors = [[whole_in(value, 0, MOST_FILE_ID) for value in row] for row in colors]
        return cls(
            text_of(values["database"]), text_of(values["split"]), from_list, holdout, *label_maps, shards, colors
        )

    def samples(self, folder: str, data_dir: str) -> list[Sample]:
        """Returns the samples in the dataset's order.

        Args:
            folder: folder of the TFRecords.
            data_dir: the folder that the samples' paths are relative to.

        Raises:
            TFRecordError: a shard is missing or has another length.
        """
        samples: list[Sample] = []
        for shard in self.shards:
            path = os.path.join(folder, shard.file)
            _check_length(path, shard.samples[-1].place.end if shard.samples else 0)
            for number, (name, *files, size, place) in enumerate(shard.samples):
                image, label = (os.path.join(data_dir, file) for file in files)
                samples.append(TFRecordSample(name, image, label, self.label_map, size, path, number, place))
        return samples


def _indexed_sample(row: Sequence[Any]) -> IndexedSample:
    """Makes an entry of values read from JSON; raises ValueError if one is missing or impossible."""
    name, image, label, height, width, *place, checksum = row
    offset, length = (whole_in(value, -_MOST_BYTES, _MOST_BYTES) for value in place)
    size = whole_in(height, 1, _LONGEST_SIDE), whole_in(width, 1, _LONGEST_SIDE)
    return IndexedSample(
        text_of(name),
        text_of(image),
        text_of(label),
        size,
        Place(offset, length, whole_in(checksum, 0, _MOST_CHECKSUM)),
    )


_WRITE_AGAIN = "remove it and run python -m tools.make_tfrecord again, which keeps the shards"


def _refuse_other_files(path: str, index: TFRecordIndex) -> None:
    """Checks that an index names only its shards, and that their examples follow each other without gaps."""
    for shard, expected in zip(index.shards, shard_names(index.split, len(index.shards)), strict=True):
        if shard.file != expected:
            raise TFRecordError(f"{path}: the index names {shard.file!r}, expected '{expected}': {_WRITE_AGAIN}")
        end = 0
        for number, sample in enumerate(shard.samples):
            if sample.place.offset != end or sample.place.length < 0:
                raise TFRecordError(
                    f"{path}: example {number} of {expected} begins at byte {sample.place.offset} and has "
                    f"{sample.place.length} bytes, expected one that begins at byte {end}: {_WRITE_AGAIN}"
                )
            end = sample.place.end


def _check_length(path: str, expected: int) -> None:
    try:
        found = os.path.getsize(path)
    except OSError as error:
        raise TFRecordError(
            f"{path}: the shard cannot be read ({error.strerror}): run python -m tools.make_tfrecord again to rewrite "
            "it"
        ) from error
    if found != expected:
        raise TFRecordError(
            f"{path}: the shard has {found} bytes, expected {expected}: remove it and run python -m "
            "tools.make_tfrecord again to rewrite it"
        )
