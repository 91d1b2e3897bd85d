"""Tests the input pipeline: order, resuming, placement and faults."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image
from tensorflow.core.framework.dataset_options_pb2 import Options

from database.augment import NUM_DRAWS, Augmentation, augment
from database.errors import ImageError, UnknownIdError
from database.layouts import Sample
from database.loading import load_sample
from database.reader import Batches, sample_index, training_batches

HEIGHT, WIDTH = 6, 8
AS_IT_IS = Augmentation((HEIGHT, WIDTH))
EVERYTHING = Augmentation((5, 7), (0.5, 2.0), 10.0, mirror=True, jitter_colors=True, gaussian_blur=True)
NO_MEAN = (0.0, 0.0, 0.0)
LABEL_MAP = {**{index: index for index in range(20)}, 255: 255}


def write_samples(folder: Path, count: int) -> list[Sample]:
    """Writes noise images; every pixel of a label is the index of its sample."""
    rng = np.random.default_rng(0)
    samples = []
    for index in range(count):
        image, label = folder / f"{index}.png", folder / f"{index}_label.png"
        Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(image)
        Image.fromarray(np.full((HEIGHT, WIDTH), index, np.uint8)).save(label)
        samples.append(Sample(str(index), str(image), str(label), LABEL_MAP))
    return samples


def run_batches(samples, steps, *, towers=1, **options):
    """Returns images [steps, towers, batch, h, w, 3], labels, and sample indices [steps, towers * batch]."""
    settings = {"batch_size": 2, "augmentation": AS_IT_IS, "image_mean": NO_MEAN, **options}
    with tf.Graph().as_default(), tf.Session() as session:
        batches = training_batches(samples, tower_devices=["/cpu:0"] * towers, **settings)
        session.run(batches.initializer)
        fetches = [batches.images, batches.labels, batches.sample_indices]
        found = [session.run(fetches) for _ in range(steps)]
    images, labels, indices = (np.stack(values) for values in zip(*found, strict=True))
    return images, labels, indices


def is_untuned(graph: tf.Graph) -> bool:
    """Returns whether the only dataset with options in a graph has TensorFlow's tuning switched off."""
    [found] = [operation for operation in graph.get_operations() if operation.type == "OptionsDataset"]
    options = Options.FromString(found.get_attr("serialized_options")).autotune_options
    return options.HasField("enabled") and not options.enabled


def orders(num_samples, epochs, seed=0):
    """Returns the sample indices of some epochs, int [epochs, num_samples]."""
    with tf.Graph().as_default(), tf.Session() as session:
        counters = tf.concat([tf.range(num_samples, dtype=tf.int64) + epoch * num_samples for epoch in epochs], 0)
        indices = tf.map_fn(lambda counter: sample_index(counter, num_samples, seed), counters)
        return session.run(indices).reshape(len(epochs), num_samples)


def test_no_thread_tunes_the_pipeline(tmp_path):
    """Closing a session could wait a minute for it."""
    with tf.Graph().as_default() as graph:
        training_batches(
            write_samples(tmp_path, 2),
            batch_size=2,
            tower_devices=["/cpu:0"],
            augmentation=AS_IT_IS,
            image_mean=NO_MEAN,
        )
    assert is_untuned(graph)


@pytest.mark.parametrize("num_samples", [1, 2, 3, 5, 16, 17, 300])
@pytest.mark.parametrize("seed", [-5, 2**31 + 3])
def test_every_epoch_is_a_permutation(num_samples, seed):
    found = np.sort(orders(num_samples, [0, 1, 2, 1000], seed), axis=1)
    np.testing.assert_array_equal(found, np.tile(np.arange(num_samples), (4, 1)))


def test_epochs_differ_in_order():
    # Epochs and seeds that differ by powers of two, which a cipher with short words could map to the same key.
    epochs = [0, 1, 2, 3, 4, 8, 16, 256, 257, 512, 65536]
    assert len({tuple(order) for order in orders(40, epochs)}) == len(epochs)


