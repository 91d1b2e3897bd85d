"""Tests the index of TFRecords: its content, the checks against it, and its errors."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from database.classes import identity_map
from database.datasets import custom_dataset, get_dataset
from database.errors import TFRecordError
from database.layouts import Sample
from database.loading import load_sample, sample_sizes
from database.tfrecord_index import TFRecordIndex, has_index, refuse_other_shards, shard_names
from database.tfrecord_samples import find_tfrecord_samples, tfrecord_folder
from tests.database.tfrecord_files import LABEL_MAP, index_of, write_samples, write_values

DATASET = dataclasses.replace(custom_dataset(20), label_map=LABEL_MAP)


@pytest.fixture
def samples(tmp_path) -> list[Sample]:
    """Writes five samples as files."""
    return write_samples(tmp_path / "images", 5)


@pytest.fixture
def index(samples, tmp_path) -> TFRecordIndex:
    """Writes their index, with two shards, into the folder `tfrecord`."""
    index = index_of([samples[:2], samples[2:]], tmp_path, tmp_path / "tfrecord")
    index.write(str(tmp_path / "tfrecord"))
    return index


def change(folder: Path, **values) -> Path:
    """Changes values in the index, and its checksum; returns its path."""
    path = folder / "train.index.json"
    write_values(path, {**json.loads(path.read_text()), **values})
    return path


def refusal(folder: Path, split: str = "train") -> str:
    with pytest.raises(TFRecordError) as caught:
        TFRecordIndex.read(str(folder), split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_written_is_read(index, tmp_path):
    assert TFRecordIndex.read(str(tmp_path / "tfrecord"), "train") == index
    assert index.num_samples == 5


def test_content_of_the_file(index, tmp_path):
    values = json.loads((tmp_path / "tfrecord" / "train.index.json").read_text())
    assert {name: values[name] for name in ("version", "database", "split", "num_samples", "num_shards")} == {
        "version": 2, "database": "custom", "split": "train", "num_samples": 5, "num_shards": 2,
    }  # fmt: skip
    assert values["label_map"]["3"] == 2
    assert values["columns"] == ["name", "image", "label", "height", "width", "offset", "length", "checksum"]
    assert values["shards"][1]["file"] == "train-00001-of-00002.tfrecord"
    assert values["shards"][1]["samples"][0][:6] == ["2", "images/2.png", "images/2_label.png", 6, 8, 0]


def test_tfrecords_are_found_in_a_folder_of_the_data_or_in_the_data_folder(tmp_path):
    assert tfrecord_folder(str(tmp_path)) == str(tmp_path)
    (tmp_path / "tfrecord").mkdir()
    assert tfrecord_folder(str(tmp_path)) == str(tmp_path / "tfrecord")


def test_samples_of_splits_one_after_the_other(index, samples, tmp_path):
    index_of([samples[3:]], tmp_path, tmp_path / "tfrecord", "val").write(str(tmp_path / "tfrecord"))
    found = find_tfrecord_samples(DATASET, str(tmp_path), ["val", "train"])
    assert [sample.name for sample in found] == ["3", "4", "0", "1", "2", "3", "4"]
    for sample, source in zip(found, [*samples[3:], *samples], strict=True):
        assert load_sample(sample)[0].tobytes() == load_sample(source)[0].tobytes()
    assert has_index(str(tmp_path / "tfrecord"), "val")
    assert not has_index(str(tmp_path / "tfrecord"), "test")


def test_sizes_are_known_without_reading_shards(index, tmp_path):
    for path in (tmp_path / "tfrecord").glob("*.tfrecord"):
        path.write_bytes(bytes(path.stat().st_size))
    os.rename(tmp_path / "images", tmp_path / "gone")
    assert sample_sizes(find_tfrecord_samples(DATASET, str(tmp_path), ["train"])) == [(6, 8)] * 5


def test_tfrecords_are_moved_without_the_files(index, tmp_path):
    """The samples' paths change accordingly, and their files no longer exist."""
    moved = tmp_path / "moved"
    os.rename(tmp_path / "tfrecord", moved)
    os.rename(tmp_path / "images", tmp_path / "gone")
    found = find_tfrecord_samples(DATASET, str(moved), ["train"])
    assert found[4].image == str(moved / "images" / "4.png")
    expected = write_samples(tmp_path / "again", 5)[4]
    assert load_sample(found[4])[0].tobytes() == load_sample(expected)[0].tobytes()


