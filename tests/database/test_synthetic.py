"""Tests the generated street scenes and the dataset written from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from database import synthetic
from database.datasets import UNKNOWN_LABEL, find_samples, get_dataset, label_lookup
from database.errors import ImageError
from database.images import image_size, read_image, read_label, write_image

# Cityscapes labelIds: road, sidewalk, building, pole, traffic sign, vegetation, terrain, sky, person, car.
CLASSES = (7, 8, 11, 17, 20, 21, 22, 23, 24, 26)
EGO_VEHICLE = 1


def scenes(count: int, height: int = 128, width: int = 256) -> list[tuple[np.ndarray, np.ndarray]]:
    return [synthetic.render_scene(np.random.default_rng(index), height, width) for index in range(count)]


@pytest.mark.parametrize(("height", "width"), [(128, 256), (64, 128), (200, 300)])
def test_render_scene_types_and_ids(height, width):
    for image, label_ids in scenes(3, height, width):
        assert (image.dtype, image.shape) == (np.uint8, (height, width, 3))
        assert (label_ids.dtype, label_ids.shape) == (np.uint8, (height, width))
        assert set(np.unique(label_ids).tolist()) <= {*CLASSES, EGO_VEHICLE, 5}
        assert EGO_VEHICLE in label_ids


def test_a_scene_depends_on_its_generator_only():
    first, again = scenes(2), scenes(2)
    for (image, label_ids), (image_again, label_ids_again) in zip(first, again, strict=True):
        np.testing.assert_array_equal(image, image_again)
        np.testing.assert_array_equal(label_ids, label_ids_again)
    assert (first[0][1] != first[1][1]).mean() > 0.05


def test_no_class_is_starved():
    labels = np.stack([label_ids for _, label_ids in scenes(40)])
    for label in CLASSES:
        pixels = (labels == label).sum(axis=(1, 2))
        assert (pixels > 60).mean() > 0.9, f"labelId {label} is missing from too many scenes"
        assert pixels.sum() > 0.005 * labels.size


def test_poles_are_wide_enough_for_an_output_stride_of_8():
    for _, label_ids in scenes(10):
        widths = (label_ids == 17).sum(axis=1)
        below_the_sign = widths[widths > 0][4:]  # a round sign covers part of the pole's first rows
        assert below_the_sign.min() >= 6


def test_classes_keep_a_colour_of_their_own_that_varies():
    means = {label: [] for label in CLASSES}
    for image, label_ids in scenes(30):
        for label in CLASSES:
            if (label_ids == label).any():
                means[label].append(image[label_ids == label].mean(axis=0))
    for label in (7, 8, 21, 22, 23):
        assert 3.0 < np.std(means[label], axis=0).mean() < 30.0
    road, sky = np.mean(means[7], axis=0), np.mean(means[23], axis=0)
    assert np.abs(road - sky).max() > 50.0


def test_write_dataset_is_found_as_toy(tmp_path):
    synthetic.write_dataset(str(tmp_path), train=3, val=2, test=1, height=64, width=128)
    dataset = get_dataset("Toy")
    table = label_lookup(dataset.label_map)
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        samples = find_samples(dataset, str(tmp_path), [split])
        assert len(samples) == count
        for sample in samples:
            assert image_size(sample.image) == (64, 128)
            assert (sample.label is None) == (split == "test")
            if sample.label is not None:
                assert UNKNOWN_LABEL not in table[read_label(sample.label)]
    names = [sample.name for sample in find_samples(dataset, str(tmp_path), ["train", "val", "test"])]
    assert len(set(names)) == 6
    assert not (tmp_path / "gtFine" / "test").exists()


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.png")}


def test_write_dataset_is_deterministic_and_grows_without_change(tmp_path):
    sizes = {"test": 0, "height": 64, "width": 128}
    synthetic.write_dataset(str(tmp_path), train=2, val=1, **sizes)
    first = contents(tmp_path)
    synthetic.write_dataset(str(tmp_path), train=2, val=1, **sizes)
    assert contents(tmp_path) == first
    synthetic.write_dataset(str(tmp_path), train=3, val=2, **sizes)
    grown = contents(tmp_path)
    assert len(grown) == len(first) + 4
    assert first.items() <= grown.items()


def test_an_interrupted_dataset_is_not_there(tmp_path, monkeypatch):
    root, written = tmp_path / "toy", []
    numbers = {"train": 4, "val": 1, "test": 0, "height": 64, "width": 128}

    def interrupted(path, array):
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(path)
        write_image(path, array)

    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "write_image", interrupted)
        with pytest.raises(KeyboardInterrupt):
            synthetic.write_dataset(str(root), **numbers)
    assert len(written) == 5
    assert list(tmp_path.iterdir()) == []
    synthetic.write_dataset(str(root), **numbers)
    assert len(contents(root)) == 2 * 5
    assert list(tmp_path.iterdir()) == [root]


def test_a_dataset_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ImageError, match="file/toy: the dataset cannot be written .File exists") as caught:
        synthetic.write_dataset(str(tmp_path / "file" / "toy"))
    assert "\n" not in str(caught.value)


def test_seeds_and_splits_give_other_scenes(tmp_path):
    for seed in (0, 1):
        root = str(tmp_path / str(seed))
        synthetic.write_dataset(root, train=1, val=1, test=0, height=64, width=128, seed=seed)
    images = [read_image(str(path)) for path in sorted(tmp_path.rglob("*_leftImg8bit.png"))]
    assert len({image.tobytes() for image in images}) == 4
