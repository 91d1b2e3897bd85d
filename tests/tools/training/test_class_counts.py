"""The pixels of classes in labels, and the file that keeps them."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from database.classes import identity_map
from database.errors import ImageError
from database.images import write_image
from database.json_values import checksum_of
from database.layouts import Sample
from tests.database import tfrecord_files
from tools.runs.known_runs import runs_in
from tools.training import kept_class_counts as keeping
from tools.training.class_counts import count_classes
from tools.training.kept_class_counts import kept_class_counts

LABELS = [[[0, 0, 0, 1]], [[0, 2, 255, 255]], [[255, 255, 255, 255]]]
COUNTS = [[3, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]


@pytest.fixture
def samples(tmp_path):
    folder, found = tmp_path / "data", []
    folder.mkdir()
    for number, label in enumerate(LABELS):
        path = folder / f"label{number}.png"
        write_image(str(path), np.array(label, np.uint8))
        found.append(Sample(str(number), str(folder / "image.png"), str(path), identity_map(4)))
    return found


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Returns a function of samples that returns their counts and whether they were read from the file."""

    def read(samples, folder="log", data="data", **options):
        counted = []

        def counting(*arguments):
            counted.append(arguments)
            return count_classes(*arguments)

        monkeypatch.setattr(keeping, "count_classes", counting)
        counts = kept_class_counts(samples, 4, str(tmp_path / folder), str(tmp_path / data), **options)
        return counts.tolist(), not counted

    return read


def the_file(tmp_path) -> Path:
    [path] = (tmp_path / "log").iterdir()
    assert path.name.startswith("class-counts-")
    return path


def test_pixels_are_counted(samples):
    counts = count_classes(samples, 4, "")
    assert counts.dtype == np.int64
    assert counts.tolist() == COUNTS


def test_unreadable_labels_count_as_empty_up_to_a_number(samples):
    Path(samples[0].label).write_bytes(b"no image")
    assert count_classes(samples, 4, "", max_bad_files=1).tolist() == [[0] * 4, *COUNTS[1:]]
    with pytest.raises(ImageError, match="label0.png"):
        count_classes(samples, 4, "")


def test_counts_are_written_once_and_shared(tmp_path, samples, kept, caplog):
    caplog.set_level("INFO")
    assert kept(samples) == (COUNTS, False)
    path = the_file(tmp_path)
    written = path.stat().st_mtime_ns
    assert kept(samples) == (COUNTS, True)
    assert path.stat().st_mtime_ns == written
    assert str(path) in caplog.text
    assert runs_in(str(tmp_path / "log")) == []  # the file is not taken for a run


def test_a_copy_of_the_data_shares_the_file(tmp_path, samples, kept):
    kept(samples)
    os.rename(tmp_path / "data", tmp_path / "moved")
    moved = [replace(sample, label=str(tmp_path / "moved" / Path(sample.label).name)) for sample in samples]
    assert kept(moved, data="moved") == (COUNTS, True)
    the_file(tmp_path)


def test_other_classes_and_lists_have_files_of_their_own(tmp_path, samples, kept):
    kept(samples)
    swapped = [replace(sample, label_map={0: 1, 1: 0, 2: 2, 255: 255}) for sample in samples]
    assert kept(swapped) == ([[1, 3, 0, 0], [0, 1, 1, 0], [0] * 4], False)
    assert kept(samples[::-1]) == (COUNTS[::-1], False)
    assert kept(samples) == (COUNTS, True)
    assert len(list((tmp_path / "log").iterdir())) == 3


def test_changed_labels_are_noticed(tmp_path, samples, kept, caplog):
    kept(samples)
    write_image(samples[2].label, np.array([[3, 3, 255, 255]], np.uint8))
    assert kept(samples) == ([*COUNTS[:2], [0, 0, 0, 2]], False)
    assert "the labels have changed" in caplog.text
    assert str(the_file(tmp_path)) in caplog.text
    assert kept(samples) == ([*COUNTS[:2], [0, 0, 0, 2]], True)


DAMAGES = {
    "cut off": lambda text: text[:-20],
    "empty": lambda _: "",
    "another digit": lambda text: text.replace("[0, 3,", "[0, 4,"),
    "not an object": lambda _: "[1]",
    "another version": lambda text: text.replace('"version": 1', '"version": 2'),
}


def resealed(change):
    """Returns a damage that changes the values and writes a correct checksum over them."""

    def damage(text):
        values = json.loads(text)
        change(values)
        values["checksum"] = checksum_of(values)
        return json.dumps(values)

    return damage


IMPOSSIBLE = {
    "too few rows": resealed(lambda values: values["counts"].pop()),
    "no such class": resealed(lambda values: values["counts"][0].__setitem__(0, 4)),
    "negative pixels": resealed(lambda values: values["counts"][0].__setitem__(1, -1)),
    "half a pair": resealed(lambda values: values["counts"][0].pop()),
    "no numbers": resealed(lambda values: values["counts"].__setitem__(0, "ab")),
    "no row": resealed(lambda values: values["counts"].__setitem__(0, None)),
    "no rows": resealed(lambda values: values.pop("counts")),
}


@pytest.mark.parametrize("damage", [*DAMAGES.values(), *IMPOSSIBLE.values()], ids=[*DAMAGES, *IMPOSSIBLE])
def test_a_damaged_file_is_written_again(tmp_path, samples, kept, caplog, damage):
    kept(samples)
    path = the_file(tmp_path)
    intact = path.read_text()
    path.write_text(damage(intact))
    assert path.read_text() != intact
    assert kept(samples) == (COUNTS, False)
    assert f"{path}: the file is damaged" in caplog.text
    assert path.read_text() == intact


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path, samples, kept, caplog):
    (tmp_path / "log").write_text("a file")
    assert kept(samples) == (COUNTS, False)
    assert "cannot write" in caplog.text


def test_tfrecords_are_counted_as_files_are(tmp_path, kept):
    files = tfrecord_files.write_samples(tmp_path / "data", 3)
    records = tfrecord_files.in_a_shard(files, tmp_path / "data")
    expected = count_classes(files, 20, "").tolist()
    for name in ("log", "again"):
        found = kept_class_counts(records, 20, str(tmp_path / name), str(tmp_path / "data"))
        assert found.tolist() == expected
    # Without their files, from the file of counts.
    for sample in files:
        os.remove(sample.label)
    assert kept_class_counts(records, 20, str(tmp_path / "log"), str(tmp_path / "data")).tolist() == expected
