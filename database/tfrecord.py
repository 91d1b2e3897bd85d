"""Samples as TFRecord files: one `tf.train.Example` each, with the unchanged bytes of its image and label file.

Any reader of TFRecords can read them, see `FEATURES`. This package reads single records at any place in a file, in the
order of training: an index holds the place of each. TensorFlow checks their CRC-32C only when it reads a file from the
beginning, and computing it in Python is slow. The index therefore holds a CRC-32 too, which zlib computes in
milliseconds.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

import tensorflow.compat.v1 as tf
from google.protobuf.message import DecodeError

from database.atomic import written_atomically
from database.errors import TFRecordError
from database.images import file_format, image_size, read_bytes
from database.layouts import Contents, Sample
from database.loading import decode_sample, label_path
from database.regular_files import regular_file

# Features that DeepLab's records have too are named as there:
# https://github.com/tensorflow/models/blob/master/research/deeplab/datasets/build_data.py
_IMAGE, _LABEL = "image", "image/segmentation/class"
_ENCODED, _FORMAT, _PATH = "encoded", "format", "filename"

# For `tf.io.parse_single_example`. Height and width are those of the upright image. The two lists of ids are the label
# map: the id in the label file, and the training id, 255 if ignored.
FEATURES = {
    "sample/name": tf.io.FixedLenFeature([], tf.string),
    **{
        f"{file}/{part}": tf.io.FixedLenFeature([], tf.string)
        for file in (_IMAGE, _LABEL)
        for part in (_ENCODED, _FORMAT, _PATH)
    },
    f"{_IMAGE}/height": tf.io.FixedLenFeature([], tf.int64),
    f"{_IMAGE}/width": tf.io.FixedLenFeature([], tf.int64),
    f"{_LABEL}/file_ids": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True),
    f"{_LABEL}/train_ids": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True),
}

# A record is framed by its length and the CRC of the length before it, and the CRC of the record after it.
_HEADER_BYTES, _FOOTER_BYTES = 12, 4


class Place(NamedTuple):
    """Where a record is in its shard.

    Attributes:
        offset: bytes before its frame.
        length: bytes of the record without its frame.
        checksum: CRC-32 of the record.
    """

    offset: int
    length: int
    checksum: int

    @property
    def end(self) -> int:
        """The offset of the next record's frame."""
        return self.offset + _HEADER_BYTES + self.length + _FOOTER_BYTES


@dataclass(frozen=True)
class RecordSample(Sample):
    """A sample whose files are in a record; `image` and `label` are their original paths, and need not exist.

    Attributes:
        size: (height, width) of the image, pixels.
        shard: path of the TFRecord file.
        number: number of the record in it, from 0.
        place: offset, length and checksum of the record.
    """

    size: tuple[int, int]
    shard: str
    number: int
    place: Place

    def known_size(self) -> tuple[int, int]:
        """Returns (height, width) of the image in pixels."""
        return self.size

    def contents(self) -> Contents:
        """Reads the bytes of both files.

        Raises:
            TFRecordError: the record cannot be read or is damaged.
        """
        features = tf.train.Example.FromString(read_record(self.shard, self.number, self.place)).features.feature
        return Contents(*(features[f"{file}/{_ENCODED}"].bytes_list.value[0] for file in (_IMAGE, _LABEL)))


def path_in_records(path: str, data_dir: str) -> str:
    """Returns a path relative to the data's folder, so that both may be moved; absolute paths outside are unchanged."""
    relative = os.path.relpath(path, data_dir)
    is_outside = relative.split(os.sep)[0] == os.pardir
    return path if is_outside and os.path.isabs(path) else relative


