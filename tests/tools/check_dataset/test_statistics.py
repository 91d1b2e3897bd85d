"""Sums over images and labels, against NumPy over all pixels at once."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from database.images import write_image
from database.layouts import Sample
from tools.check_dataset.statistics import SplitStatistics, inspect

LABEL_MAP = {0: 255, 1: 0, 2: 1, 3: 1, 9: 2, 255: 255}  # two ids of class 1
CLASSES = 4  # class 3 has no id


def write_sample(folder, name, image, ids) -> Sample:
    """Writes an image and a label; a label of more than 8 bits where an id needs it."""
    paths = str(folder / f"{name}.png"), str(folder / f"{name}_label.png")
    write_image(paths[0], image)
    if ids is not None:
        Image.fromarray(ids).save(paths[1])
    return Sample(name, paths[0], paths[1] if ids is not None else None, LABEL_MAP)


@pytest.fixture
def drawn():
    """Images and labels of three sizes; the last has no valid pixel."""
    rng = np.random.default_rng(0)
    sizes = (7, 9), (5, 4), (5, 4)
    images = [rng.integers(0, 256, (*size, 3)).astype(np.uint8) for size in sizes]
    labels = [rng.choice(np.array(ids, np.uint8), size)
              for ids, size in zip(([0, 1, 2, 3, 255], [2, 9], [0, 255]), sizes, strict=True)]  # fmt: skip
    return images, labels


def add_all(samples) -> SplitStatistics:
    statistics = SplitStatistics(CLASSES)
    for sample in samples:
        statistics.add(inspect(sample))
    return statistics


def test_sums(tmp_path, drawn):
    images, labels = drawn
    statistics = add_all(write_sample(tmp_path, str(i), *pair) for i, pair in enumerate(zip(*drawn, strict=True)))
    assert (statistics.images, statistics.labels, statistics.faults) == (3, 3, [])
    assert statistics.sizes == {(7, 9): 1, (5, 4): 2}

    colors = np.concatenate([image.reshape(-1, 3) for image in images]).astype(np.float64)
    np.testing.assert_allclose(statistics.color_mean, colors.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(statistics.color_deviation, colors.std(axis=0), rtol=1e-12)

    ids = np.concatenate([label.ravel() for label in labels])
    of_class = [(1,), (2, 3), (9,), ()]
    pixels = [np.isin(ids, members).sum() for members in of_class]
    ignored = np.isin(ids, (0, 255)).sum()
    np.testing.assert_array_equal(statistics.pixels, pixels)
    assert (statistics.ignored, statistics.unknown, statistics.label_pixels) == (ignored, 0, ids.size)
    np.testing.assert_allclose(statistics.shares, np.array(pixels) / (ids.size - ignored))
    assert statistics.ignored_share == pytest.approx(ignored / ids.size)
    assert [sum(np.isin(label, members).any() for label in labels) for members in of_class] == [*statistics.images_with]
    valid = [(~np.isin(label, (0, 255))).sum() for label in labels]
    seen = [sum(n for n, label in zip(valid, labels, strict=True) if np.isin(label, m).any()) for m in of_class]
    np.testing.assert_array_equal(statistics.seen_among, seen)


def test_nothing():
    statistics = SplitStatistics(CLASSES)
    assert statistics.color_mean is statistics.color_deviation is None
    assert (statistics.ignored_share, statistics.shares.sum()) == (0, 0)


def test_images_without_labels(tmp_path, drawn):
    statistics = add_all([write_sample(tmp_path, "a", drawn[0][0], None)])
    assert (statistics.images, statistics.labels, statistics.faults) == (1, 0, [])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_unknown_ids(tmp_path, dtype):
    ids = np.array([[1, 7, 7], [1, 44, 0]], dtype)
    sample = write_sample(tmp_path, "a", np.zeros((2, 3, 3), np.uint8), ids)
    facts = inspect(sample)
    assert [fault.partition(": correct")[0] for fault in facts.faults] == [
        f"{sample.label}: id 7 (2 pixels) is neither a class nor ignored",
        f"{sample.label}: id 44 (1 pixel) is neither a class nor ignored",
    ]
    statistics = add_all([sample])
    assert (statistics.unknown, statistics.ignored, list(statistics.pixels)) == (3, 1, [2, 0, 0, 0])


def test_sizes_that_differ(tmp_path):
    sample = write_sample(tmp_path, "a", np.zeros((2, 3, 3), np.uint8), np.ones((3, 2), np.uint8))
    [fault] = inspect(sample).faults
    assert fault.startswith(f"{sample.label}: the label is 3x2 but its image {sample.image} is 2x3 ")
    assert add_all([sample]).pixels[0] == 6


def test_files_that_cannot_be_read(tmp_path):
    good = write_sample(tmp_path, "a", np.full((2, 3, 3), 9, np.uint8), np.ones((2, 3), np.uint8))
    (tmp_path / "damaged.png").write_bytes(b"damaged")
    damaged = str(tmp_path / "damaged.png")
    no_image = Sample("b", damaged, good.label, LABEL_MAP)
    no_label = Sample("c", good.image, damaged, LABEL_MAP)
    neither = Sample("d", damaged, str(tmp_path / "none.png"), LABEL_MAP)
    colored = Sample("e", good.image, good.image, LABEL_MAP)
    statistics = add_all([good, no_image, no_label, neither, colored])
    words = [damaged, damaged, damaged, "none.png", "found mode RGB, expected labels of single-channel class ids"]
    assert [word in fault for word, (_, fault) in zip(words, statistics.faults, strict=True)] == [True] * 5
    assert [sample.name for sample, _ in statistics.faults] == ["b", "c", "d", "d", "e"]
    assert (statistics.images, statistics.labels) == (5, 2)
    assert statistics.sizes == {(2, 3): 3}
    assert statistics.color_mean == (9, 9, 9)
