"""The images of the check and of the calibration."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from database.errors import DataError
from tools.errors import FlagError
from tools.export import images
from tools.runs.record import ModelRecord


@pytest.fixture
def trained(tiny_run):
    return ModelRecord.read(tiny_run.folder.path)


def test_validation_images_have_labels(trained):
    pictures = list(images.validation_pictures(trained, None, 9))
    assert len(pictures) == 2
    assert all(picture.image.shape == (48, 96, 3) and picture.label.shape == (48, 96) for picture in pictures)
    assert "/val/" in pictures[0].name


def test_training_images_set_ranges(trained):
    assert len(images.calibration_images(trained, None, 4)) == 4
    assert images.calibration_images(trained, None, 1)[0].dtype == np.uint8
    found = images.calibration_images(trained, None, 4, (20, 30))
    assert [image.shape for image in found] == [(20, 30, 3)] * 4
    np.testing.assert_array_equal(found[1:][0], found[1])


def test_training_images_are_read_one_by_one(trained, monkeypatch):
    """Their number does not change the memory."""
    read = []
    monkeypatch.setattr(
        images, "read_image", lambda path, **options: read.append(path) or np.zeros((2, 2, 3), np.uint8)
    )
    found = images.calibration_images(trained, None, 4)
    assert read == []
    for number, _ in enumerate(found, start=1):
        assert len(read) == number


def test_without_the_data_a_scene_is_generated(trained, tmp_path, caplog):
    moved = _elsewhere(trained, tmp_path)
    [picture] = images.validation_pictures(moved, None, 3)
    assert picture.name == "a generated street scene"
    assert picture.label is None
    [warning] = [record for record in caplog.records if "generated street scene is used" in record.getMessage()]
    assert warning.levelname == "WARNING"


def test_quantized_forms_need_labels(trained, tmp_path, toy_dir):
    with pytest.raises(FlagError, match=r"mIoU of validation images with labels: give --data_dir"):
        images.validation_pictures(_elsewhere(trained, tmp_path), None, 3, needs_labels=True)
    assert [picture.label is None for picture in images.validation_pictures(trained, None, 9, needs_labels=True)] == [
        False
    ] * 2


def test_quantized_forms_need_labels_also_if_there_are_images(trained, monkeypatch):
    found = images.find_samples

    def without_labels(*arguments):
        return [sample._replace(label=None) if hasattr(sample, "_replace") else dataclasses.replace(sample, label=None)
                for sample in found(*arguments)]  # fmt: skip

    monkeypatch.setattr(images, "find_samples", without_labels)
    with pytest.raises(FlagError, match="those of the run have none"):
        images.validation_pictures(trained, None, 3, needs_labels=True)


def test_data_that_are_given_must_be_there(trained, tmp_path):
    with pytest.raises(DataError):
        next(images.validation_pictures(trained, str(tmp_path / "none"), 3))
    with pytest.raises(FlagError, match="training images of the run: give --data_dir"):
        images.calibration_images(_elsewhere(trained, tmp_path), None, 3)


def _elsewhere(record, tmp_path):
    return dataclasses.replace(record, flags={**record.flags, "data_dir": str(tmp_path / "moved")})


@pytest.mark.parametrize(("number", "count", "chosen"), [
    (10, 3, [0, 4, 9]), (3, 10, [0, 1, 2]), (5, 1, [0]), (2, 2, [0, 1]),
])  # fmt: skip
def test_samples_are_spread_evenly(number, count, chosen):
    assert images.evenly(range(number), count) == chosen


def test_images_and_labels_of_another_size():
    label = np.arange(6).reshape(2, 3)
    image = np.repeat(label[..., np.newaxis] * 40, 3, axis=2).astype(np.uint8)
    picture = images.resized(images.Picture("", image, label), (4, 6))
    assert picture.image.shape == (4, 6, 3)
    np.testing.assert_array_equal(picture.label, label.repeat(2, axis=0).repeat(2, axis=1))
    assert images.resized(images.Picture("", image, None), (4, 6)).label is None