def test_seeds_differ_in_order():
    seeds = [0, 1, 2, 7, 256, 257, 512, 65536, 2**32, -1]
    assert len({tuple(orders(40, [0], seed)[0]) for seed in seeds}) == len(seeds)


def test_every_sample_comes_first_about_equally_often():
    num_samples, epochs = 8, 400
    found = orders(num_samples, range(epochs))
    for position in range(num_samples):
        counts = np.bincount(found[:, position], minlength=num_samples)
        # Five standard deviations of a binomial.
        deviation = np.sqrt(epochs / num_samples * (1 - 1 / num_samples))
        assert np.abs(counts - epochs / num_samples).max() < 5 * deviation


def test_an_epoch_of_batches_visits_every_sample_once(tmp_path):
    samples = write_samples(tmp_path, 12)
    _, labels, indices = run_batches(samples, 12, towers=2)
    for epoch in indices.reshape(4, 12):
        assert sorted(epoch) == list(range(12))
    assert len({tuple(epoch) for epoch in indices.reshape(4, 12)}) == 4
    np.testing.assert_array_equal(indices.ravel(), orders(12, range(4)).ravel())
    # The sample indices of a batch match its content.
    np.testing.assert_array_equal(labels[..., 0, 0].reshape(indices.shape), indices)


def test_the_same_seed_gives_the_same_batches_bit_for_bit(tmp_path):
    samples = write_samples(tmp_path, 5)
    first = run_batches(samples, 6, augmentation=EVERYTHING, seed=3)
    again = run_batches(samples, 6, augmentation=EVERYTHING, seed=3, parallel_calls=1)
    for values, values_again in zip(first, again, strict=True):
        assert values.tobytes() == values_again.tobytes()
    other = run_batches(samples, 6, augmentation=EVERYTHING, seed=4)
    assert (first[2] != other[2]).any()
    assert (first[0] != other[0]).any()


