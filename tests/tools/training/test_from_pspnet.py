"""Training from the PSPNet of another project, end to end: its record describes the network and its input."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from database.datasets import find_samples, get_dataset
from database.reader import training_batches
from model import losses, resnet
from model.architecture import Architecture
from model.pspnet_mg import pspnet
from tests.tools.toy_runs import (
    NARROW,
    NETWORK,
    csv_rows,
    tensors_in,
    tiny_config,
    train_with,
    write_checkpoint,
    write_random_pspnet,
)
from tools.errors import FlagError
from tools.flags.train import TrainConfig
from tools.runs.folder import RunFolder
from tools.runs.record import ModelRecord
from tools.training.samples import RunData
from tools.training.settings import augmentation_of
from tools.training.validation import validate

pytestmark = pytest.mark.slow

# Nothing of it is by default.
ARCHITECTURE = Architecture(
    NETWORK,
    19,
    output_stride=16,
    stride_convention="caffe",
    resize_grid="align_corners",
    stem="deep_128",
    pool_padding="symmetric",
    pyramid_depth=12,
    head_depth=40,
    auxiliary_depth=24,
)
IMAGE_MEAN = (123.68, 116.779, 103.939)
SIZE = 40  # of crops; of an odd size, as aligned corners would have it, every padding makes the same


@dataclass(frozen=True)
class Trained:
    """A run of two steps from a converted PSPNet without auxiliary head."""

    config: TrainConfig
    folder: RunFolder
    start: dict[str, np.ndarray]  # of the PSPNet
    rows: list[dict[str, float]]  # of its training.csv


@pytest.fixture(scope="module")
def trained(toy_dir, tmp_path_factory) -> Iterator[Trained]:
    folder = tmp_path_factory.mktemp("from-pspnet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.NETWORKS, NETWORK, NARROW)
        start = tensors_in(write_random_pspnet(str(folder / "random" / "model.ckpt"), ARCHITECTURE))
        start[f"{NETWORK}/logits/weights"] *= 30  # from where a loss tells networks apart
        prefix = write_checkpoint(str(folder / "converted" / "model.ckpt"), start)
        toy = dataclasses.replace(get_dataset("Toy"), image_mean=IMAGE_MEAN)
        record = ModelRecord.of_dataset(ARCHITECTURE, toy, color_switch=True, test_image_size=SIZE)
        record.write(os.path.dirname(prefix))
        config = tiny_config(
            toy_dir, str(folder / "log"), fine_tune_filename=prefix, train_image_size=SIZE, test_image_size=SIZE,
            save_first_iteration=True,
        )  # fmt: skip
        run = train_with(config)
        yield Trained(config, run, start, csv_rows(run))
    shutil.rmtree(folder)


def test_every_layer_is_taken(trained):
    first = tensors_in(trained.folder.snapshot(0))
    assert first[f"{NETWORK}/psp/pool1/weights"].shape == (1, 1, 128, 12)
    assert first[f"{NETWORK}/block4/unit_2/weights"].shape == (3, 3, 128 + 4 * 12, 40)
    assert first[f"{NETWORK}/block3/unit_2/weights"].shape == (3, 3, 64, 24)
    for name, value in trained.start.items():
        np.testing.assert_array_equal(first[name], value, err_msg=name)


def check_records(trained):
    for folder in (trained.folder.path, trained.folder.snapshots):
        record = ModelRecord.read(folder)
        assert (record.architecture, record.image_mean, record.color_switch) == (ARCHITECTURE, IMAGE_MEAN, True)


def test_record_says_the_same(trained):
    check_records(trained)


def losses_of_the_first_step(trained, changes=()):
    """What the losses of the run are if the network is built and fed as recorded, from the run's first snapshot.

    Then the main losses of what is built with other fields, `changes`, in turn.
    """
    config = trained.config
    samples = find_samples(get_dataset("Toy"), config.data_dir, ["train"])
    with tf.Graph().as_default(), tf.Session() as session:
        batches = training_batches(
            samples, batch_size=2, tower_devices=["/cpu:0"], augmentation=augmentation_of(config),
            image_mean=IMAGE_MEAN, color_switch=True, seed=config.seed, first_sample=0,
        )  # fmt: skip

        def loss_of(logits):
            return losses.batch_loss(logits, batches.labels, losses.LossOptions()).value

        def network(images, architecture, **options):
            seed = tf.constant([config.seed, 0], tf.int64)
            return pspnet(images, architecture, is_training=True, dropout_seed=seed, **options)

        outputs = network(batches.images, ARCHITECTURE, has_auxiliary=True)
        both = [loss_of(logits) for logits in (outputs.logits, *outputs.auxiliary)]
        saver = tf.train.Saver()
        others = []
        for change in changes:
            images = [change.get("feed", tf.identity)(x) for x in batches.images]
            architecture = dataclasses.replace(ARCHITECTURE, **change.get("architecture", {}))
            others.append(loss_of(network(images, architecture, reuse=True).logits))
        session.run(batches.initializer)
        saver.restore(session, trained.folder.snapshot(0))
        return session.run((both, others))


# Network and feeding otherwise than recorded: the mean of the generated scenes, and RGB where the record has BGR.
CHANGES = {
    "output stride": {"architecture": {"output_stride": 8}},
    "stride convention": {"architecture": {"stride_convention": "reference"}},
    "grid": {"architecture": {"resize_grid": "half_pixel"}},
    "padding": {"architecture": {"pool_padding": "same"}},
    "mean": {"feed": lambda bgr: bgr + IMAGE_MEAN[::-1] - get_dataset("Toy").image_mean[::-1]},
    "order of channels": {"feed": lambda bgr: bgr[..., ::-1]},
}


def test_network_that_is_trained(trained):
    """And each part of the record shows in the loss, or the comparison would not show whether it was used."""
    row = trained.rows[0]
    both, others = losses_of_the_first_step(trained, CHANGES.values())
    assert both == pytest.approx([row["loss"], row["auxiliary_loss"]], rel=1e-5)
    for name, loss in zip(CHANGES, others, strict=True):
        assert loss != pytest.approx(row["loss"], rel=1e-4), name


def warnings_of_sizes(caplog):
    return [line.split(" does not suit ")[0] for line in caplog.messages if " does not suit --resize_grid" in line]


def test_resumed_on_the_same_network(trained, caplog):
    """And warned again of sizes that do not suit its grid."""
    train_with(dataclasses.replace(trained.config, resume_step=1))
    assert warnings_of_sizes(caplog) == [f"--train_image_size {SIZE}", f"--test_image_size {SIZE}"]
    again = csv_rows(trained.folder)
    for name in ("step", "loss", "auxiliary_loss"):
        assert [row[name] for row in again] == pytest.approx([row[name] for row in trained.rows], rel=1e-5)
    check_records(trained)


def test_scored_on_the_same_network(trained, caplog, tmp_path):
    """Whose grid a flag may name and not change; sizes that do not suit it are warned of."""
    toy = get_dataset("Toy")
    data = RunData.of(toy, trained.config.data_dir, [], find_samples(toy, trained.config.data_dir, ["val"]))
    prefix, folder = trained.folder.snapshot(2), RunFolder(str(tmp_path))
    config = dataclasses.replace(trained.config, eval_only=True, resize_grid="align_corners", test_max_iter=1)
    validate(config, data, folder, prefix)
    assert warnings_of_sizes(caplog) == [f"--test_image_size {SIZE}"]
    config = dataclasses.replace(config, resize_grid="legacy")
    with pytest.raises(FlagError, match="--resize_grid is legacy and .*ckpt-2 was trained with align_corners"):
        validate(config, data, folder, prefix)
