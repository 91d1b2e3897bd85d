"""The rules about labels as a whole, which training and the check of a dataset share."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from database.datasets import custom_dataset, get_dataset
from database.errors import ImageError
from database.images import has_palette, write_image
from database.layouts import Sample
from tools.training.label_rules import (
    LabelTally,
    classes_held_out,
    counts_by_id,
    ignored_fault,
    missing_class_fault,
    tally_labels,
    tally_missing_classes,
    unknown_id_faults,
)

OWN = custom_dataset(3)


def tally_of(*files: dict[int, int], dataset=OWN) -> LabelTally:
    tally = LabelTally()
    for number, counts in enumerate(files):
        tally.add(Sample(str(number), f"{number}.jpg", f"{number}.png", dataset.label_map), counts)
    return tally


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_pixels_by_id(dtype):
    ids = np.array([[0, 3, 3], [255, 3, 0]], dtype)
    assert counts_by_id(ids) == {0: 2, 3: 3, 255: 1}


def test_tally():
    tally = tally_of({0: 4, 255: 2}, {2: 1, 9: 3, 8: 1})
    assert (tally.files, tally.first.label, dict(tally.ids)) == (2, "0.png", {0: 4, 255: 2, 2: 1, 9: 3, 8: 1})
    assert (tally.classes, tally.unknown) == ({0, 2}, [("1.png", 9, 3), ("1.png", 8, 1)])
    merged = LabelTally()
    merged.merge(tally)
    merged.merge(tally_of({1: 5}))
    assert (merged.files, merged.first.label, merged.ids[1], merged.classes) == (3, "0.png", 5, {0, 1, 2})


def test_faults_of_unknown_ids():
    faults = unknown_id_faults(tally_of({1: 4, 2: 2}, {3: 7, 1: 2}, {3: 1}), OWN)
    assert [fault.partition(" is neither")[0] for fault in faults] == [
        "1.png: id 3 (7 pixels)",
        "2.png: id 3 (1 pixel)",
    ]
    assert "do yours begin at 1?" in faults[0]
    assert "begin at 1" not in faults[1]
    assert unknown_id_faults(tally_of({0: 1}), OWN) == []


def test_fault_of_ignored_labels():
    for files, words in (
        ([{255: 4}, {255: 1}, {255: 1}], "0.png: every pixel of this and of 2 more label files is ignored: check"),
        ([{255: 4}, {255: 1}], "0.png: every pixel of this and of 1 more label file is ignored: check"),
        ([{255: 4}], "0.png: every pixel of this label file is ignored: check"),
    ):
        assert str(ignored_fault(tally_of(*files))).startswith(words)
    for files in ((), ({255: 4}, {0: 1}), ({255: 4, 7: 1},)):
        assert ignored_fault(tally_of(*files)) is None


def test_fault_of_missing_classes():
    fault = str(missing_class_fault(tally_of({0: 4}, {2: 1}), OWN))
    words = r"class 1 \(class_1\) occurs in no label of the 2 training images; .*ids .* 0 and 2; .*add --allow_missing"
    assert re.match(words, fault)
    assert str(missing_class_fault(tally_of({0: 4}, {2: 1}), OWN, allowed=True)).endswith(
        " because of --allow_missing_classes 1"
    )
    assert "in no label of the training image; the ids" in str(missing_class_fault(tally_of({0: 4, 2: 1}), OWN))
    for files in ((), ({0: 4}, {2: 1}, {1: 1}), ({255: 3},)):
        assert missing_class_fault(tally_of(*files), OWN) is None


def test_classes_that_only_validation_images_show():
    """Nothing is said about the number of classes, which is right."""
    fault = str(missing_class_fault(tally_of({0: 4, 1: 2}), OWN, held_out={0, 2}))
    assert "no label of the training image; the ids there are 0 and 1, and labels of val show it: move" in fault
    assert "--num_classes" not in fault
    fault = str(missing_class_fault(tally_of({0: 4}), OWN, held_out={2}))
    assert "classes 1 (class_1), 2 (class_2) occur" in fault
    assert "labels of val show class 2" in fault
    assert "--num_classes" in str(missing_class_fault(tally_of({0: 4, 1: 2}), OWN, held_out={0, 1}))


def test_classes_of_validation_images_are_looked_for(samples):
    """Until the missing ones have been seen; images without labels and unreadable files are skipped."""
    given = [
        dataclasses.replace(samples[0], label=None), dataclasses.replace(samples[1], label="no.png"), *samples[2:]
    ]  # fmt: skip
    assert classes_held_out(given, {2}, unreadable=(ImageError,)) >= {2}
    assert classes_held_out(samples[:4], {2}, unreadable=(ImageError,)) == {0, 1}
    assert classes_held_out(samples, (), unreadable=(ImageError,)) == set()
    tally = tally_of({2: 1})
    assert classes_held_out(samples, {2}, unreadable=(ImageError,), tally=tally) == {2}
    assert tally.files == 1


def test_many_missing_classes_are_counted():
    ade = get_dataset("ADE")
    fault = str(missing_class_fault(tally_of({0: 1, 1: 4, 2: 1}, dataset=ade), ade))
    assert fault.startswith(
        "classes 2 (sky), 3 (floor), 4 (tree), 5 (ceiling), 6 (road) and 143 more occur in no label"
    )
    assert "label_map" not in fault  # which is only for own data


def test_classes_that_a_dataset_is_known_to_lack():
    toy, cityscapes = get_dataset("Toy"), get_dataset("Cityscapes")
    drawn = {7: 1, 8: 1, 11: 1, 17: 1, 20: 1, 21: 1, 22: 1, 23: 1, 24: 1, 26: 1}
    assert missing_class_fault(tally_of(drawn, dataset=toy), toy) is None
    del drawn[26]
    assert "class 13 (car) occurs" in str(missing_class_fault(tally_of(drawn, dataset=toy), toy))
    assert "classes 3 (wall)" in str(missing_class_fault(tally_of(drawn, dataset=cityscapes), cityscapes))


def test_palette_images_are_said_to_be_read_by_index(tmp_path):
    path, plain = str(tmp_path / "a.png"), str(tmp_path / "b.png")
    write_image(path, np.ones((2, 2), np.uint8), palette=[(0, 0, 0), (255, 0, 0)])
    write_image(plain, np.ones((2, 2), np.uint8))
    assert (has_palette(path), has_palette(plain)) == (True, False)
    for file, expected in ((path, True), (plain, False)):
        tally = LabelTally()
        tally.add(Sample("a", file, file, OWN.label_map), {1: 3, 9: 1})
        for fault in (missing_class_fault(tally, OWN), unknown_id_faults(tally, OWN)[0]):
            assert (f"; {file} is a palette image, whose indices are the ids, not its colours" in fault) == expected
    voc = get_dataset("SBD")
    tally = LabelTally()
    tally.add(Sample("a", path, path, voc.label_map), {1: 3})
    assert "palette image" not in missing_class_fault(tally, voc)


@pytest.fixture
def samples(tmp_path) -> list[Sample]:
    """40 labels of one pixel each: ids 0, 1, 0, 1 and so on, and a single 2."""
    found = []
    for number in range(40):
        path = str(tmp_path / f"{number}.png")
        write_image(path, np.full((1, 1), 2 if number == 17 else number % 2, np.uint8))
        found.append(Sample(str(number), path, path, OWN.label_map))
    return found


def refuse(error: Exception) -> None:
    raise error


def test_reading_ends_when_enough_was_seen(samples):
    tally = LabelTally()
    tally_labels(
        samples, tally, enough=lambda counted: counted.files == 3, unreadable=(ImageError,), on_fault=refuse, workers=2
    )
    assert dict(tally.ids) == {0: 2, 1: 1}


@pytest.mark.parametrize(("expected", "ids"), [({0, 1}, {0, 1}), ({2}, {2}), (OWN.expected_classes, {0, 1, 2})])
def test_reading_goes_on_until_every_expected_class_was_seen(samples, expected, ids):
    tally = LabelTally()
    tally_missing_classes(samples, tally, expected, unreadable=(ImageError,), on_fault=refuse)
    assert tally.classes >= ids
    assert (tally.files < 10) == (expected == {0, 1})


def test_reading_of_a_class_that_is_nowhere_ends_with_the_files(samples):
    tally = LabelTally()
    del samples[17]
    tally_missing_classes(samples, tally, {2}, unreadable=(ImageError,), on_fault=refuse)
    assert (tally.files, dict(tally.ids)) == (39, {0: 20, 1: 19})
    tally_missing_classes([], tally, {2}, unreadable=(ImageError,), on_fault=refuse)
    assert tally.files == 39


def test_any_class_is_enough_where_none_is_expected(samples):
    tally = tally_of({255: 3})
    tally_missing_classes(samples, tally, (), unreadable=(ImageError,), on_fault=refuse)
    assert tally.files == 2


def test_unknown_id_ends_the_reading(samples):
    strange = [dataclasses.replace(sample, label_map={0: 0, 2: 2}) for sample in samples]
    tally = LabelTally()
    tally_missing_classes(strange, tally, {0, 1, 2}, unreadable=(ImageError,), on_fault=refuse)
    assert len(tally.unknown) == 1


def test_files_that_cannot_be_read(samples):
    damaged = dataclasses.replace(samples[5], label="no.png")
    errors: list[Exception] = []
    tally = LabelTally()
    given = [*samples[:5], damaged, *samples[6:10]]
    tally_labels(given, tally, enough=lambda _: False, unreadable=(ImageError,), on_fault=errors.append)
    assert (tally.files, [str(error).partition(":")[0] for error in errors]) == (9, ["no.png"])
    with pytest.raises(ImageError, match=r"no\.png"):
        tally_labels(given, tally, enough=lambda _: False, unreadable=(ImageError,), on_fault=refuse)
