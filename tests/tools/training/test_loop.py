"""The loop: what a run leaves behind, and how it stops."""

from __future__ import annotations

import glob
import io
import json
import os
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from database.datasets import find_samples, get_dataset
from database.errors import DatasetError, ImageError
from database.layouts import Sample
from tests.tools.toy_runs import (
    NETWORK,
    SIZE,
    csv_rows,
    smallest_config,
    tensors_in,
    tiny_config,
    toy_record,
    train_with,
)
from tests.tools.training.trainers import run_steps, trainer_of
from tools.errors import DivergedError, OutputError
from tools.flags.train import TrainConfig
from tools.runs.commands import read_commands
from tools.runs.folder import RunFolder, run_folder
from tools.runs.record import ModelRecord
from tools.training.settings import learning_rate_at
from tools.training.step import StepResult


@pytest.mark.parametrize("step", [0, 1, 15000, 29999, 30000])
def test_poly_learning_rate(step):
    expected = 0.01 * (1 - step / 30000) ** 0.9
    assert learning_rate_at(TrainConfig(batch_size=2), step) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("step", "rate"), [(0, 0.2), (9, 0.2), (10, 0.1), (19, 0.1), (20, 0.05), (500, 0.05)])
def test_stepped_learning_rate(step, rate):
    config = TrainConfig(batch_size=2, lrn_rate=0.2, poly_lr=False, lr_step=(10, 20), step_size=0.5)
    assert learning_rate_at(config, step) == pytest.approx(rate, rel=1e-12)


def test_constant_learning_rate():
    config = TrainConfig(batch_size=2, poly_lr=False)
    assert {learning_rate_at(config, step) for step in (0, 100, 30000)} == {0.01}


@pytest.mark.parametrize(
    ("terms", "name"),
    [((1, 2, 3), None), ((float("nan"), 2, 3), "loss"), ((1, float("inf"), float("nan")), "auxiliary loss"),
     ((1, 2, -float("inf")), "weight decay")],
)  # fmt: skip
def test_first_term_that_is_not_finite(terms, name):
    assert StepResult(*terms).first_bad_term() == name


def test_files_of_a_run(tiny_run):
    names = set(os.listdir(tiny_run.folder.path))
    assert {"config.json", "commands.txt", "training.csv", "snapshot"} <= names
    assert len(read_commands(tiny_run.folder.path)) == 1
    assert any(name.startswith("events.out.tfevents.") for name in names)
    snapshots = {name for name in os.listdir(tiny_run.folder.snapshots) if name.endswith(".index")}
    assert snapshots == {"model.ckpt-2.index", "model.ckpt-4.index"}


def test_list_of_the_variables_of_a_run(tiny_run):
    with open(os.path.join(tiny_run.folder.path, "variables.txt"), encoding="utf-8") as file:
        rows = [line.split() for line in file][1:]
    tensors = tensors_in(tiny_run.folder.snapshot(2))
    shapes = {name: "x".join(map(str, value.shape)) or "scalar" for name, value in tensors.items()}
    assert {name: shape for name, shape, *_ in rows} == shapes
    decays = {name: decay for name, _, *decay in rows}
    assert decays["resnet_v1_18/conv1/weights"] == ["L2", "0.0001"]
    assert decays["resnet_v1_18/conv1/BatchNorm/gamma"] == ["none"]


def test_record_of_a_run(tiny_run):
    for folder in (tiny_run.folder.path, tiny_run.folder.snapshots):
        assert ModelRecord.read(folder).architecture == toy_record(tiny_run.config).architecture
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            flags = json.load(file)["flags"]
        assert (flags["gpu_num"], flags["train_max_iter"], flags["seed"]) == (2, 4, 3)


def test_curves_of_a_run(tiny_run):
    rows = csv_rows(tiny_run.folder)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert [row["learning_rate"] for row in rows] == pytest.approx(
        [0.01 * (1 - step / 4) ** 0.9 for step in range(4)], rel=1e-5
    )
    for row in rows:
        assert row["loss"] > 0
        assert row["auxiliary_loss"] > 0
        assert 0 <= row["mean_iou"] <= 1
    assert rows[0]["images_per_second"] == 0  # of the steps before
    assert rows[-1]["images_per_second"] > 0


