"""Training on rectangular crops: the network sees what was cropped, and a step is the one of these crops."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image

from database.classes import CITYSCAPES_LABEL_MAP
from database.datasets import find_samples, get_dataset
from database.synthetic import write_dataset
from model import resnet
from model.training_graph import train_graph
from tests.tools.toy_runs import NARROW, NETWORK, csv_rows, tensors_in, tiny_config, train_with
from tools.flags.train import TrainConfig
from tools.runs.folder import RunFolder
from tools.runs.record import ModelRecord
from tools.training.settings import augmentation_of, batches_of, options_of

SIZE = (40, 56)
# Crops of an image of their size are the image.
WHOLE = {"random_scale": False, "random_rotate": False, "random_mirror": False, "random_blur": False}


@dataclass(frozen=True)
class Trained:
    """A run of one step on crops of 40x56, of a dataset with one image of that size; and the image and its label."""

    config: TrainConfig
    folder: RunFolder
    record: ModelRecord
    image: np.ndarray  # float32 [40, 56, 3], minus the mean
    label: np.ndarray  # int32 [40, 56]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    place = tmp_path_factory.mktemp("rectangular-crops")
    write_dataset(str(place / "toy"), train=1, val=1, test=1, height=SIZE[0], width=SIZE[1])
    config = tiny_config(
        str(place / "toy"), str(place / "log"), train_image_size="40x56", test_image_size="24x40", train_max_iter=1,
        save_first_iteration=True, allow_missing_classes=True, **WHOLE,
    )  # fmt: skip
    [image], [label] = (
        [np.array(Image.open(path)) for path in Path(place / "toy").glob(pattern)]
        for pattern in ("leftImg8bit/train/*/*.png", "gtFine/train/*/*_labelIds.png")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.NETWORKS, NETWORK, NARROW)
        folder = train_with(config)
        record = ModelRecord.read(folder.path)
        assert record is not None
        centred = image.astype(np.float32) - np.float32(record.image_mean)
        ids = np.vectorize(CITYSCAPES_LABEL_MAP.get)(label).astype(np.int32)
        yield Trained(config, folder, record, centred, ids)


def test_sizes_are_recorded(trained):
    assert trained.record.test_image_size == trained.record.flags["test_image_size"] == "24x40"
    assert trained.record.flags["train_image_size"] == "40x56"
    assert augmentation_of(trained.config).crop_size == SIZE
    assert f"{NETWORK}-40x56-train-" in trained.folder.path


def test_crops_have_the_height_and_the_width(trained):
    samples = find_samples(get_dataset("Toy"), trained.config.data_dir, ["train"])
    with tf.Graph().as_default(), tf.Session() as session:
        batches = batches_of(trained.config, trained.record, samples, ["/device:CPU:0"], 0)
        assert batches.images[0].shape.as_list()[1:] == [*SIZE, 3]
        session.run(batches.initializer)
        images, labels = session.run([batches.images[0], batches.labels[0]])
    np.testing.assert_allclose(images, np.stack([trained.image] * 2), atol=1e-3)
    np.testing.assert_array_equal(labels, np.stack([trained.label] * 2))


def test_a_step_is_that_of_the_crops_given_by_hand(trained):
    config = trained.config
    with tf.Graph().as_default(), tf.Session() as session:
        images, labels = (tf.constant(np.stack([array] * 2)) for array in (trained.image, trained.label))
        step = train_graph([images], [labels], trained.record.architecture, options_of(config))
        tf.train.Saver().restore(session, trained.folder.snapshot(0))
        fetches = [step.loss, step.auxiliary_loss, step.train_op]
        loss, auxiliary_loss, _ = session.run(fetches, {step.learning_rate: config.lrn_rate})
        variables = session.run({variable.op.name: variable for variable in tf.global_variables()})
    [row] = csv_rows(trained.folder)
    assert (row["loss"], row["auxiliary_loss"]) == pytest.approx((loss, auxiliary_loss), rel=1e-5)
    before, after = (tensors_in(trained.folder.snapshot(number)) for number in (0, 1))
    assert variables.keys() == after.keys()
    moved = 0
    for name, value in after.items():
        bound = 1e-4 * max(np.abs(value).max(), 1e-3)
        np.testing.assert_allclose(variables[name], value, rtol=0, atol=bound, err_msg=name)
        moved += np.abs(value - before[name]).max() > 10 * bound
    assert moved > 0.8 * len(after)  # or the comparison would show nothing
