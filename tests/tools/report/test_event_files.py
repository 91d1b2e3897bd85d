"""Scalars in event files, against what TensorFlow's own summaries hold."""

from __future__ import annotations

import pytest
import tensorflow.compat.v1 as tf
from tensorboard.compat.proto import event_pb2

from tests.tools.report.written_run import event_bytes
from tools.report.event_files import read_scalars
from tools.training.summaries import SummaryWriter

VALUES = {"loss": 1.5, "auxiliary_loss": 2.25, "weight_decay": 0.125, "learning_rate": 0.01, "mean_iou": 0.5,
          "images_per_second": 3.0}  # fmt: skip


def scalar(step: int, tag: str, value: float) -> event_pb2.Event:
    event = event_pb2.Event(step=step)
    event.summary.value.add(tag=tag, simple_value=value)
    return event


def test_what_training_writes(tmp_path):
    writer = SummaryWriter(str(tmp_path), str(tmp_path / "training.csv"), None)
    for step in (1, 2, 3):
        writer.scalars(step, {**VALUES, "loss": step / 2})
    writer.close()
    writer = SummaryWriter(str(tmp_path), str(tmp_path / "training.csv"), None, first_step=2)  # it is resumed
    writer.scalars(4, VALUES)
    found = read_scalars(str(tmp_path))  # not closed yet
    writer.close()
    assert found["train/loss"] == {1: 0.5, 2: 1.0, 4: 1.5}
    [path, _] = sorted(tmp_path.glob("events*"))
    expected = {
        (event.step, value.tag): value.simple_value
        for event in tf.train.summary_iterator(str(path))
        for value in event.summary.value
    }
    assert expected[1, "train/learning_rate"] == found["train/learning_rate"][1] == pytest.approx(0.01)


def test_endings_are_kept_apart(tmp_path):
    (tmp_path / "events.out.tfevents.1.a").write_bytes(event_bytes(scalar(1, "x", 1)))
    (tmp_path / "events.out.tfevents.2.a.validation-7").write_bytes(event_bytes(scalar(7, "x", 2)))
    assert read_scalars(str(tmp_path)) == {"x": {1: 1.0}}
    assert read_scalars(str(tmp_path), ".validation-*") == {"x": {7: 2.0}}


@pytest.mark.parametrize("cut", [1, 4, 11, 13])
def test_incomplete_files_are_read_up_to_there(tmp_path, cut):
    whole = event_bytes(scalar(1, "x", 1), scalar(2, "x", 2))
    (tmp_path / "events.out.tfevents.1.a").write_bytes(whole[:-cut])
    assert read_scalars(str(tmp_path)) == {"x": {1: 1.0}}


def test_damage_is_logged(tmp_path, caplog):
    content = event_bytes(scalar(1, "x", 1)) + b"\xff" * 100
    (tmp_path / "events.out.tfevents.1.a").write_bytes(content)
    assert read_scalars(str(tmp_path)) == {"x": {1: 1.0}}
    assert "events.out.tfevents.1.a is read only in part" in caplog.text


def test_nothing_is_there(tmp_path):
    assert read_scalars(str(tmp_path / "none")) == {}
