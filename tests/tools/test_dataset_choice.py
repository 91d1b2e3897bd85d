"""Which dataset flags mean, and its folder."""

from __future__ import annotations

import pytest

from database.datasets import get_dataset
from tools import dataset_choice
from tools.dataset_flags import DatasetFlags
from tools.flags import FlagError


def test_generated_scenes_are_written_once_and_to_their_own_place_only(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(dataset_choice, "write_dataset", written.append)
    monkeypatch.chdir(tmp_path)
    toy = get_dataset("Toy")
    assert dataset_choice.existing_folder(toy, "mistyped") == "mistyped"
    assert written == []
    assert dataset_choice.existing_folder(toy, None) == "./database/toy"
    (tmp_path / "database" / "toy").mkdir(parents=True)
    assert dataset_choice.existing_folder(toy, None) == "./database/toy"
    assert written == ["./database/toy"]
    assert dataset_choice.existing_folder(get_dataset("KITTI"), str(tmp_path / "absent")) == str(tmp_path / "absent")
    assert dataset_choice.existing_folder(get_dataset("KITTI"), None) == "./database/kitti_semantics"
    assert written == ["./database/toy"]


def test_dataset_of_flags():
    assert dataset_choice.dataset_of_flags("ADE", DatasetFlags(database="ADE")) is get_dataset("ADE")
    flags = DatasetFlags(database="custom", num_classes=3, ignore_label=9, image_mean=(1.0, 2.0, 3.0))
    dataset = dataset_choice.dataset_of_flags("custom", flags)
    assert (dataset.num_classes, dataset.image_mean) == (3, (1.0, 2.0, 3.0))
    assert dataset.label_map == {0: 0, 1: 1, 2: 2, 9: 255}


def test_own_data_needs_a_number_of_classes():
    with pytest.raises(FlagError, match="--database custom needs --num_classes"):
        dataset_choice.own_dataset({"palette": "colours.txt"})