@pytest.mark.slow
@pytest.mark.usefixtures("narrow_resnet")
def test_terms_of_a_sum_and_histograms_are_in_tensorboard(toy_dir, tmp_path):
    flags = {"loss_type": "normal+0.5*lovasz", "label_smoothing": 0.1, "histograms_every": 2}
    folder = train_with(smallest_config(toy_dir, str(tmp_path), **flags))
    shown = EventAccumulator(folder.path).Reload()
    weights = {name: values for name, values in tensors_in(folder.snapshot(2)).items() if name.startswith(NETWORK)}
    assert set(shown.Tags()["histograms"]) == {f"weights/{name}" for name in weights if "Momentum" not in name}
    [event] = shown.Histograms(f"weights/{NETWORK}/conv1/weights")
    assert event.step == 2
    assert event.histogram_value.num == weights[f"{NETWORK}/conv1/weights"].size
    assert event.histogram_value.max == pytest.approx(weights[f"{NETWORK}/conv1/weights"].max())
    scalars = shown.Scalars
    rows = csv_rows(folder)
    names = ("loss", "loss/normal", "loss/lovasz")
    loss, normal, lovasz = ([event.value for event in scalars(f"train/{name}")] for name in names)
    np.testing.assert_allclose(loss, np.add(normal, np.multiply(0.5, lovasz)), rtol=1e-6)
    np.testing.assert_allclose(loss, [row["loss"] for row in rows], rtol=1e-5)
    assert all(value > 0 for value in (*normal, *lovasz))


def test_the_only_term_is_the_loss(tiny_run):
    tags = EventAccumulator(tiny_run.folder.path).Reload().Tags()["scalars"]
    assert [tag for tag in tags if tag.startswith("train/loss")] == ["train/loss"]


def test_weight_decay_is_that_of_the_snapshot_before(tiny_run):
    weights = [x for name, x in tensors_in(tiny_run.folder.snapshot(2)).items() if name.endswith("/weights")]
    expected = 0.5 * 0.0001 * sum(np.square(x.astype(np.float64)).sum() for x in weights)
    assert csv_rows(tiny_run.folder)[2]["weight_decay"] == pytest.approx(expected, rel=1e-5)


def test_events_of_a_run(tiny_run):
    [path] = glob.glob(os.path.join(tiny_run.folder.path, "events.out.tfevents.*"))
    values = [(event.step, value) for event in tf.train.summary_iterator(path) for value in event.summary.value]
    scalars = {(step, value.tag): value.simple_value for step, value in values if not value.HasField("image")}
    for row in csv_rows(tiny_run.folder):
        for name in set(row) - {"step"}:
            assert scalars[row["step"], f"train/{name}"] == pytest.approx(row[name], rel=1e-5)
    pictures = [value.image for _, value in values if value.HasField("image")]
    assert [picture.width for picture in pictures] == [3 * SIZE] * 4
    pixels = np.array(Image.open(io.BytesIO(pictures[0].encoded_image_string)))
    colors = {*get_dataset("Toy").palette, (0, 0, 0)}
    shown = {tuple(color) for color in pixels[:SIZE, SIZE:].reshape(-1, 3).tolist()}
    assert shown <= colors
    legend = {tuple(color) for color in pixels[SIZE:].reshape(-1, 3).tolist()}
    assert shown - {(0, 0, 0)} <= legend  # a swatch of each class that is in the picture
    assert (255, 255, 255) in legend


def test_flags_of_a_run_are_its_hyperparameters(tiny_run):
    [path] = glob.glob(os.path.join(tiny_run.folder.path, "events.out.tfevents.*"))
    contents = [
        value.metadata.plugin_data.content
        for event in tf.train.summary_iterator(path)
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "hparams"
    ]
    [data] = map(HParamsPluginData.FromString, contents)
    values = data.session_start_info.hparams
    assert values["lrn_rate"].number_value == tiny_run.config.lrn_rate
    assert values["network"].string_value == tiny_run.config.network
    assert values["subsets_for_training"].string_value == "train"
    assert not {"log_dir", "run_name", "val_list"} & {*values}  # not set, or without an effect on the weights


def test_snapshot_of_a_run(tiny_run):
    tensors = tensors_in(tiny_run.folder.snapshot(2))
    assert tensors["global_step"] == 2
    trained = [name for name in tensors if name.endswith(("/weights", "/biases", "/gamma", "/beta"))]
    assert {
        "resnet_v1_18/conv1/weights",
        "resnet_v1_18/aux_logits/biases",
        "resnet_v1_18/logits/weights",
    } <= {*trained}
    slots = [name for name in tensors if "Momentum" in name]
    assert sorted(slots) == sorted(f"{name}/Momentum" for name in trained)
    assert sum(np.abs(tensors[name]).max() > 0 for name in slots) > len(slots) / 2
    assert not any(name.endswith("/start") for name in tensors)
    assert np.abs(tensors["resnet_v1_18/conv1/BatchNorm/moving_mean"]).max() > 0


