"""Tests which splits are found, and the faults between splits."""

from __future__ import annotations

import pytest

from database.datasets import get_dataset
from database.errors import AbsentSplitError, DatasetError
from database.layouts import Sample
from tests.tools.command_lines import parse
from tools.check_dataset.__main__ import CheckConfig
from tools.check_dataset.split_faults import find_splits, overlap_faults
from tools.flags.chosen_dataset import dataset_of_flags
from tools.flags.dataset import DATABASES


@pytest.mark.parametrize("name", DATABASES)
def test_splits_that_are_not_there(name, tmp_path):
    """An empty folder has no split, and none of them is a fault."""
    config = parse(f"--database {name}" + (" --num_classes 3" if name == "custom" else ""), CheckConfig)
    dataset = dataset_of_flags(name, config)
    for split in dataset.splits:
        with pytest.raises(AbsentSplitError):
            dataset.find(str(tmp_path), split)
    with pytest.raises(DatasetError, match=f"found no files of {name}, expected "):
        find_splits(dataset, str(tmp_path))


def test_split_without_its_own_list(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "train.txt").write_text("a.png a.png")
    config = parse(f"--database custom --num_classes 3 --train_list {tmp_path / 'train.txt'}", CheckConfig)
    found, absent, faults = find_splits(dataset_of_flags("custom", config), str(tmp_path))
    assert (set(found), set(absent), faults) == ({"train"}, {"val", "test"}, [])


def test_list_that_cannot_be_read_is_a_fault(tmp_path):
    (tmp_path / "train.txt").mkdir()
    _, absent, [fault] = find_splits(get_dataset("SBD"), str(tmp_path))
    assert "train" not in absent
    assert "cannot be read (Is a directory)" in fault.message


def test_overlaps_among_held_out_splits():
    train, val, test = (
        [Sample(name, f"/data/{name}.png", None, {}) for name in names] for names in ("abc", "bd", "cdb")
    )
    faults = overlap_faults({"train": train, "val": val, "test": test, "trainaug": train})
    assert [(fault.split, fault.message) for fault in faults] == [
        ("val", "/data/b.png: this image is also in train"),
        ("val", "/data/b.png: this image is also in test"),
        ("val", "/data/d.png: this image is also in test"),
        ("val", "/data/b.png: this image is also in trainaug"),
        ("test", "/data/b.png: this image is also in train"),
        ("test", "/data/c.png: this image is also in train"),
        ("test", "/data/b.png: this image is also in trainaug"),
        ("test", "/data/c.png: this image is also in trainaug"),
    ]
    assert overlap_faults({"train": train, "trainaug": train}) == []
