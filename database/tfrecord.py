"""TFRecords of a dataset: one `tf.train.Example` per sample, with the unchanged bytes of its image and label file.

Any reader of TFRecords can read them, see `FEATURES`. This package reads single examples at any place in a file, in the
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

# Features that DeepLab's examples also have are named as there:
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

# An example is framed by its length and the CRC of the length before it, and the CRC of the example after it.
_HEADER_BYTES, _FOOTER_BYTES = 12, 4


class Place(NamedTuple):
    """Where an example is in its shard.

    Attributes:
        offset: bytes before its frame.
        length: bytes of the example without its frame.
        checksum: CRC-32 of the example.
    """

    offset: int
    length: int
    checksum: int

    @property
    def end(self) -> int:
        """The offset of the next example's frame."""
        return self.offset + _HEADER_BYTES + self.length + _FOOTER_BYTES


@dataclass(frozen=True)
class TFRecordSample(Sample):
    """A sample whose files are in an example; `image` and `label` are the original paths, which need not exist.

    Attributes:
        size: (height, width) of the image, pixels.
        shard: path of the TFRecord file.
        number: number of the example in it, from 0.
        place: offset, length and checksum of the example.
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
            TFRecordError: the example cannot be read or is damaged.
        """
        features = tf.train.Example.FromString(read_example(self.shard, self.number, self.place)).features.feature
        return Contents(*(features[f"{file}/{_ENCODED}"].bytes_list.value[0] for file in (_IMAGE, _LABEL)))


def path_in_example(path: str, data_dir: str) -> str:
    """Returns a path relative to the data's folder, so that both may be moved; absolute paths outside are unchanged."""
    relative = os.path.relpath(path, data_dir)
    is_outside = relative.split(os.sep)[0] == os.pardir
    return path if is_outside and os.path.isabs(path) else relative


def make_example(sample: Sample, data_dir: str, *, check: bool = True) -> bytes:
    """Makes an example of a sample's files, deterministically and without changing their bytes.

    Args:
        sample: a sample with a label.
        data_dir: the folder that the paths in the example are relative to.
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
    files = (_IMAGE, sample.image, contents.image, sample.channels), (_LABEL, label, contents.label, None)
    for file, path, content, channels in files:
        features[f"{file}/{_ENCODED}"] = [content or b""]
        features[f"{file}/{_FORMAT}"] = [file_format(path, content, channels).encode()]
        features[f"{file}/{_PATH}"] = [os.fsencode(path_in_example(path, data_dir))]
    height, width = image_size(sample.image, contents.image, sample.channels)
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


def write_shard(path: str, examples: Iterable[bytes]) -> list[Place]:
    """Writes a shard atomically; its folder is created if necessary.

    Returns:
        The place of each example.

    Raises:
        TFRecordError: the file cannot be written.
    """
    places: list[Place] = []
    try:
        with written_atomically(path) as partial_path, tf.io.TFRecordWriter(literal_path(partial_path)) as writer:
            for example in examples:
                writer.write(example)
                places.append(_next_place(places, example))
    except (OSError, tf.errors.OpError) as error:
        raise TFRecordError(f"{path}: the TFRecords cannot be written ({error})") from error
    return places


def _next_place(places: Sequence[Place], example: bytes) -> Place:
    return Place(places[-1].end if places else 0, len(example), zlib.crc32(example))


def compare_shard(path: str, examples: Iterable[bytes]) -> list[Place]:
    """Compares the examples of a shard, byte by byte, with those that would be written now.

    Returns:
        The place of each example.

    Raises:
        TFRecordError: the file has other examples, is damaged or cannot be read.
    """
    places: list[Place] = []
    if os.path.exists(path) and not os.path.isfile(path):  # TensorFlow would wait for a pipe
        raise TFRecordError(f"{path}: found a folder, a pipe or a device, expected a file of TFRecords: remove it")
    try:
        for found, expected in zip_longest(tf.io.tf_record_iterator(literal_path(path)), examples):
            if found != expected:
                raise TFRecordError(
                    f"{path}: example {len(places)} {_difference(found, expected)}: the shard was made from other "
                    "files or with another label map; remove the shards of this split or write to another folder with "
                    "--out"
                )
            places.append(_next_place(places, found))
    except tf.errors.OpError as error:
        raise TFRecordError(f"{path}: {_damaged(len(places))}") from error
    return places


def _difference(found: bytes | None, expected: bytes | None) -> str:
    if found is None or expected is None:
        return "is missing" if found is None else "is not expected"
    was, now = _path_in(found), _path_in(expected)
    return f"of {was} has changed" if was == now else f"is of {was}, expected {now}"


def _path_in(example: bytes) -> str:
    """Returns the path of an example's image, or "another kind" if it has none."""
    try:
        features = tf.train.Example.FromString(example).features.feature
        return os.fsdecode(features[f"{_IMAGE}/{_PATH}"].bytes_list.value[0])
    except (DecodeError, IndexError):
        return "another kind"


def read_example(path: str, number: int, place: Place) -> bytes:
    """Reads one example of a shard.

    Raises:
        TFRecordError: the example cannot be read or is damaged.
    """
    try:
        with open(path, "rb", opener=regular_file) as file:
            file.seek(place.offset + _HEADER_BYTES)
            example = file.read(place.length)
    except OSError as error:
        raise TFRecordError(f"{path}: example {number} cannot be read ({error.strerror})") from error
    if len(example) != place.length or zlib.crc32(example) != place.checksum:
        raise TFRecordError(f"{path}: {_damaged(number)}")
    return example


def _damaged(number: int) -> str:
    return f"example {number} is damaged: remove this file and run python -m tools.make_tfrecord again to rewrite it"
