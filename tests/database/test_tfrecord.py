"""Tests TFRecords of samples: their content, the places of examples, and reading them."""

from __future__ import annotations

import os
import struct
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image

from database import tfrecord
from database.errors import DatasetError, ImageError, TFRecordError
from database.layouts import Sample
from database.loading import load_label, load_sample
from database.tfrecord import FEATURES, Place, compare_shard, make_example, path_in_example, read_example, write_shard
from tests.database.tfrecord_files import LABEL_MAP, flip_a_bit, in_a_shard, index_of, write_samples


def parsed(path: Path) -> list[dict]:
    """Returns the examples of a file as TensorFlow reads them."""
    with tf.Graph().as_default(), tf.Session() as session:
        dataset = tf.data.TFRecordDataset(str(path)).map(lambda example: tf.io.parse_single_example(example, FEATURES))
        example = tf.data.make_one_shot_iterator(dataset).get_next()
        found = []
        while True:
            try:
                found.append(session.run(example))
            except tf.errors.OutOfRangeError:
                return found


def test_tensorflow_reads_the_examples(tmp_path):
    samples = write_samples(tmp_path, 3)
    in_a_shard(samples, tmp_path)
    found = parsed(tmp_path / "train-00000-of-00001.tfrecord")
    assert len(found) == 3
    for number, (sample, example) in enumerate(zip(samples, found, strict=True)):
        assert example["sample/name"] == sample.name.encode()
        assert example["image/encoded"] == Path(sample.image).read_bytes()
        assert example["image/segmentation/class/encoded"] == Path(sample.label).read_bytes()
        assert example["image/format"] == example["image/segmentation/class/format"] == b"png"
        assert example["image/filename"] == f"{number}.png".encode()
        assert example["image/segmentation/class/filename"] == f"{number}_label.png".encode()
        assert (example["image/height"], example["image/width"]) == (6, 8)
        ids = (example[f"image/segmentation/class/{name}"].tolist() for name in ("file_ids", "train_ids"))
        assert dict(zip(*ids, strict=True)) == LABEL_MAP


def test_tensorflow_decodes_what_is_in_them(tmp_path):
    samples = write_samples(tmp_path, 1)
    in_a_shard(samples, tmp_path)
    [example] = parsed(tmp_path / "train-00000-of-00001.tfrecord")
    with tf.Session() as session:
        image = session.run(tf.io.decode_png(example["image/encoded"]))
    np.testing.assert_array_equal(image, load_sample(samples[0])[0])


def test_places_are_those_of_the_frames(tmp_path):
    """The format is: length, its CRC, example, its CRC. https://www.tensorflow.org/tutorials/load_data/tfrecord"""
    samples = in_a_shard(write_samples(tmp_path, 4), tmp_path)
    content, position = Path(samples[0].shard).read_bytes(), 0
    for number, sample in enumerate(samples):
        [length] = struct.unpack("<Q", content[position : position + 8])
        example = content[position + 12 : position + 12 + length]
        assert sample.place == Place(position, length, zlib.crc32(example))
        assert sample.number == number
        assert read_example(sample.shard, number, sample.place) == example
        position += 16 + length
        assert sample.place.end == position
    assert position == len(content)


def save_turned_jpeg(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored with height and width exchanged
    pixels = np.random.default_rng(1).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, format="JPEG", exif=exif)


def save_deep_png(path: Path) -> None:
    Image.fromarray(np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000).save(path, format="PNG")


def save_tiff(path: Path) -> None:
    Image.fromarray(np.arange(144, dtype=np.uint8).reshape(6, 8, 3)).save(path, format="TIFF", compression="tiff_lzw")


def save_palette_png(path: Path) -> None:
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8) % 21).convert("L")
    image.putpalette([value for index in range(256) for value in (255 - index, index, 7)])
    image.save(path, format="PNG", bits=8)


def save_deep_label(path: Path) -> None:
    Image.fromarray(np.arange(48, dtype=np.uint16).reshape(6, 8) % 21).save(path, format="PNG")


