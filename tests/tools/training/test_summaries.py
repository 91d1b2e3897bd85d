"""The CSV file and the TensorBoard events of a run."""

from __future__ import annotations

import csv
import dataclasses
import glob
import io
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from tools.prediction.metrics import ConfusionMatrix
from tools.training.summaries import COLUMNS, SummaryWriter, write_validation

VALUES = {
    "loss": 1.5, "auxiliary_loss": 2.25, "weight_decay": 0.125, "learning_rate": 0.01, "mean_iou": 0.5,
    "images_per_second": 3.0,
}  # fmt: skip


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


def in_tensorboard(folder):
    """A function from a tag to the (step, value) that TensorBoard itself shows of it."""
    accumulator = EventAccumulator(str(folder)).Reload()
    return lambda tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]


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


def test_more_scalars_are_in_tensorboard_only(tmp_path):
    writer = open_writer(tmp_path)
    writer.scalars(20, VALUES, {"loss/normal": 1.25, "loss/dice": 0.5})
    writer.close()
    assert tuple(rows(tmp_path)[0]) == COLUMNS
    assert in_tensorboard(tmp_path)("train/loss/dice") == [(20, 0.5)]
    assert in_tensorboard(tmp_path)("train/loss") == [(20, 1.5)]


def scores_of_three_classes():
    matrix = ConfusionMatrix(3)
    matrix.process(np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 1]]))
    return matrix.evaluate()


def test_validation_scores(tmp_path):
    write_validation(str(tmp_path), 100, scores_of_three_classes(), ["road", "sky", "absent"])
    written = {(step, value.tag): value.simple_value for step, value in events(tmp_path)}
    assert written == pytest.approx({
        (100, "validation/mean_iou"): (1 / 2 + 2 / 3) / 2,
        (100, "validation/pixel_accuracy"): 3 / 4,
        (100, "validation/iou/road"): 1 / 2,
        (100, "validation/iou/sky"): 2 / 3,
    })  # fmt: skip


def test_validation_loss(tmp_path):
    scores = dataclasses.replace(scores_of_three_classes(), loss=0.25)
    write_validation(str(tmp_path), 100, scores, ["road", "sky", "absent"])
    assert in_tensorboard(tmp_path)("validation/loss") == [(100, 0.25)]


def test_histograms(tmp_path):
    """Their counts are those of the values; values that are not finite, and arrays without others, are left out."""
    values = np.array([[-1.0, 0.0, 0.25], [0.5, 2.0, np.nan]], np.float32)
    writer = open_writer(tmp_path)
    writer.histograms(20, {"weights/a": values, "weights/none": np.full(3, np.inf), "weights/ones": np.ones(4)})
    writer.close()
    [(step, first), (_, ones)] = list(events(tmp_path))
    assert (step, first.tag, ones.tag) == (20, "weights/a", "weights/ones")
    histogram = first.histo
    assert (histogram.min, histogram.max, histogram.num, histogram.sum) == (-1, 2, 5, 1.75)
    assert histogram.sum_squares == pytest.approx(1 + 0.0625 + 0.25 + 4)
    assert (sum(histogram.bucket), len(histogram.bucket), histogram.bucket_limit[-1]) == (5, 30, 2)
    assert histogram.bucket[0] == histogram.bucket[-1] == 1
    assert sum(ones.histo.bucket) == 4


def test_validation_of_the_same_step_is_shown_once(tmp_path):
    for step in (10, 100, 100):
        write_validation(str(tmp_path), step, scores_of_three_classes(), ["road", "sky", "absent"])
    assert in_tensorboard(tmp_path)("validation/pixel_accuracy") == [(10, 0.75), (100, 0.75)]


def test_validation_does_not_change_the_files_of_training(tmp_path):
    """A short run is trained and scored within the second that names the files."""
    writer = open_writer(tmp_path)
    writer.scalars(100, VALUES)
    writer.close()
    write_validation(str(tmp_path), 100, scores_of_three_classes(), ["road", "sky", "absent"])
    shown = in_tensorboard(tmp_path)
    assert shown("train/loss") == [(100, 1.5)]
    assert shown("validation/pixel_accuracy") == [(100, 0.75)]


def test_files_of_one_second_sort_by_time(tmp_path, monkeypatch):
    """TensorBoard reads the files in the order of their names, and never goes back to an earlier one."""
    for step, now in enumerate((1_700_000_000_099_999_999, 1_700_000_000_100_000_000)):
        monkeypatch.setattr("time.time_ns", lambda now=now: now)
        writer = open_writer(tmp_path)
        writer.scalars(step, VALUES)
        writer.close()
    monkeypatch.undo()
    assert in_tensorboard(tmp_path)("train/loss") == [(0, 1.5), (1, 1.5)]


def test_picture(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    writer = open_writer(tmp_path)
    writer.picture(3, "train/picture", picture)
    writer.close()
    [(step, value)] = events(tmp_path)
    assert (step, value.tag, value.image.height, value.image.width) == (3, "train/picture", 5, 7)
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(value.image.encoded_image_string))), picture)


