"""Tests the writing of shards: in parallel, in part, again, and beside shards of other data."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from database.datasets import find_samples, get_dataset
from database.errors import ImageError, TFRecordError
from database.tfrecord_samples import find_tfrecord_samples
from tools.make_tfrecord.writing import write_tfrecords

TOY = get_dataset("Toy")


def write(data_dir: str, folder: str, *, shards: int = 3, workers: int = 2):
    """Writes the training scenes as TFRecords."""
    samples = find_samples(TOY, data_dir, ["train"])
    return write_tfrecords(TOY, samples, data_dir, folder, split="train", shards=shards, workers=workers)


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_any_number_of_workers_writes_the_same(data_dir, tmp_path):
    for workers in (1, 3):
        write(data_dir, str(tmp_path / str(workers)), workers=workers)
    assert content_of(tmp_path / "1") == content_of(tmp_path / "3")


def test_whole_shards_are_kept(data_dir, tmp_path, caplog):
    """This is the state after a process was killed: only some shards exist, and no index."""
    caplog.set_level("INFO")
    folder = tmp_path / "tfrecord"
    write(data_dir, str(folder))
    whole = content_of(folder)
    names = [f"train-0000{number}-of-00003.tfrecord" for number in (0, 2)]
    kept = {name: os.stat(folder / name).st_ino for name in names}
    os.remove(folder / "train-00001-of-00003.tfrecord")
    os.remove(folder / "train.index.json")
    write(data_dir, str(folder))
    assert content_of(folder) == whole
    assert {name: os.stat(folder / name).st_ino for name in names} == kept
    # TensorFlow warns once in a process that its reader of records is deprecated.
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("tools.")]
    [kept_line] = [line for line in lines if not line.startswith("TFRecords of train: 7 of 7 img in ")]
    assert kept_line.startswith("2 of 3 shards exist")


def test_a_faulty_file_stops_the_writing_and_the_rest_follows(data_dir, tmp_path):
    folder, fifth = tmp_path / "tfrecord", find_samples(TOY, data_dir, ["train"])[4]
    whole = Path(fifth.label).read_bytes()
    Path(fifth.label).write_bytes(whole[:40])
    with pytest.raises(ImageError, match=f"{fifth.label}: not an image that can be read"):
        write(data_dir, str(folder))
    assert sorted(os.listdir(folder)) == ["train-00000-of-00003.tfrecord", "train-00001-of-00003.tfrecord"]
    with pytest.raises(TFRecordError, match="train.index.json: the index does not exist"):
        find_tfrecord_samples(TOY, str(folder), ["train"])
    Path(fifth.label).write_bytes(whole)
    write(data_dir, str(folder))
    write(data_dir, str(tmp_path / "at once"))
    assert content_of(folder) == content_of(tmp_path / "at once")


def test_files_of_a_killed_process_are_warned_about(data_dir, tmp_path, caplog):
    folder = tmp_path / "tfrecord"
    folder.mkdir()
    (folder / ".0123.tmp").write_text("part of a shard")
    write(data_dir, str(folder))
    [warning] = caplog.messages
    assert warning.startswith(f"{folder}/.0123.tmp was left by a process that was killed: remove it")


def test_another_number_of_shards_is_refused(data_dir, tmp_path):
    write(data_dir, str(tmp_path / "tfrecord"))
    before = content_of(tmp_path / "tfrecord")
    with pytest.raises(TFRecordError, match="train-00000-of-00003.tfrecord: .* 3 shards, expected 2: give --shards 3"):
        write(data_dir, str(tmp_path / "tfrecord"), shards=2)
    assert content_of(tmp_path / "tfrecord") == before


def test_nothing_is_written_beside_shards_of_other_files(data_dir, tmp_path):
    folder = tmp_path / "tfrecord"
    write(data_dir, str(folder))
    os.remove(folder / "train-00000-of-00003.tfrecord")
    before = content_of(folder)
    last = find_samples(TOY, data_dir, ["train"])[6]
    Image.fromarray(np.zeros((16, 32, 3), np.uint8)).save(last.image)
    with pytest.raises(TFRecordError, match=f"example 2 of .*{os.path.basename(last.image)} has changed"):
        write(data_dir, str(folder))
    os.remove(last.image)
    os.remove(last.label)
    with pytest.raises(TFRecordError, match="train-00002-of-00003.tfrecord: example 2 is not expected"):
        write(data_dir, str(folder))
    assert content_of(folder) == before