def record_of(sample: Sample, data_dir: str, *, check: bool = True) -> bytes:
    """Makes a record of a sample's files, deterministically and without changing their bytes.

    Args:
        sample: a sample with a label.
        data_dir: the folder that the paths in the record are relative to.
        check: whether to decode both files, to check that their sizes agree and that all ids are in the label map.

    Raises:
        ImageError: a file cannot be read, or image and label differ in size.
        DatasetError: the sample has no label, or an id is neither a class nor ignored.
    """
    label = label_path(sample)
    contents = Contents(read_bytes(sample.image), read_bytes(label))
    if check:
        decode_sample(sample, contents)
    features = {"sample/name": [os.fsencode(sample.name)]}
    for file, path, content in ((_IMAGE, sample.image, contents.image), (_LABEL, label, contents.label)):
        features[f"{file}/{_ENCODED}"] = [content or b""]
        features[f"{file}/{_FORMAT}"] = [file_format(path, content).encode()]
        features[f"{file}/{_PATH}"] = [os.fsencode(path_in_records(path, data_dir))]
    height, width = image_size(sample.image, contents.image)
    numbers = {
        f"{_IMAGE}/height": [height],
        f"{_IMAGE}/width": [width],
        f"{_LABEL}/file_ids": sample.label_map.keys(),
        f"{_LABEL}/train_ids": sample.label_map.values(),
    }
    example = tf.train.Example()
    for name, texts in features.items():
        example.features.feature[name].bytes_list.value.extend(texts)
    for name, values in numbers.items():
        example.features.feature[name].int64_list.value.extend(values)
    return example.SerializeToString(deterministic=True)


def literal_path(path: str) -> bytes:
    """Returns a TFRecord file's path for TensorFlow, which expects UTF-8 and reads `<scheme>://` as a file system."""
    return os.fsencode(os.path.abspath(path))


def write_shard(path: str, records: Iterable[bytes]) -> list[Place]:
    """Writes a TFRecord file atomically; its folder is created if necessary.

    Returns:
        The place of each record.

    Raises:
        TFRecordError: the file cannot be written.
    """
    places: list[Place] = []
    try:
        with written_atomically(path) as partial_path, tf.io.TFRecordWriter(literal_path(partial_path)) as writer:
            for record in records:
                writer.write(record)
                places.append(_next_place(places, record))
    except (OSError, tf.errors.OpError) as error:
        raise TFRecordError(f"{path}: records cannot be written ({error})") from error
    return places


def _next_place(places: Sequence[Place], record: bytes) -> Place:
    return Place(places[-1].end if places else 0, len(record), zlib.crc32(record))


def compare_shard(path: str, records: Iterable[bytes]) -> list[Place]:
    """Compares the records of a file, byte by byte, with those that would be written now.

    Returns:
        The place of each record.

    Raises:
        TFRecordError: the file has other records, is damaged or cannot be read.
    """
    places: list[Place] = []
    if os.path.exists(path) and not os.path.isfile(path):  # TensorFlow would wait for a pipe
        raise TFRecordError(f"{path}: a folder, a pipe or a device, expected a file of records: remove it")
    try:
        for found, expected in zip_longest(tf.io.tf_record_iterator(literal_path(path)), records):
            if found != expected:
                raise TFRecordError(
                    f"{path}: record {len(places)} {_difference(found, expected)}: it was made from other files or "
                    "with another label map; remove the shards of this split or write to another folder with --out"
                )
            places.append(_next_place(places, found))
    except tf.errors.OpError as error:
        raise TFRecordError(f"{path}: {_damaged(len(places))}") from error
    return places


def _difference(found: bytes | None, expected: bytes | None) -> str:
    if found is None or expected is None:
        return "is missing" if found is None else "is one too many"
    was, now = _path_in(found), _path_in(expected)
    return f"is of {was} and has changed" if was == now else f"is of {was}, expected {now}"


def _path_in(record: bytes) -> str:
    """Returns the path of a record's image; the record may be of another kind."""
    try:
        features = tf.train.Example.FromString(record).features.feature
        return os.fsdecode(features[f"{_IMAGE}/{_PATH}"].bytes_list.value[0])
    except (DecodeError, IndexError):
        return "another kind"


def read_record(path: str, number: int, place: Place) -> bytes:
    """Reads one record of a file.

    Raises:
        TFRecordError: the record cannot be read or is damaged.
    """
    try:
        with open(path, "rb", opener=regular_file) as file:
            file.seek(place.offset + _HEADER_BYTES)
            record = file.read(place.length)
    except OSError as error:
        raise TFRecordError(f"{path}: record {number} cannot be read ({error.strerror})") from error
    if len(record) != place.length or zlib.crc32(record) != place.checksum:
        raise TFRecordError(f"{path}: {_damaged(number)}")
    return record


def _damaged(number: int) -> str:
    return f"record {number} is damaged: remove this file and run tools.make_tfrecord again, which writes it anew"
