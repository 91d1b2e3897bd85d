"""The CSV file and the TensorBoard events of a run."""

from __future__ import annotations

import csv
import glob
import io
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image

from tools.summaries import COLUMNS, SummaryWriter

VALUES = {
    "loss": 1.5, "auxiliary_loss": 2.25, "weight_decay": 0.125, "learning_rate": 0.01, "mean_iou": 0.5,
    "images_per_second": 3.0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _graph_mode():
    """Writers are made while a graph is the default, as in training."""
    with tf.Graph().as_default():
        yield


def open_writer(folder, first_step=0):
    return SummaryWriter(str(folder), str(folder / "training.csv"), None, first_step)


def rows(folder):
    with open(folder / "training.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def events(folder):
    """(step, value) of all summaries, in the order of the files and of writing."""
    paths = sorted(glob.glob(os.path.join(str(folder), "events.out.tfevents.*")), key=os.path.getmtime)
    return [
        (event.step, value)
        for path in paths
        for event in tf.train.summary_iterator(path)
        for value in event.summary.value
    ]


def test_scalars_go_to_both_places(tmp_path):
    writer = open_writer(tmp_path)
    writer.scalars(20, VALUES)
    writer.scalars(40, {**VALUES, "loss": 1 / 3, "mean_iou": float("nan")})
    first, second = rows(tmp_path)  # on disk before the run is over
    writer.close()
    assert tuple(first) == COLUMNS
    assert {name: float(value) for name, value in first.items()} == {"step": 20.0, **VALUES}
    assert (second["loss"], second["mean_iou"]) == ("0.333333", "nan")
    written = {(step, value.tag): value.simple_value for step, value in events(tmp_path)}
    assert written[20, "train/loss"] == 1.5
    assert written[40, "train/loss"] == pytest.approx(1 / 3)
    assert {tag for _, tag in written} == {f"train/{name}" for name in VALUES}


def test_validation_scores(tmp_path):
    writer = open_writer(tmp_path)
    writer.validation(100, 0.25, 0.75)
    writer.close()
    assert [(step, value.tag, value.simple_value) for step, value in events(tmp_path)] == [
        (100, "validation/mean_iou", 0.25),
        (100, "validation/pixel_accuracy", 0.75),
    ]


def test_picture(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    writer = open_writer(tmp_path)
    writer.picture(3, "train/picture", picture)
    writer.close()
    [(step, value)] = events(tmp_path)
    assert (step, value.tag, value.image.height, value.image.width) == (3, "train/picture", 5, 7)
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(value.image.encoded_image_string))), picture)


def test_graph_is_shown(tmp_path):
    with tf.Graph().as_default() as graph:
        tf.constant(1.0, name="one")
        SummaryWriter(str(tmp_path), str(tmp_path / "training.csv"), graph).close()
    [path] = glob.glob(str(tmp_path / "events.out.tfevents.*"))
    definitions = [
        tf.GraphDef.FromString(event.graph_def) for event in tf.train.summary_iterator(path) if event.graph_def
    ]
    assert [node.name for node in definitions[0].node] == ["one"]


def test_resumed_run_appends_and_drops_what_it_repeats(tmp_path):
    writer = open_writer(tmp_path)
    for step in (20, 40, 60):
        writer.scalars(step, VALUES)
    writer.close()
    with open(tmp_path / "training.csv", "a", encoding="utf-8") as file:
        file.write("7,1.")  # of step 780: the disk was full
    writer = open_writer(tmp_path, first_step=40)
    writer.scalars(60, {**VALUES, "loss": 0.5})
    writer.close()
    assert [(row["step"], row["loss"]) for row in rows(tmp_path)] == [
        ("20", "1.5"),
        ("40", "1.5"),
        ("60", "0.5"),
    ]


def test_new_run_starts_an_empty_file(tmp_path):
    writer = open_writer(tmp_path)
    writer.scalars(20, VALUES)
    writer.close()
    open_writer(tmp_path).close()
    assert rows(tmp_path) == []