@pytest.mark.parametrize("max_rotation", [0.0, 10.0])
def test_batches_are_crops_of_whole_images(tmp_path, max_rotation):
    """This holds although only the part of an image that its crop shows is decoded."""
    samples = write_samples(tmp_path, 4)
    augmentation = replace(EVERYTHING, max_rotation=max_rotation)
    images, labels, indices = run_batches(samples, 6, augmentation=augmentation, seed=3)
    whole = [load_sample(sample) for sample in samples]
    with tf.Graph().as_default(), tf.Session() as session:
        source, ids = tf.placeholder(tf.uint8, [HEIGHT, WIDTH, 3]), tf.placeholder(tf.uint8, [HEIGHT, WIDTH])
        seed = tf.placeholder(tf.int64, [2])
        draws = tf.random.stateless_uniform([NUM_DRAWS], seed=seed)
        crop = augment(source, ids, draws, augmentation, NO_MEAN)
        for counter, index in enumerate(indices.flatten()):
            values = dict(zip((source, ids), whole[index], strict=True))
            image, label = session.run(crop, {**values, seed: [counter, 3]})
            np.testing.assert_allclose(images[counter // 2, 0, counter % 2], image, atol=1e-3)
            np.testing.assert_array_equal(labels[counter // 2, 0, counter % 2], label)


def test_a_sample_is_augmented_anew_every_time_and_by_every_seed(tmp_path):
    samples = write_samples(tmp_path, 1)
    images = np.stack([run_batches(samples, 4, augmentation=EVERYTHING, seed=seed)[0] for seed in (0, 1)])
    assert len({image.tobytes() for image in images.reshape(16, -1)}) == 16


@pytest.mark.parametrize("skipped", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_starting_later_is_skipping_batches(tmp_path, skipped):
    samples = write_samples(tmp_path, 5)
    options = {"towers": 2, "augmentation": EVERYTHING, "seed": 1}
    whole = run_batches(samples, skipped + 4, **options)
    resumed = run_batches(samples, 4, first_sample=skipped * 4, **options)
    for values, values_resumed in zip(whole, resumed, strict=True):
        assert values[skipped:].tobytes() == values_resumed.tobytes()


def test_the_initializer_starts_over(tmp_path):
    with tf.Graph().as_default(), tf.Session() as session:
        batches = training_batches(
            write_samples(tmp_path, 5),
            batch_size=2,
            tower_devices=[""],
            augmentation=AS_IT_IS,
            image_mean=NO_MEAN,
        )
        runs = []
        for _ in range(2):
            session.run(batches.initializer)
            runs.append([session.run(batches.sample_indices).tolist() for _ in range(4)])
    assert runs[0] == runs[1]


@pytest.mark.parametrize("towers", [1, 2, 3])
def test_towers_share_a_batch_in_order(tmp_path, towers):
    samples = write_samples(tmp_path, 7)
    images, labels, indices = run_batches(samples, 3, towers=towers)
    assert images.shape == (3, towers, 2, HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(labels[..., 2, 3].reshape(3, -1), indices)
    expected = np.stack([np.asarray(Image.open(samples[index].image)) for index in indices.ravel()])
    np.testing.assert_array_equal(images.reshape(expected.shape), expected)


@pytest.mark.parametrize("hosts", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_hosts_read_the_batches_of_one_process(tmp_path, hosts):
    """Each reads its share, also from a later step on, and with another number of towers."""
    samples = write_samples(tmp_path, 7)
    options = {"augmentation": EVERYTHING, "seed": 3, "first_sample": 16}
    of_one = run_batches(samples, 3, towers=4, **options)
    shares = [
        run_batches(samples, 3, towers=4 // hosts, host_rank=r, host_count=hosts, **options) for r in range(hosts)
    ]
    for expected, *found in zip(of_one, *shares, strict=True):
        assert np.concatenate(found, axis=1).tobytes() == expected.tobytes()


def tower_graph(samples: list[Sample], devices: list[str]) -> Batches:
    return training_batches(samples, batch_size=3, tower_devices=devices, augmentation=EVERYTHING, image_mean=NO_MEAN)


def test_types_and_static_shapes(tmp_path):
    with tf.Graph().as_default():
        batches = tower_graph(write_samples(tmp_path, 2), ["/cpu:0", "/cpu:1"])
        assert [(image.dtype, image.shape.as_list()) for image in batches.images] == [(tf.float32, [3, 5, 7, 3])] * 2
        assert [(label.dtype, label.shape.as_list()) for label in batches.labels] == [(tf.int32, [3, 5, 7])] * 2
        assert (batches.sample_indices.dtype, batches.sample_indices.shape.as_list()) == (tf.int64, [6])


def test_every_tower_finds_its_share_on_its_device(tmp_path):
    config = tf.ConfigProto(device_count={"CPU": 2}, allow_soft_placement=False)
    options, metadata = tf.RunOptions(output_partition_graphs=True), tf.RunMetadata()
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        batches = tower_graph(write_samples(tmp_path, 4), ["/cpu:0", "/cpu:1"])
        for tensors in (batches.images, batches.labels):
            assert [tensor.op.device for tensor in tensors] == ["/device:CPU:0", "/device:CPU:1"]
        session.run(batches.initializer)
        session.run([batches.images, batches.labels], options=options, run_metadata=metadata)
        placed = {node.name: node.device for graph in metadata.partition_graphs for node in graph.node}
        for tower, tensors in enumerate(zip(batches.images, batches.labels, strict=True)):
            for tensor in tensors:
                assert placed[tensor.op.name].endswith(f"CPU:{tower}")


def test_the_mean_is_taken_off(tmp_path):
    mean = (123.68, 116.779, 103.939)
    samples = write_samples(tmp_path, 3)
    images, _, indices = run_batches(samples, 2, image_mean=mean)
    expected = np.stack([np.asarray(Image.open(samples[index].image)) for index in indices.ravel()])
    np.testing.assert_allclose(images.reshape(expected.shape), expected - np.array(mean), atol=1e-4)


def test_color_switch_reverses_the_channels(tmp_path):
    samples = write_samples(tmp_path, 3)
    options = {"augmentation": EVERYTHING, "image_mean": (10.0, 20.0, 30.0)}
    rgb, rgb_labels, _ = run_batches(samples, 2, **options)
    bgr, bgr_labels, _ = run_batches(samples, 2, color_switch=True, **options)
    np.testing.assert_array_equal(bgr, rgb[..., ::-1])
    np.testing.assert_array_equal(bgr_labels, rgb_labels)


def test_palette_labels_are_read_by_index_and_mapped(tmp_path):
    samples = write_samples(tmp_path, 1)
    ids = np.random.default_rng(1).integers(0, 20, (HEIGHT, WIDTH), dtype=np.uint8)
    indexed = Image.fromarray(ids).convert("L")
    indexed.putpalette([value for index in range(256) for value in (255 - index, index // 2, 7)])
    indexed.save(samples[0].label)
    label_map = {index: 19 - index for index in range(20)}
    _, labels, _ = run_batches([replace(samples[0], label_map=label_map)], 1)
    np.testing.assert_array_equal(labels[0, 0], np.stack([19 - ids.astype(int)] * 2))


def damage_image(sample: Sample) -> str:
    Path(sample.image).write_bytes(Path(sample.image).read_bytes()[:50])
    return sample.image


def damage_label(sample: Sample) -> str:
    path = str(sample.label)
    Image.fromarray(np.full((HEIGHT, WIDTH), 99, np.uint8)).save(path)
    return path


def remove_image(sample: Sample) -> str:
    Path(sample.image).unlink()
    return sample.image


@pytest.mark.parametrize(
    ("damage", "kind"), [(damage_image, ImageError), (damage_label, UnknownIdError), (remove_image, ImageError)]
)
def test_a_fault_in_the_middle_is_kept_and_stops_the_session(tmp_path, damage, kind):
    samples = write_samples(tmp_path, 10)
    order = orders(10, [0])[0]
    path = damage(samples[order[5]])
    with tf.Graph().as_default(), tf.Session() as session:
        batches = training_batches(
            samples, batch_size=2, tower_devices=["/cpu:0"], augmentation=AS_IT_IS, image_mean=NO_MEAN
        )
        assert batches.loader.faults == []
        session.run(batches.initializer)
        # The batches before the damaged sample, which is the sixth, still arrive.
        for step in range(2):
            np.testing.assert_array_equal(session.run(batches.sample_indices), order[2 * step : 2 * step + 2])
        with pytest.raises(tf.errors.OpError):
            session.run(batches.images)
    assert type(batches.loader.faults[0]) is kind
    assert str(batches.loader.faults[0]).startswith(f"{path}: ")


def test_batches_without_what_cannot_be_read(tmp_path):
    """The batches equal those of the intact data, with the damaged sample replaced by the next one in the list."""
    samples = write_samples(tmp_path, 6)
    whole = run_batches(samples, 6, seed=2)
    Path(samples[3].image).write_bytes(b"no image")
    images, labels, indices = run_batches(samples, 6, seed=2, max_bad_files=1)
    np.testing.assert_array_equal(indices, np.where(whole[2] == 3, 4, whole[2]))
    np.testing.assert_array_equal(labels[..., 0, 0].reshape(indices.shape), indices)
    kept = (whole[2] != 3).reshape(6, 1, 2)
    np.testing.assert_array_equal(images[kept], whole[0][kept])


@pytest.mark.parametrize("num_samples", [1, 2, 3])
def test_fewer_samples_than_a_batch(tmp_path, num_samples):
    images, _, indices = run_batches(write_samples(tmp_path, num_samples), 6, towers=2, batch_size=4)
    assert images.shape == (6, 2, 4, HEIGHT, WIDTH, 3)
    for epoch in indices.reshape(-1, num_samples):
        assert sorted(epoch) == list(range(num_samples))