@pytest.mark.usefixtures("narrow_resnet")
def test_diverging_run_stops_and_keeps_the_snapshot_before(toy_dir, log_dir):
    config = tiny_config(toy_dir, log_dir, lrn_rate=1e30, train_max_iter=4, snapshot=100, save_first_iteration=True)
    with pytest.raises(DivergedError) as caught:
        train_with(config)
    message = str(caught.value)
    rate = 1e30 * (1 - 1 / 4) ** 0.9
    [term] = re.findall(r"^the (loss|weight decay) is not finite at step 2 with learning rate ", message)
    assert f"{term} is not finite at step 2 with learning rate {rate:.6g}: lower --lrn_rate" in message
    assert "\n" not in message
    folder = run_folder(config)
    assert folder.snapshots in message
    images = re.search("images of the step: (.*)", message).group(1).split(", ")
    assert len(set(images)) == 2
    assert set(images) <= {sample.image for sample in find_samples(get_dataset("Toy"), toy_dir, ["train"])}
    assert {name for name in os.listdir(folder.snapshots) if name.endswith(".index")} == {"model.ckpt-0.index"}
    assert all(np.isfinite(x).all() for x in tensors_in(folder.snapshot(0)).values())


@pytest.mark.usefixtures("narrow_resnet")
def test_damaged_image_is_named(toy_dir, log_dir, tmp_path, caplog):
    data_dir = str(tmp_path / "toy")
    shutil.copytree(toy_dir, data_dir)
    damaged = find_samples(get_dataset("Toy"), data_dir, ["train"])[3].image
    os.truncate(damaged, os.path.getsize(damaged) // 2)
    caplog.set_level("INFO")
    with pytest.raises(ImageError) as caught:
        train_with(tiny_config(data_dir, log_dir, train_max_iter=4, snapshot=100, show_period=100))
    assert str(caught.value).startswith(f"{damaged}: not an image that can be read")
    assert "6 training images" in caplog.text
    assert "2 images per step, one tower" in caplog.text
    assert "/device:CPU:0" in caplog.text


@pytest.mark.usefixtures("narrow_resnet")
def test_log_folder_that_is_a_file(toy_dir, tmp_path):
    (tmp_path / "log").write_text("")
    with pytest.raises(OutputError, match=r"log.*: cannot write \(.*\): change --log_dir") as caught:
        train_with(tiny_config(toy_dir, str(tmp_path / "log")))
    assert "\n" not in str(caught.value)


class FailingTrainer:
    """A trainer whose session or saver raises, without a network."""

    def __init__(self, path, *, step_error=None, save_error=None, faults=(), weights=None):
        """Every step fails with `step_error`; without it, there is a snapshot before the first step."""
        weights = weights or {"a": np.ones(2)}

        def run(fetches, feed=None):
            if fetches is weights:
                return weights
            raise step_error

        def save(*arguments, **options):
            raise save_error

        names = (
            "loss", "loss_terms", "auxiliary_loss", "weight_decay", "train_op", "accumulation", "learning_rate",
            "predictions",
        )  # fmt: skip
        graph = dict.fromkeys(names)
        config = tiny_config("toy", "log", save_first_iteration=step_error is None)
        self.folder = RunFolder(str(path))
        self.trainer = trainer_of(
            SimpleNamespace(graph=tf.get_default_graph(), run=run),
            SimpleNamespace(**graph, weights=weights),
            SimpleNamespace(loader=SimpleNamespace(faults=list(faults)), sample_indices=None, labels=[], images=[None]),
            [], get_dataset("Toy"), config, self.folder, SimpleNamespace(save=save), toy_record(config),
        )  # fmt: skip


def out_of_memory():
    return tf.errors.ResourceExhaustedError(None, None, "out of memory")


def test_failed_step_raises_what_loading_raised(tmp_path):
    with tf.Graph().as_default():
        failing = FailingTrainer(tmp_path, step_error=out_of_memory(), faults=[DatasetError("a.png: id 77")])
        with pytest.raises(DatasetError, match="a.png: id 77"):
            run_steps(failing.trainer, 0)


def test_failed_step_for_another_reason_is_not_hidden(tmp_path):
    with tf.Graph().as_default():
        failing = FailingTrainer(tmp_path, step_error=tf.errors.InternalError(None, None, "broken"))
        with pytest.raises(tf.errors.InternalError, match="broken"):
            run_steps(failing.trainer, 0)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), out_of_memory()])
def test_snapshot_that_cannot_be_written(tmp_path, error):
    with tf.Graph().as_default():
        failing = FailingTrainer(tmp_path, save_error=error)
        with pytest.raises(OutputError, match=r"cannot write \(.*(space|memory).*\): free space, or change --log_dir"):
            run_steps(failing.trainer, 0)


