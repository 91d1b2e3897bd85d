"""Samples of a run from files and from records."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from database.datasets import custom_dataset, find_samples, get_dataset
from database.errors import DatasetError, TFRecordError
from database.tfrecord import TFRecordSample
from tests.tools.command_lines import ignored_in_scoring, refusal
from tests.tools.read_flags import recording_reads
from tests.tools.toy_runs import csv_rows, smallest_config, toy_record, train_with
from tools.errors import PreflightError
from tools.flags.train import TrainConfig
from tools.make_tfrecord.writing import write_tfrecords
from tools.runs.agreement import check_same_run
from tools.runs.data_checksums import DataChecksums
from tools.runs.folder import RunFolder
from tools.runs.origin_entries import with_samples
from tools.training.preflight import check_disjoint, check_labels
from tools.training.samples import training_samples, validation_samples

TOY = get_dataset("Toy")


def write(data_dir: str, split: str = "train") -> None:
    """Writes a split of the generated scenes as records into the folder `tfrecord` beside the files."""
    samples, folder = find_samples(TOY, data_dir, [split]), str(Path(data_dir, "tfrecord"))
    write_tfrecords(TOY, samples, data_dir, folder, split=split, shards=2, workers=2)


@pytest.fixture
def data_dir(toy_dir, tmp_path) -> str:
    """Scenes in files, and the training ones in records too."""
    folder = str(tmp_path / "toy")
    shutil.copytree(toy_dir, folder)
    write(folder)
    return folder


@pytest.fixture
def configs(data_dir) -> list[TrainConfig]:
    """Flags of a run on files and of one on records."""
    files = smallest_config(data_dir, "log")
    return [files, dataclasses.replace(files, data_format="tfrecord")]


def test_the_same_samples_from_files_and_from_records(configs, data_dir):
    files, records = (training_samples(config, TOY, data_dir) for config in configs)
    assert [type(sample) for sample in records] == [TFRecordSample] * 6
    for sample, record in zip(files, records, strict=True):
        shared = [getattr(record, field.name) for field in dataclasses.fields(sample)]
        assert shared == [getattr(sample, field.name) for field in dataclasses.fields(sample)]


def test_records_that_are_not_there(configs, data_dir):
    config = dataclasses.replace(configs[1], subsets_for_training=("train", "val"))
    with pytest.raises(TFRecordError, match="tfrecord/val.index.json: the index does not exist"):
        training_samples(config, TOY, data_dir)


@pytest.mark.parametrize("started_on", [0, 1], ids=["files", "records"])
def test_a_run_goes_on_from_either(configs, data_dir, tmp_path, started_on):
    folder, started, continued = RunFolder(str(tmp_path / "run")), configs[started_on], configs[1 - started_on]
    record = with_samples(toy_record(started), DataChecksums.of(training_samples(started, TOY, data_dir), data_dir))
    record.write(folder.snapshots)
    check_same_run(folder, continued, TOY, DataChecksums.of(training_samples(continued, TOY, data_dir), data_dir))


def test_a_run_is_resumed_from_moved_tfrecords_without_files(configs, data_dir, tmp_path):
    folder, moved = RunFolder(str(tmp_path / "run")), str(tmp_path / "moved")
    files, records = configs
    record = with_samples(toy_record(files), DataChecksums.of(training_samples(files, TOY, data_dir), data_dir))
    record.write(folder.snapshots)
    shutil.move(str(Path(data_dir, "tfrecord")), moved)
    records = dataclasses.replace(records, data_dir=moved)
    check_same_run(folder, records, TOY, DataChecksums.of(training_samples(records, TOY, moved), moved))


@pytest.mark.slow
@pytest.mark.usefixtures("narrow_resnet")
def test_a_run_on_records_goes_on_from_files_to_the_same_numbers(configs, log_dir):
    files, records = (dataclasses.replace(config, log_dir=log_dir, train_max_iter=3) for config in configs)
    on_records = csv_rows(train_with(records))
    on_both = csv_rows(train_with(dataclasses.replace(files, resume_step=1)))
    columns = ("step", "loss", "auxiliary_loss", "mean_iou")
    assert [row["step"] for row in on_records] == [1, 2, 3]
    for rows in zip(on_records, on_both, strict=True):
        assert [rows[0][name] for name in columns] == [rows[1][name] for name in columns]


def test_labels_in_records_are_checked_before_the_first_step(configs, data_dir):
    files, records = (training_samples(config, TOY, data_dir) for config in configs)
    expected = check_labels(files, "all", TOY)
    for kind in ("leftImg8bit", "gtFine"):
        shutil.rmtree(Path(data_dir, kind))
    assert check_labels(records, "all", TOY) == expected
    shard = Path(records[4].shard)
    shard.write_bytes(shard.read_bytes()[:-40] + bytes(40))
    with pytest.raises(TFRecordError, match="train-00001-of-00002.tfrecord: example 2 is damaged"):
        check_labels(records, "all", TOY)


@pytest.mark.parametrize("held_out", [0, 1], ids=["files", "records"])
def test_validation_images_among_the_training_images_are_seen(configs, data_dir, held_out):
    files, records = (training_samples(config, TOY, data_dir) for config in configs)
    check_disjoint(records, validation_samples(configs[1], TOY, data_dir))
    with pytest.raises(PreflightError, match=f"{records[2].image}, a validation image, is among"):
        check_disjoint(records, [(files, records)[held_out][2]])


def test_validation_reads_files_unless_there_are_records(configs, data_dir, caplog):
    caplog.set_level("INFO")
    expected = find_samples(TOY, data_dir, ["val"])
    assert validation_samples(configs[0], TOY, data_dir) == expected
    assert caplog.messages == []
    assert validation_samples(configs[1], TOY, data_dir) == expected
    [line] = caplog.messages
    assert "files, not TFRecords" in line
    write(data_dir, "val")
    found = validation_samples(configs[1], TOY, data_dir)
    assert [type(sample) for sample in found] == [TFRecordSample] * 2
    assert [sample.image for sample in found] == [sample.image for sample in expected]


def test_validation_without_files_and_without_records(configs, data_dir):
    shutil.rmtree(Path(data_dir, "leftImg8bit", "val"))
    shutil.rmtree(Path(data_dir, "gtFine", "val"))
    with pytest.raises(DatasetError) as caught:
        validation_samples(configs[1], TOY, data_dir)
    assert str(caught.value).startswith("split 'val' is empty: no images match ")
    assert str(caught.value).endswith("; or write TFRecords of it with python -m tools.make_tfrecord --split val")


def test_own_data_without_validation_list(tmp_path):
    values = {"batch_size": 2, "database": "custom", "num_classes": 3}
    lists = {"train_list": str(tmp_path / "train.txt")}
    dataset = custom_dataset(3, **lists)
    assert validation_samples(TrainConfig(**values, **lists), dataset, str(tmp_path)) == []
    with pytest.raises(DatasetError, match="split 'val' is empty"):
        validation_samples(TrainConfig(**values), custom_dataset(3), str(tmp_path))


@pytest.fixture
def own_records(data_dir) -> TrainConfig:
    """Flags of a run on records that were made by a list, with three of the scenes' own ids as classes."""
    toy = find_samples(TOY, data_dir, ["train", "val"])
    lines = [f"{sample.image}\t{sample.label}\n" for sample in toy]
    label_map = {file_id: min(train_id, 2) if train_id != 255 else 255 for file_id, train_id in TOY.label_map.items()}
    rows = "".join(f"{file_id} {train_id}\n" for file_id, train_id in label_map.items())
    files = {"train.txt": "".join(lines[:6]), "val.txt": "".join(lines[6:]), "ids.txt": rows}
    for name, text in files.items():
        Path(data_dir, name).write_text(text)
    dataset = custom_dataset(
        3, train_list=str(Path(data_dir, "train.txt")), label_map_file=str(Path(data_dir, "ids.txt"))
    )
    folder = str(Path(data_dir, "tfrecord"))
    shutil.rmtree(folder)
    samples = find_samples(dataset, data_dir, ["train"])
    write_tfrecords(dataset, samples, data_dir, folder, split="train", shards=2, workers=2, from_list=True)
    return TrainConfig(
        batch_size=2, database="custom", num_classes=3, label_map=str(Path(data_dir, "ids.txt")), data_dir=data_dir,
        data_format="tfrecord",
    )  # fmt: skip


