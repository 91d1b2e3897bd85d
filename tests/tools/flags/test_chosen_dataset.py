"""Which dataset flags mean, and its folder."""

from __future__ import annotations

import re

import pytest

from database.datasets import custom_dataset, find_samples, get_dataset
from database.errors import DatasetError
from tools.download.sources import find_source
from tools.errors import FlagError
from tools.flags import chosen_dataset as dataset_choice
from tools.flags.dataset import DATABASES, DatasetFlags
from tools.flags.parsing import parse_flags
from tools.flags.train import TrainConfig


def test_generated_scenes_are_written_once_and_to_their_own_place_only(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(dataset_choice, "write_dataset", written.append)
    monkeypatch.chdir(tmp_path)
    toy = get_dataset("Toy")
    with pytest.raises(DatasetError, match="--data_dir mistyped: no such folder; Toy .* drop --data_dir, and .*/toy"):
        dataset_choice.existing_folder(toy, "mistyped")
    assert written == []
    assert dataset_choice.existing_folder(toy, None) == "./database/toy"
    (tmp_path / "database" / "toy").mkdir(parents=True)
    assert dataset_choice.existing_folder(toy, None) == "./database/toy"
    assert written == ["./database/toy"]
    (tmp_path / "elsewhere").mkdir()
    assert dataset_choice.existing_folder(get_dataset("KITTI"), "elsewhere") == "elsewhere"
    assert written == ["./database/toy"]


COMMAND = re.compile(r"python -m tools\.(\w+)((?: (?!and|or)[\w./'-]+)*)")


@pytest.mark.parametrize("database", [name for name in DATABASES if name not in ("Toy", "custom")])
def test_without_data_the_message_says_how_to_get_them(database, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = get_dataset(database)
    with pytest.raises(DatasetError) as caught:
        dataset_choice.existing_folder(dataset, None)
    message = str(caught.value)
    assert message.startswith(f"--data_dir {dataset.default_dir}: no such folder; {database} is expected there as ")
    assert dataset.layout in message
    assert message.endswith(", or give its folder with --data_dir")
    module, arguments = COMMAND.search(message).groups()
    assert module == "download"
    assert find_source(arguments.split()[0]).name == database


def test_data_are_fetched_to_the_folder_that_was_asked_for(tmp_path):
    folder = str(tmp_path / "my data")
    with pytest.raises(DatasetError, match=f"python -m tools.download CamVid --out '{folder}'$"):
        dataset_choice.existing_folder(get_dataset("CamVid"), folder)
    with pytest.raises(DatasetError, match="absent: no such folder; custom .* your images and labels lie in$"):
        dataset_choice.existing_folder(custom_dataset(3), "absent")


def test_dataset_of_flags():
    assert dataset_choice.dataset_of_flags("ADE", DatasetFlags(database="ADE")) == get_dataset("ADE")
    flags = DatasetFlags(database="custom", num_classes=3, ignore_label=9, image_mean=(1.0, 2.0, 3.0))
    dataset = dataset_choice.dataset_of_flags("custom", flags)
    assert (dataset.num_classes, dataset.image_mean) == (3, (1.0, 2.0, 3.0))
    assert dataset.label_map == {0: 0, 1: 1, 2: 2, 9: 255}


def test_own_data_needs_a_number_of_classes():
    with pytest.raises(FlagError, match="--database custom needs --num_classes"):
        dataset_choice.own_dataset({"palette": "colours.txt"})


@pytest.mark.usefixtures("unchecked_data_folders")
def test_training_dataset_and_its_folder():
    config = TrainConfig(batch_size=2, database="ADE")
    assert dataset_choice.training_dataset(config) == (get_dataset("ADE"), "./database/ADEChallengeData2016")
    config = TrainConfig(batch_size=2, database="ADE", data_dir="elsewhere")
    assert dataset_choice.training_dataset(config)[1] == "elsewhere"


def test_training_on_own_data(tmp_path):
    config = TrainConfig(
        batch_size=2, database="custom", num_classes=3, ignore_label=9, image_mean=(1.0, 2.0, 3.0),
        data_dir=str(tmp_path),
    )  # fmt: skip
    dataset, folder = dataset_choice.training_dataset(config)
    assert (dataset.num_classes, dataset.image_mean, folder) == (3, (1.0, 2.0, 3.0), str(tmp_path))
    assert dataset.label_map == {0: 0, 1: 1, 2: 2, 9: 255}


def test_samples_share_the_input_range_of_the_training_dataset(toy_dir):
    dataset, folder = dataset_choice.training_dataset(
        TrainConfig(batch_size=2, database="Toy", data_dir=toy_dir, input_range=9)
    )
    samples = [*find_samples(dataset, folder, ["train"]), *find_samples(dataset, folder, ["val"])]
    assert dataset.input_range.white == 9
    assert all(sample.input_range is dataset.input_range for sample in samples)


def test_two_ways_to_map_label_ids_are_refused():
    """On the command line, where the flags are known, and in flags by name."""
    with pytest.raises(FlagError, match="--reduce_zero_label 1 has no effect with --label_map.*drop --label_map"):
        parse_flags(
            TrainConfig,
            ["--batch_size", "2", "--database", "custom", "--num_classes", "3", "--label_map", "m.txt",
             "--reduce_zero_label", "1"],
            "",
        )  # fmt: skip
    with pytest.raises(FlagError, match=r"--reduce_zero_label 1 and --label_map m\.txt both map label ids"):
        dataset_choice.own_dataset({"num_classes": 3, "label_map": "m.txt", "reduce_zero_label": True})
    reduced = dataset_choice.own_dataset({"num_classes": 3, "reduce_zero_label": True})
    assert reduced.label_map == {0: 255, 255: 255, 1: 0, 2: 1, 3: 2}