def test_record_is_there_before_the_snapshot(tmp_path):
    """A run that is killed in between leaves no snapshot without a record."""
    with tf.Graph().as_default():
        failing = FailingTrainer(tmp_path, save_error=KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            failing.trainer.save(0)
    assert ModelRecord.read(failing.folder.snapshots) is not None


@pytest.mark.parametrize(
    ("weights", "named"),
    [
        ({"a": np.ones(2), "b": np.array([1, np.nan])}, "'b'"),
        ({"c": np.array([[np.inf], [0]]), "b": np.full(3, -np.inf), "a": np.zeros(1)}, "'b' and 1 more of 3"),
    ],
)
def test_weights_that_are_not_finite_before_the_first_step(tmp_path, weights, named):
    with tf.Graph().as_default():
        failing = FailingTrainer(tmp_path, save_error=AssertionError("saved"), weights=weights)
        with pytest.raises(DivergedError) as caught:
            run_steps(failing.trainer, 0)
    line = str(caught.value)
    assert line.startswith(f"a weight is not finite ({named}) before the first step: ")
    assert line.endswith("--fine_tune_filename")


class DivergingTrainer:
    """A trainer whose losses stay finite while a weight does not, without a network."""

    def __init__(self, path):
        terms, weights = object(), {"net/conv1/weights": np.array([1, np.nan]), "net/logits/biases": np.ones(3)}

        def run(fetches, feed=None):
            return weights if fetches is weights else {"terms": (1.0, 2.0, 3.0), "indices": [2, 0]}

        config = tiny_config("toy", "log", show_period=100)
        self.folder = RunFolder(str(path))
        self.trainer = trainer_of(
            SimpleNamespace(graph=tf.get_default_graph(), run=run),
            SimpleNamespace(loss=terms, auxiliary_loss=terms, weight_decay=terms, train_op=None, accumulation=None,
                            learning_rate=None,
                            weights=weights),
            SimpleNamespace(loader=SimpleNamespace(faults=[]), sample_indices=None),
            [Sample(name, f"{name}.png", None, {}) for name in "abc"],
            get_dataset("Toy"), config, self.folder, None, toy_record(config),
        )  # fmt: skip


def test_weights_that_are_not_finite_are_reported_like_losses(tmp_path):
    with tf.Graph().as_default():
        diverging = DivergingTrainer(tmp_path)
        with pytest.raises(DivergedError) as caught:
            run_steps(diverging.trainer, 0)
    line = str(caught.value)
    assert line.startswith("a weight is not finite ('net/conv1/weights') at step 1 with learning rate 0.01: ")
    assert "--lrn_rate" in line
    assert "no snapshot yet" in line
    assert line.endswith("images of the step: c.png, a.png")
    assert not os.path.exists(diverging.folder.snapshots)


def test_peak_of_memory_is_logged_after_two_steps_and_at_the_end(tmp_path, caplog):
    caplog.set_level("INFO")
    config = tiny_config("toy", "log", show_period=100, snapshot=100, train_max_iter=5, log_memory=True)
    terms, steps = {"terms": (1.0, 2.0, 3.0), "indices": [0]}, []
    devices = [SimpleNamespace(name="/job:localhost/replica:0/task:0/device:CPU:0")]
    with tf.Graph().as_default() as graph:
        trainer = trainer_of(
            SimpleNamespace(graph=graph, run=lambda *arguments: terms, list_devices=lambda: devices),
            SimpleNamespace(loss=0, auxiliary_loss=0, weight_decay=0, train_op=0, accumulation=None, learning_rate=0),
            SimpleNamespace(loader=SimpleNamespace(faults=[]), sample_indices=None),
            [Sample("a", "a.png", None, {})], get_dataset("Toy"), config, RunFolder(str(tmp_path)), None, None,
        )  # fmt: skip
        trainer._step_with_summary = steps.append
        trainer.save = steps.append
        run_steps(trainer, 1)
    assert steps == [5, 5]  # the step with its summary, then its snapshot
    peaks = [message for message in caplog.messages if message.startswith("peak memory")]
    assert [
        re.fullmatch(r"peak memory up to step (\d): process \d+\.\d\d GB(, CPU:0 \d+\.\d\d GB)?", line)[1]
        for line in peaks
    ] == ["3", "5"]


def test_summary_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "run").write_text("")
    with tf.Graph().as_default():
        failing = FailingTrainer(tmp_path / "run", step_error=out_of_memory())
        with pytest.raises(OutputError, match="cannot write"):
            run_steps(failing.trainer, 0)
