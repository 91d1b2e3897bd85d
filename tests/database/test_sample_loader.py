"""Tests unreadable samples: skipped, counted and replaced by the next one, up to a limit."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from database.errors import DatasetError, ImageError
from database.layouts import Sample
from database.sample_loader import SampleLoader

LABEL_MAP = {index: index for index in range(10)}


def write_samples(folder: Path, count: int = 5) -> list[Sample]:
    """Writes images of 2x3 pixels whose values, and labels, are the index of the sample."""
    samples = []
    for index in range(count):
        image, label = folder / f"{index}.png", folder / f"{index}_label.png"
        Image.fromarray(np.full((2, 3, 3), index, np.uint8)).save(image)
        Image.fromarray(np.full((2, 3), index, np.uint8)).save(label)
        samples.append(Sample(str(index), str(image), str(label), LABEL_MAP))
    return samples


def loaded(loader: SampleLoader, place: int) -> int:
    """Returns the position of the sample that is loaded, and checks it against the pixels."""
    image, label, found = loader.load(place)
    assert image.max() == image.min() == label.max() == found
    return found


def test_what_can_be_read_is_itself(tmp_path):
    loader = SampleLoader(write_samples(tmp_path))
    assert [loaded(loader, place) for place in range(5)] == list(range(5))
    assert (loader.skipped, loader.faults) == ({}, [])


def test_the_next_readable_sample_replaces_an_unreadable_one(tmp_path, caplog):
    samples = write_samples(tmp_path)
    Path(samples[1].image).write_bytes(b"no image")
    os.unlink(samples[2].label)
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(samples[4].label)
    loader = SampleLoader(samples, max_bad_files=3)
    assert [loaded(loader, place) for place in (1, 2, 1, 4, 3)] == [3, 3, 3, 0, 3]
    assert list(loader.skipped) == [1, 2, 4]
    assert [line.partition(": ")[0] for line in caplog.messages] == [
        f"skipped sample {n} of at most 3" for n in (1, 2, 3)
    ]
    assert samples[1].image in caplog.messages[0]
    assert samples[4].label in caplog.messages[2]
    assert loader.faults == []


def test_images_with_numbers_that_are_no_brightness_count_as_unreadable(tmp_path, caplog):
    samples = write_samples(tmp_path)
    path = str(tmp_path / "1.tif")
    Image.fromarray(np.array([[1, 1, 1], [1, np.nan, 1]], np.float32)).save(path)
    samples[1] = Sample("1", path, samples[1].label, LABEL_MAP)
    with pytest.raises(ImageError, match=f"^{path}: fractions, 1 of 6 pixels out of range .the first is nan in row 1"):
        SampleLoader(samples).load(1)
    loader = SampleLoader(samples, max_bad_files=1)
    assert loaded(loader, 1) == 2
    [message] = caplog.messages
    assert message.startswith(f"skipped sample 1 of at most 1: {path}: ")


@pytest.mark.parametrize("allowed", [0, 1])
def test_one_more_than_allowed_stops_and_is_named(tmp_path, allowed):
    samples = write_samples(tmp_path)
    for sample in samples[: allowed + 1]:
        os.unlink(sample.image)
    loader = SampleLoader(samples, max_bad_files=allowed)
    with pytest.raises(ImageError, match=f"{allowed}.png: no such file") as caught:
        loader.load(0)
    assert loader.faults == [caught.value]
    assert len(loader.skipped) == allowed


def test_a_folder_that_vanished_stops_however_many_are_allowed(tmp_path):
    samples = write_samples(tmp_path)
    for sample in samples:
        os.unlink(sample.image)
    with pytest.raises(ImageError, match="no such file"):
        SampleLoader(samples, max_bad_files=100).load(3)


def test_an_id_that_is_no_class_stops(tmp_path):
    samples = write_samples(tmp_path)
    Image.fromarray(np.full((2, 3), 77, np.uint8)).save(samples[0].label)
    loader = SampleLoader(samples, max_bad_files=5)
    with pytest.raises(DatasetError, match="id 77"):
        loader.load(0)
    assert len(loader.faults) == 1