@pytest.mark.parametrize(
    ("save", "is_label", "kind"),
    [
        (save_turned_jpeg, False, b"jpeg"),
        (save_deep_png, False, b"png"),
        (save_tiff, False, b"tiff"),
        (save_palette_png, True, b"png"),
        (save_deep_label, True, b"png"),
    ],
    ids=["turned jpeg", "16 bit image", "tiff", "palette label", "16 bit label"],
)
def test_files_of_every_kind_come_out_as_from_files(tmp_path, save, is_label, kind):
    [sample] = write_samples(tmp_path, 1)
    save(Path(sample.label if is_label else sample.image))
    [stored] = in_a_shard([sample], tmp_path)
    [example] = parsed(Path(stored.shard))
    file = "image/segmentation/class" if is_label else "image"
    assert example[f"{file}/format"] == kind
    assert (example["image/height"], example["image/width"]) == (6, 8)
    expected, expected_label = load_sample(sample)
    os.remove(sample.image)
    os.remove(sample.label)
    image, label = load_sample(stored)
    np.testing.assert_array_equal(image, expected)
    np.testing.assert_array_equal(label, expected_label)
    np.testing.assert_array_equal(load_label(stored), expected_label)


@pytest.mark.parametrize(
    ("path", "data_dir", "expected"),
    [
        ("data/images/a.png", "data", "images/a.png"),
        ("data/./x/../images/a.png", "./data/", "images/a.png"),
        ("/d/data/a.png", "/d/data", "a.png"),
        ("/photos/a.png", "/d/data", "/photos/a.png"),
        ("data/../photos/a.png", "data", "../photos/a.png"),
    ],
)
def test_paths_begin_at_the_data(path, data_dir, expected):
    assert path_in_example(path, data_dir) == expected
    assert os.path.normpath(os.path.join(data_dir, expected)) == os.path.normpath(path)


def damage_image(sample: Sample) -> str:
    Path(sample.image).write_bytes(Path(sample.image).read_bytes()[:60])
    return f"{sample.image}: not an image that can be read"


def enlarge_label(sample: Sample) -> str:
    Image.fromarray(np.zeros((6, 9), np.uint8)).save(sample.label)
    return f"{sample.label}: the label is 6x9 but its image {sample.image} is 6x8"


def write_unknown_id(sample: Sample) -> str:
    Image.fromarray(np.full((6, 8), 77, np.uint8)).save(sample.label)
    return f"{sample.label}: id 77 (48 pixels) is neither a class nor ignored"


def remove_label(sample: Sample) -> str:
    os.remove(sample.label)
    return f"{sample.label}: no such file"


@pytest.mark.parametrize("damage", [damage_image, enlarge_label, write_unknown_id, remove_label])
def test_a_faulty_sample_is_named_and_no_shard_written(tmp_path, damage):
    samples = write_samples(tmp_path / "data", 3)
    words = damage(samples[2])
    with pytest.raises((ImageError, DatasetError)) as caught:
        index_of([samples], tmp_path, tmp_path / "tfrecord")
    assert str(caught.value).startswith(words)
    assert os.listdir(tmp_path / "tfrecord") == []


def test_a_sample_without_label_is_refused(tmp_path):
    [sample] = write_samples(tmp_path, 1)
    with pytest.raises(DatasetError, match="0.png: this image has no label"):
        make_example(Sample(sample.name, sample.image, None, LABEL_MAP), str(tmp_path))


def test_ids_are_not_checked_without_the_flag(tmp_path):
    [sample] = write_samples(tmp_path, 1)
    write_unknown_id(sample)
    assert Path(sample.label).read_bytes() in make_example(sample, str(tmp_path), check=False)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TFRecordError, match="file/x.tfrecord: the TFRecords cannot be written"):
        write_shard(str(tmp_path / "file" / "x.tfrecord"), [b"example"])


def test_a_full_disk(tmp_path, monkeypatch):
    @contextmanager
    def written_to_a_full_disk(path):
        yield "/dev/full"

    monkeypatch.setattr(tfrecord, "written_atomically", written_to_a_full_disk)
    with pytest.raises(TFRecordError, match="x.tfrecord: the TFRecords cannot be written .*No space left on device"):
        write_shard(str(tmp_path / "x.tfrecord"), [bytes(10_000_000)])


