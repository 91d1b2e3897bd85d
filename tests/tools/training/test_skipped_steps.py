"""Steps that loss scaling skips: counted, logged, and kept through snapshots."""

from __future__ import annotations

import dataclasses
import os
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from database.datasets import get_dataset
from model.optimizers import LossScale
from tests.tools.toy_runs import NETWORK, smallest_config, tensors_in, toy_record, train_with, write_checkpoint
from tests.tools.training.trainers import trainer_of
from tools.checkpoints.compare import require_match, without_later_additions
from tools.checkpoints.reading import restore
from tools.errors import CheckpointError
from tools.runs.folder import RunFolder
from tools.training.step import StepBatch, StepResult, StepTaken

COUNT = "loss_scale/skipped_steps"


@pytest.mark.parametrize(("names", "counted"), [(["loss_scale/value", COUNT], 5), (["loss_scale/value"], 0)])
def test_snapshots_of_earlier_versions_have_no_count(tmp_path, caplog, names, counted):
    caplog.set_level("INFO")
    values = {"loss_scale/value": np.float32(64), COUNT: np.int32(5)}
    prefix = write_checkpoint(str(tmp_path / "model.ckpt-7"), {name: values[name] for name in names})
    with tf.Graph().as_default(), tf.Session() as session:
        scale = LossScale.create()
        restored = without_later_additions(prefix, [scale.value, scale.skipped_steps])
        assert [variable.op.name for variable in restored] == names
        session.run(tf.global_variables_initializer())
        restore(session, prefix, tf.train.Saver(restored))
        assert session.run([scale.value, scale.skipped_steps]) == [64, counted]
    beginning = f"{prefix} was written by an earlier version: "
    assert any(message.startswith(beginning) for message in caplog.messages) == (counted == 0)


def test_another_variable_that_is_missing_is_no_later_addition(tmp_path):
    prefix = write_checkpoint(str(tmp_path / "model.ckpt-7"), {COUNT: np.int32(5)})
    with tf.Graph().as_default():
        scale = LossScale.create()
        restored = without_later_additions(prefix, [scale.value, scale.skipped_steps])
        with pytest.raises(CheckpointError, match="'loss_scale/value' of 2 variables is missing"):
            require_match(prefix, restored, "resume with the flags of the run")


@pytest.mark.parametrize(("skipped", "ending"), [(None, "lr 0.01"), (0, "lr 0.01"), (3, "lr 0.01, 3 steps skipped")])
def test_count_is_shown_beside_the_loss(tmp_path, skipped, ending):
    config, count = smallest_config("toy", str(tmp_path)), object()
    counts = {count: np.int32(skipped or 0)}
    pixels = np.zeros((1, 4, 4), np.int32)
    batch = StepBatch(np.zeros((1, 4, 4, 3), np.float32), [pixels], [pixels])
    taken = StepTaken(1, 0.01, ("a.png",), StepResult(1.0, 2.0, 3.0), batch)
    trainer = trainer_of(
        SimpleNamespace(run=counts.__getitem__),
        SimpleNamespace(predictions=None, loss_scale=None if skipped is None else SimpleNamespace(skipped_steps=count)),
        SimpleNamespace(labels=None, images=[None]), [], get_dataset("Toy"), config, RunFolder(str(tmp_path)),
        None, toy_record(config),
    )  # fmt: skip
    trainer._step = lambda number, with_batch: taken
    trainer._curves._writer = SimpleNamespace(scalars=lambda *_: None, picture=lambda *_: None)
    trainer._step_with_summary(1)
    assert trainer._figures.short_text() == f"loss 1.000 batch mIoU % 100.00 {ending}"
    assert trainer._figures.text() == f"loss 1.0000, weight decay 3.0000, batch mIoU % 100.00, {ending}"


# Convolutions in float16 have no fast kernel on most processors.
@pytest.mark.slow
@pytest.mark.usefixtures("narrow_resnet")
def test_overflows_are_counted_and_are_no_fault(toy_dir, log_dir, caplog, monkeypatch):
    """Under a scale of 2^120 the gradients of every step overflow, while its loss is finite."""
    monkeypatch.setattr(LossScale, "INITIAL", 2.0**120)
    caplog.set_level("INFO")
    config = smallest_config(toy_dir, log_dir, float_type="16", save_first_iteration=True)
    folder = train_with(config)
    assert caplog.messages[-1].startswith("2 of 2 steps were skipped")
    first, last = tensors_in(folder.snapshot(0)), tensors_in(folder.snapshot(2))
    assert (last[COUNT], last["loss_scale/value"]) == (2, 2.0**118)
    for name in first:
        if name.startswith(NETWORK) and not name.endswith(("moving_mean", "moving_variance")):
            np.testing.assert_array_equal(first[name], last[name], err_msg=name)

    del last[COUNT]  # as an earlier version wrote it
    for ending in (".manifest.json", ".index"):
        os.unlink(folder.snapshot(2) + ending)
    write_checkpoint(folder.snapshot(2), last)
    train_with(dataclasses.replace(config, resume_step=2, train_max_iter=3))
    assert caplog.messages[-1].startswith("1 of 3 steps were skipped")
    assert tensors_in(folder.snapshot(3))[COUNT] == 1