def test_hyperparameters_are_on_the_page_of_tensorboard(tmp_path):
    """As the plugin itself reads them; the metrics are the scalars beside them."""
    for name, rate in (("a", 0.5), ("b", 0.25)):
        writer = open_writer(tmp_path / name)
        writer.hyperparameters({"lrn_rate": rate, "batch_size": 4, "random_mirror": True, "network": "resnet_v1_18"})
        writer.scalars(20, VALUES)
        writer.close()
        [data] = [
            HParamsPluginData.FromString(value.metadata.plugin_data.content)
            for _, value in events(tmp_path / name)
            if value.metadata.plugin_data.plugin_name == "hparams"
        ]
        values = data.session_start_info.hparams
        assert values["lrn_rate"].number_value == rate
        assert (values["batch_size"].number_value, values["random_mirror"].bool_value) == (4, True)
        assert values["network"].string_value == "resnet_v1_18"
        content = EventAccumulator(str(tmp_path / name)).Reload().summary_metadata["_hparams_/session_start_info"]
        assert content.plugin_data.plugin_name == "hparams"


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
    for step in (20, 40, 60, 80):
        writer.scalars(step, VALUES)
    writer.close()
    name_by_an_earlier_second(tmp_path)
    with open(tmp_path / "training.csv", "a", encoding="utf-8") as file:
        file.write("7,1.")  # of step 780: the disk was full
    writer = open_writer(tmp_path, first_step=40)
    writer.scalars(50, {**VALUES, "loss": 0.5})
    writer.close()
    curve = [(20, 1.5), (40, 1.5), (50, 0.5)]
    assert [(int(row["step"]), float(row["loss"])) for row in rows(tmp_path)] == curve
    assert in_tensorboard(tmp_path)("train/loss") == curve
    assert len(os.listdir(tmp_path)) == 3  # two files of events, and nothing beside the CSV file


def name_by_an_earlier_second(folder):
    [path] = glob.glob(str(folder / "events.out.tfevents.*"))
    second = path.split(".")[3]
    os.rename(path, path.replace(second, f"{int(second) - 60:010d}"))


def test_resuming_keeps_the_curves_where_the_file_cannot_be_replaced(tmp_path, monkeypatch):
    writer = open_writer(tmp_path)
    writer.scalars(20, VALUES)
    writer.close()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        open_writer(tmp_path, first_step=20)
    assert [row["step"] for row in rows(tmp_path)] == ["20"]


def test_new_run_starts_an_empty_file(tmp_path):
    writer = open_writer(tmp_path)
    writer.scalars(20, VALUES)
    writer.close()
    open_writer(tmp_path).close()
    assert rows(tmp_path) == []


@pytest.mark.parametrize(
    "row",
    ["\u00b2,1,1,1,1,1,1", "\u0663,1,1,1,1,1,1", "-1,1,1,1,1,1,1", "1.5,1,1,1,1,1,1", "9" * 5000 + ",1,1,1,1,1,1",
     "30,x,1,1,1,1,1", "30,1", "30,1,1,1,1,1,1,1", '"30,1,1,1,1,1,1', "30,1\0,1,1,1,1,1", "\udcff\udcfe", "\x1b[31m",
     "30,=1+1,1,1,1,1,1", ",,,,,,"],
    ids=lambda row: repr(row)[:20],
)  # fmt: skip
def test_damaged_rows_are_ignored_with_one_warning(tmp_path, row, caplog):
    writer = open_writer(tmp_path)
    for step in (20, 40):
        writer.scalars(step, VALUES)
    writer.close()
    path = tmp_path / "training.csv"
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = row.encode("utf-8", "surrogateescape") + b"\r\n"
    path.write_bytes(b"".join([*lines[:2], damaged, damaged, *lines[2:]]))
    open_writer(tmp_path, first_step=40).close()
    assert [int(found["step"]) for found in rows(tmp_path)] == [20, 40]
    assert caplog.messages == [f"{path}: 2 rows ignored, because they are damaged"]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"loss,steps\n1,2\n", b"step,step\n1,1\n"])
def test_files_of_other_contents(tmp_path, content):
    (tmp_path / "training.csv").write_bytes(content)
    writer = open_writer(tmp_path, first_step=40)
    writer.scalars(60, {**VALUES, "loss": float("nan"), "mean_iou": float("-inf"), "weight_decay": 1e-300})
    writer.close()
    assert [found["step"] for found in rows(tmp_path)][-1] == "60"
    open_writer(tmp_path, first_step=60).close()
    assert [found["step"] for found in rows(tmp_path)][-1] == "60"


@pytest.mark.timeout(10)
def test_pipe_in_place_of_the_file(tmp_path):
    os.mkfifo(tmp_path / "training.csv")
    with pytest.raises(OSError, match="a pipe or a device"):
        open_writer(tmp_path)