def test_names_that_are_no_text(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/im\xff"))
    samples = write_samples(folder, 1)
    index_of([samples], tmp_path, tmp_path / "tfrecord").write(str(tmp_path / "tfrecord"))
    [found] = find_tfrecord_samples(DATASET, str(tmp_path), ["train"])
    assert (found.image, found.label) == (samples[0].image, samples[0].label)


def test_no_index(index, tmp_path):
    message = refusal(tmp_path / "tfrecord", "val")
    assert message.startswith(f"{tmp_path}/tfrecord/val.index.json: the index does not exist")
    assert message.endswith("python -m tools.make_tfrecord --split val")
    with pytest.raises(TFRecordError, match="none/train.index.json: the index does not exist"):
        find_tfrecord_samples(DATASET, str(tmp_path / "none"), ["train"])


def test_a_damaged_index(index, tmp_path):
    folder = tmp_path / "tfrecord"
    path = change(folder, label_map=None)
    assert f"{path}: the index is damaged (AttributeError" in refusal(folder)
    change(folder, label_map={"0": 1}, shards=[{"file": "x", "samples": [["0", "a", "b", 6]]}])
    assert "the index is damaged (ValueError" in refusal(folder)
    change(folder, shards=[{"samples": []}])
    assert "the index is damaged (KeyError('file'))" in refusal(folder)
    change(folder, shards=3)
    assert "the index is damaged (TypeError" in refusal(folder)
    path.write_text(path.read_text()[:-9])
    assert "train.index.json: the index cannot be read (" in refusal(folder)


def test_a_changed_digit_is_detected(index, tmp_path):
    path = tmp_path / "tfrecord" / "train.index.json"
    whole = path.read_text()
    assert whole.count('"7": 6') == 2
    path.write_text(whole.replace('"7": 6', '"7": 5'))
    assert "train.index.json: the index is damaged or was changed (its checksum differs)" in refusal(
        tmp_path / "tfrecord"
    )
    path.write_text(whole.replace('{"version": 2', '{"version":    2'))
    assert TFRecordIndex.read(str(tmp_path / "tfrecord"), "train") == index


def test_lists_in_lists(tmp_path):
    (tmp_path / "train.index.json").write_text("[" * 100_000)
    assert "train.index.json: the index cannot be read (maximum recursion" in refusal(tmp_path)


def test_an_index_that_is_a_folder(tmp_path):
    (tmp_path / "train.index.json").mkdir()
    assert "train.index.json: the index cannot be read ([Errno 21] Is a directory" in refusal(tmp_path)


def test_another_version(index, tmp_path):
    folder = tmp_path / "tfrecord"
    path = change(folder, version=3)
    advice = "remove it and run python -m tools.make_tfrecord again"
    assert refusal(folder).startswith(f"{path}: the index has version 3, expected 2: {advice}")
    path.write_text("[1]")
    assert refusal(folder).startswith(f"{path}: the index has version None, expected 2: {advice}")


def test_an_index_of_another_split_or_length(index, tmp_path):
    folder = tmp_path / "tfrecord"
    os.rename(folder / "train.index.json", folder / "val.index.json")
    assert "val.index.json: the index holds 5 samples of split 'train', expected 5 of 'val'" in refusal(folder, "val")
    os.rename(folder / "val.index.json", folder / "train.index.json")
    change(folder, num_samples=6)
    assert "the index holds 5 samples of split 'train', expected 6 of 'train'" in refusal(folder)


def test_tfrecords_of_another_dataset(index, tmp_path):
    with pytest.raises(TFRecordError) as caught:
        find_tfrecord_samples(get_dataset("Cityscapes"), str(tmp_path), ["train"])
    assert str(caught.value).startswith(
        f"{tmp_path}/tfrecord/train.index.json: the TFRecords were made from custom, but --database is Cityscapes: "
        "give --database custom"
    )


def test_tfrecords_with_another_label_map(index, tmp_path):
    other = dataclasses.replace(DATASET, label_map=identity_map(20))
    with pytest.raises(TFRecordError) as caught:
        find_tfrecord_samples(other, str(tmp_path), ["train"])
    assert str(caught.value).startswith(
        f"{tmp_path}/tfrecord/train.index.json: label id 0 has the training id 0 by --num_classes, --label_map and "
        "--ignore_label, but had 255 "
    )
    fewer = dataclasses.replace(DATASET, label_map={i: t for i, t in LABEL_MAP.items() if i != 7})
    with pytest.raises(TFRecordError, match="label id 7 has the training id unknown by .* had 6 when"):
        find_tfrecord_samples(fewer, str(tmp_path), ["train"])


@pytest.mark.parametrize(
    ("then", "now", "words"),
    [
        (None, 0.3, "--holdout is 0.3 but was none .*: drop --holdout"),
        (0.2, None, "--holdout is none but was 0.2 .*: give --holdout 0.2"),
        (0.2, 0.3, "--holdout is 0.3 but was 0.2 .*: give --holdout 0.2"),
    ],
)
def test_tfrecords_with_another_fraction_held_out(index, tmp_path, then, now, words):
    path = change(tmp_path / "tfrecord", holdout=then)
    assert len(find_tfrecord_samples(DATASET, str(tmp_path), ["train"], then)) == 5
    with pytest.raises(TFRecordError, match=f"^{path}: {words}"):
        find_tfrecord_samples(DATASET, str(tmp_path), ["train"], now)


def test_a_missing_shard(index, tmp_path):
    path = tmp_path / "tfrecord" / "train-00001-of-00002.tfrecord"
    os.remove(path)
    with pytest.raises(TFRecordError) as caught:
        find_tfrecord_samples(DATASET, str(tmp_path), ["train"])
    assert str(caught.value).startswith(f"{path}: the shard cannot be read (No such file or directory)")


def test_a_shard_of_another_length(index, tmp_path):
    path = tmp_path / "tfrecord" / "train-00001-of-00002.tfrecord"
    size = path.stat().st_size
    os.truncate(path, 100)
    with pytest.raises(TFRecordError, match=f"the shard has 100 bytes, expected {size}: remove it"):
        find_tfrecord_samples(DATASET, str(tmp_path), ["train"])


def test_shards_of_another_number(index, tmp_path):
    folder = str(tmp_path / "tfrecord")
    refuse_other_shards(folder, "train", 2)
    refuse_other_shards(folder, "train_extra", 3)
    refuse_other_shards(str(tmp_path / "none"), "train", 3)
    with pytest.raises(TFRecordError) as caught:
        refuse_other_shards(folder, "train", 3)
    assert str(caught.value).startswith(
        f"{folder}/train-00000-of-00002.tfrecord: this is one of 2 shards, expected 3: give --shards 2"
    )


def test_names_of_shards():
    assert shard_names("train", 16)[:2] == ["train-00000-of-00016.tfrecord", "train-00001-of-00016.tfrecord"]
    assert len(shard_names("train", 16)) == 16


def test_an_index_that_cannot_be_written(index, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TFRecordError, match=r"train.index.json: the index cannot be written \(Not a directory\)"):
        index.write(str(tmp_path / "file" / "tfrecord"))