def test_own_records_from_a_list_are_not_scored_without_another(own_records, data_dir, caplog):
    caplog.set_level("INFO")
    dataset = custom_dataset(3, label_map_file=own_records.label_map)
    assert len(training_samples(own_records, dataset, data_dir)) == 6
    assert validation_samples(own_records, dataset, data_dir) == []
    assert caplog.messages[-1].startswith("no --val_list: ")
    val_list = str(Path(data_dir, "val.txt"))
    listed = custom_dataset(3, label_map_file=own_records.label_map, val_list=val_list)
    config = dataclasses.replace(own_records, val_list=val_list)
    assert len(training_samples(config, listed, data_dir)) == 6
    assert [sample.image for sample in validation_samples(config, listed, data_dir)] == [
        sample.image for sample in find_samples(TOY, data_dir, ["val"])
    ]


def test_no_flag_that_is_ignored_in_scoring_says_where_validation_images_are(own_records, data_dir):
    """Records are looked up by the splits that are trained on."""
    config, read = recording_reads(own_records)
    assert validation_samples(config, custom_dataset(3, label_map_file=own_records.label_map), data_dir) == []
    ignored = ignored_in_scoring()
    assert read & ignored == {"val_every"}  # which is refused there, unless --eval_only 1 has put it back
    assert "subsets_for_training" in read


def test_a_training_list_beside_records_is_refused():
    line = "--batch_size 2 --database custom --num_classes 3 --data_format tfrecord --train_list a.txt"
    assert "--train_list a.txt has no effect on TFRecords, which were made from a list" in refusal(line)