def test_an_equal_shard_is_compared(tmp_path):
    samples = write_samples(tmp_path, 3)
    stored = in_a_shard(samples, tmp_path)
    places = compare_shard(stored[0].shard, (make_example(sample, str(tmp_path), check=False) for sample in samples))
    assert places == [sample.place for sample in stored]


def repaint_image(samples: list[Sample]) -> list[Sample]:
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(samples[1].image)
    return samples


def remap(samples: list[Sample]) -> list[Sample]:
    return [samples[0], Sample(samples[1].name, samples[1].image, samples[1].label, {**LABEL_MAP, 3: 255}), samples[2]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (repaint_image, "example 1 of 1.png has changed"),
        (remap, "example 1 of 1.png has changed"),
        (lambda samples: [samples[0], samples[2]], "example 1 is of 1.png, expected 2.png"),
        (lambda samples: samples[:2], "example 2 is not expected"),
        (lambda samples: [*samples, samples[0]], "example 3 is missing"),
    ],
    ids=["other content", "other label map", "other files", "fewer", "more"],
)
def test_a_shard_of_other_data_is_refused(tmp_path, change, words):
    samples = write_samples(tmp_path, 3)
    path = in_a_shard(samples, tmp_path)[0].shard
    with pytest.raises(TFRecordError) as caught:
        compare_shard(path, [make_example(sample, str(tmp_path)) for sample in change(samples)])
    assert str(caught.value).startswith(f"{path}: {words}: ")
    assert "--out" in str(caught.value)


@pytest.mark.parametrize("other", [b"no example", b""], ids=["no example", "an example of nothing"])
def test_a_shard_of_another_kind(tmp_path, other):
    path = str(tmp_path / "train-00000-of-00001.tfrecord")
    write_shard(path, [other])
    [sample] = write_samples(tmp_path, 1)
    with pytest.raises(TFRecordError, match="tfrecord: example 0 is of another kind, expected 0.png"):
        compare_shard(path, [make_example(sample, str(tmp_path))])


@pytest.mark.timeout(10)
def test_a_pipe_in_the_place_of_a_shard(tmp_path):
    os.mkfifo(tmp_path / "train-00000-of-00001.tfrecord")
    with pytest.raises(TFRecordError, match="tfrecord: found a .*pipe.*, expected a file of TFRecords"):
        compare_shard(str(tmp_path / "train-00000-of-00001.tfrecord"), [])


def test_a_damaged_shard_is_not_kept(tmp_path):
    samples = write_samples(tmp_path, 3)
    stored = in_a_shard(samples, tmp_path)
    flip_a_bit(stored[1].shard, stored[1].place.end - 2)  # within the CRC after the example
    with pytest.raises(TFRecordError, match="train-00000-of-00001.tfrecord: example 1 is damaged: remove this file"):
        compare_shard(stored[1].shard, [make_example(sample, str(tmp_path)) for sample in samples])


def test_damage_anywhere_in_an_example_is_detected(tmp_path):
    _, sample, _ = in_a_shard(write_samples(tmp_path, 3), tmp_path)
    whole = sample.contents()
    for position in np.random.default_rng(0).integers(0, sample.place.length, 40):
        flip_a_bit(sample.shard, sample.place.offset + 12 + int(position))
        with pytest.raises(TFRecordError) as caught:
            load_sample(sample)
        assert str(caught.value).startswith(f"{sample.shard}: example 1 is damaged: remove this file")
        assert "run python -m tools.make_tfrecord again" in str(caught.value)
        flip_a_bit(sample.shard, sample.place.offset + 12 + int(position))
    assert sample.contents() == whole


def test_a_shard_that_ends_early_or_has_gone(tmp_path):
    first, second = in_a_shard(write_samples(tmp_path, 2), tmp_path)
    os.truncate(second.shard, second.place.offset + 40)
    first.contents()
    with pytest.raises(TFRecordError, match="example 1 is damaged"):
        second.contents()
    os.remove(second.shard)
    with pytest.raises(TFRecordError, match=r"tfrecord: example 1 cannot be read \(No such file or directory\)"):
        second.contents()
