"""Tests batches whose image size varies by tower and by step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image

from database.dynamic_batches import dynamic_batches
from database.dynamic_sizes import DynamicSizes
from database.errors import ImageError
from database.layouts import Sample
from tests.database import reference
from tests.database.test_reader import is_untuned

MEAN = (100.0, 50.0, 25.0)
LABEL_MAP = {**{index: index for index in range(20)}, 255: 255}
AS_THEY_ARE = DynamicSizes((6, 9, 12), 16, multiple=4)
EVERYTHING = DynamicSizes((6, 9, 12), 16, multiple=4, mirror=True, jitter_colors=True, gaussian_blur=True)


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> list[Sample]:
    """Returns wide and tall images of one colour each; every pixel of a label is the index of its sample."""
    folder = tmp_path_factory.mktemp("samples")
    found = []
    for index in range(9):
        size = [(6, 8), (8, 6), (6, 9)][index % 3]
        image, label = folder / f"{index}.png", folder / f"{index}_label.png"
        Image.fromarray(np.full((*size, 3), (20 * index, 10, 5), np.uint8)).save(image)
        Image.fromarray(np.full(size, index, np.uint8)).save(label)
        found.append(Sample(str(index), str(image), str(label), LABEL_MAP))
    return found


def run(samples, steps, *, towers=2, **options):
    """Returns `(images, labels, indices)` for each step, with images and labels by tower."""
    settings = {"batch_size": 2, "sizes": AS_THEY_ARE, "image_mean": MEAN, **options}
    with tf.Graph().as_default(), tf.Session() as session:
        batches = dynamic_batches(samples, tower_devices=["/cpu:0"] * towers, **settings)
        for images, labels in zip(batches.images, batches.labels, strict=True):
            assert images.shape.as_list() == [2, None, None, 3]
            assert labels.shape.as_list() == [2, None, None]
            assert (images.dtype, labels.dtype) == (tf.float32, tf.int32)
        session.run(batches.initializer)
        return [session.run([batches.images, batches.labels, batches.sample_indices]) for _ in range(steps)]


def test_no_thread_tunes_the_pipeline(samples):
    with tf.Graph().as_default() as graph:
        dynamic_batches(samples, batch_size=2, tower_devices=["/cpu:0"], sizes=AS_THEY_ARE, image_mean=MEAN)
    assert is_untuned(graph)


def test_batches_hold_their_samples_and_padding_is_ignored(samples):
    shapes = set()
    for images, labels, indices in run(samples, 12):
        for tower in range(2):
            shapes.add(labels[tower].shape)
            of_tower = indices[2 * tower : 2 * tower + 2]
            for image, label, index in zip(images[tower], labels[tower], of_tower, strict=True):
                shown = label != 255
                assert set(label[shown]) == {index}
                np.testing.assert_allclose(image[shown], [(20 * index - 100, -40, -20)] * shown.sum())
                assert (image[~shown] == 0).all()
                # The sample fills the upper left corner, with a short side from the list or the maximum long side.
                height, width = shown.any(1).sum(), shown.any(0).sum()
                assert shown[:height, :width].all()
                assert min(height, width) in (6, 9, 12) or max(height, width) == 16
                assert (height > width) == (index % 3 == 1)
    assert all(height % 4 == width % 4 == 0 for _, height, width in shapes)
    assert len(shapes) > 3


def test_towers_of_a_step_differ_in_size(samples):
    assert any(labels[0].shape != labels[1].shape for _, labels, _ in run(samples, 6))


@pytest.mark.parametrize("towers", [1, 2])
def test_towers_share_out_one_stream_of_batches(samples, towers):
    """Two towers see in one step what one tower sees in two steps."""
    flat = [labels.tobytes() for step in run(samples, 8 // towers, towers=towers) for labels in step[1]]
    one_tower = [step[1][0].tobytes() for step in run(samples, 8, towers=1, parallel_calls=1)]
    assert flat == one_tower


@pytest.mark.parametrize("hosts", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_hosts_read_the_batches_of_one_process(samples, hosts):
    options = {"sizes": EVERYTHING, "seed": 3, "first_step": 2}
    shares = [run(samples, 3, towers=4 // hosts, host_rank=r, host_count=hosts, **options) for r in range(hosts)]
    joined = [
        [
            [x for of_host in parts[0] for x in of_host],
            [y for of_host in parts[1] for y in of_host],
            np.concatenate(parts[2]),
        ]
        for step in zip(*shares, strict=True)
        for parts in [list(zip(*step, strict=True))]
    ]
    assert_equal_steps(joined, run(samples, 3, towers=4, **options))


def assert_equal_steps(steps, others):
    for (images, labels, indices), of_other in zip(steps, others, strict=True):
        other_images, other_labels, other_indices = of_other
        expected = [*other_images, *other_labels, other_indices]
        for found, other in zip([*images, *labels, indices], expected, strict=True):
            assert found.tobytes() == other.tobytes()


def test_starting_later_is_skipping_batches(samples):
    options = {"sizes": EVERYTHING, "seed": 3}
    straight = run(samples, 9, **options)
    assert_equal_steps(run(samples, 4, first_step=5, parallel_calls=1, **options), straight[5:])


def test_colors_change_as_on_crops_and_padding_stays_out_of_the_mean(samples):
    """Contrast changes about the mean of the image without padding, as the float64 reference does with a mask."""
    sizes = DynamicSizes((6,), 16, multiple=8, jitter_colors=True)
    [(images, labels, indices)] = run(samples, 1, towers=1, sizes=sizes)
    for place, (image, label) in enumerate(zip(images[0], labels[0], strict=True)):
        with tf.Graph().as_default(), tf.Session() as session:
            draws = session.run(tf.random.stateless_uniform([10], seed=[place, 0])).astype(np.float64)
        inside = label != 255
        original = np.broadcast_to([20.0 * indices[place], 10.0, 5.0], image.shape)
        expected = reference.jitter_colors(original, inside, draws[5:8]) - MEAN
        np.testing.assert_allclose(image[inside], expected[inside], atol=2e-3)


def test_half_of_the_images_are_mirrored(tmp_path):
    label = np.repeat(np.arange(8, dtype=np.uint8)[np.newaxis], 6, axis=0)
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(tmp_path / "image.png")
    Image.fromarray(label).save(tmp_path / "label.png")
    sample = Sample("one", str(tmp_path / "image.png"), str(tmp_path / "label.png"), LABEL_MAP)
    steps = run([sample] * 2, 40, towers=1, sizes=DynamicSizes((6,), 16, multiple=1, mirror=True))
    rows = [labels[0][place, 0].tolist() for _, labels, _ in steps for place in range(2)]
    mirrored = sum(row == list(range(7, -1, -1)) for row in rows)
    assert mirrored + sum(row == list(range(8)) for row in rows) == 80
    assert abs(mirrored - 40) < 5 * np.sqrt(80) / 2


def test_color_switch_hands_out_bgr(samples):
    [(images, labels, indices)] = run(samples, 1, towers=1, color_switch=True)
    shown = labels[0][0] != 255
    np.testing.assert_allclose(images[0][0][shown][0], (-20, -40, 20 * indices[0] - 100))


def test_a_damaged_image_is_detected_by_its_header_or_when_it_is_read(samples, tmp_path):
    whole = Path(samples[0].image).read_bytes()
    damaged = tmp_path / "damaged.png"
    broken = [Sample("damaged", str(damaged), samples[0].label, LABEL_MAP)] * 2
    damaged.write_bytes(whole[:10])
    with tf.Graph().as_default(), pytest.raises(ImageError, match="damaged.png"):
        dynamic_batches(broken, batch_size=2, tower_devices=["/cpu:0"], sizes=AS_THEY_ARE, image_mean=MEAN)
    damaged.write_bytes(whole[:-30])
    with tf.Graph().as_default(), tf.Session() as session:
        batches = dynamic_batches(broken, batch_size=2, tower_devices=["/cpu:0"], sizes=AS_THEY_ARE, image_mean=MEAN)
        session.run(batches.initializer)
        with pytest.raises(tf.errors.OpError):
            session.run(batches.sample_indices)
    assert isinstance(batches.loader.faults[0], ImageError)
