"""Whole runs: resuming, L2-SP from a ResNet checkpoint, validation."""

from __future__ import annotations

import dataclasses
import glob
import os
import shutil
from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from database.datasets import get_dataset
from model import resnet
from tests.tools.toy_runs import (
    NARROW,
    NETWORK,
    csv_rows,
    resnet_values,
    smallest_config,
    tensors_in,
    tiny_config,
    train_with,
    write_checkpoint,
)
from tools.errors import CheckpointError, FlagError, OutOfMemoryError
from tools.flags.train import TrainConfig
from tools.runs.folder import RunFolder, run_folder
from tools.runs.record import ModelRecord
from tools.runs.snapshots import snapshot_steps
from tools.training.attempt import _memory_limits_named
from tools.training.loop import Trainer


@pytest.mark.slow
def test_training_on_dynamic_sizes(tmp_path, toy_dir, narrow_resnet):
    """Two towers, whose batches are of two sizes."""
    config = smallest_config(
        toy_dir, str(tmp_path), gpu_num=2, dynamic_size=True, dynamic_short_sides=(24, 40), dynamic_max_size=80,
        train_image_size=TrainConfig.train_image_size,
    )  # fmt: skip
    folder = train_with(config)
    assert [row["step"] for row in csv_rows(folder)] == [1, 2]
    assert all(0 < row["loss"] < 10 for row in csv_rows(folder))
    assert np.all(np.isfinite(tensors_in(folder.snapshot(2))[f"{NETWORK}/conv1/BatchNorm/moving_variance"]))


@pytest.fixture(scope="module")
def plain(toy_dir, tmp_path_factory):
    """A finished run of two steps of which the last snapshot is kept, not to be changed: (config, folder)."""
    log_dir = tmp_path_factory.mktemp("plain")
    config = smallest_config(toy_dir, str(log_dir), keep=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.NETWORKS, NETWORK, NARROW)
        folder = train_with(config)
    yield config, folder
    shutil.rmtree(log_dir)


@pytest.mark.slow
@pytest.mark.usefixtures("narrow_resnet")
def test_weights_of_classes_reach_the_loss_and_the_record(plain, tmp_path, toy_dir, log_dir):
    path = tmp_path / "weights.txt"
    weights = [3.0] + [0.5] * (get_dataset("Toy").num_classes - 1)
    path.write_text(" ".join(map(str, weights)))
    config = smallest_config(toy_dir, log_dir, class_weights=str(path))
    folder = train_with(config)
    assert ModelRecord.read(folder.snapshots).origin.class_weight_values == tuple(weights)
    weighted, equal = (csv_rows(run)[0]["loss"] for run in (folder, plain[1]))
    assert abs(weighted - equal) > 1e-3
    path.write_text("1 " * len(weights))
    with pytest.raises(FlagError, match="class weights differ from those that .* was started with: .*--class_weights"):
        train_with(dataclasses.replace(config, train_max_iter=3, resume_step=2))


@pytest.fixture(scope="module")
def resumed(tiny_run, tmp_path_factory):
    """The tiny run from its snapshot of step 2 on, in a folder of its own: (config, folder)."""
    log_dir = tmp_path_factory.mktemp("resumed")
    config = dataclasses.replace(tiny_run.config, log_dir=str(log_dir), resume_step=2)
    folder = run_folder(config)
    os.makedirs(folder.snapshots)
    for path in glob.glob(tiny_run.folder.snapshot(2) + ".*"):
        shutil.copy(path, folder.snapshots)
    shutil.copy(tiny_run.folder.csv, folder.csv)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.NETWORKS, NETWORK, NARROW)
        train_with(config)
    yield config, folder
    shutil.rmtree(log_dir)


def test_resumed_run_ends_where_the_uninterrupted_run_ended(tiny_run, resumed):
    """Weights, momentum and running statistics, to 1e-5 of the largest value of each; measured: to the last bit."""
    straight, continued = tensors_in(tiny_run.folder.snapshot(4)), tensors_in(resumed[1].snapshot(4))
    before = tensors_in(tiny_run.folder.snapshot(2))
    assert straight.keys() == continued.keys()
    assert straight["global_step"] == continued["global_step"] == 4
    moved = 0
    for name, value in straight.items():
        bound = 1e-5 * max(np.abs(value).max(), 1e-3)
        np.testing.assert_allclose(continued[name], value, rtol=0, atol=bound, err_msg=name)
        moved += np.abs(value - before[name]).max() > 10 * bound
    assert moved > 0.9 * len(straight)  # or the comparison would show nothing


def test_resumed_run_continues_the_curves(tiny_run, resumed):
    straight, continued = csv_rows(tiny_run.folder), csv_rows(resumed[1])
    assert [row["step"] for row in continued] == [1, 2, 3, 4]
    for name in ("learning_rate", "loss", "auxiliary_loss", "weight_decay", "mean_iou"):
        assert [row[name] for row in continued] == pytest.approx([row[name] for row in straight], rel=1e-4)


def test_resumed_run_is_not_set_aside(resumed):
    config, folder = resumed
    assert os.listdir(os.path.dirname(folder.path)) == [os.path.basename(folder.path)]
    assert {name for name in os.listdir(folder.snapshots) if name.endswith(".index")} == {
        "model.ckpt-2.index", "model.ckpt-4.index"
    }  # fmt: skip


ALPHA, BETA = 100.0, 0.02


@dataclass(frozen=True)
class FineTuned:
    """A run from a ResNet checkpoint with L2-SP, over what an earlier run with the same id had left."""

    folder: RunFolder
    start: dict[str, np.ndarray]  # of the ResNet checkpoint

    def snapshot(self, step: int) -> dict[str, np.ndarray]:
        return tensors_in(self.folder.snapshot(step))

    def weights(self, step: int) -> dict[str, np.ndarray]:
        """Convolution weights in a snapshot, as float64."""
        return {n: x.astype(np.float64) for n, x in self.snapshot(step).items() if n.endswith("/weights")}

    def is_new(self, name: str) -> bool:
        return name not in self.start or "/logits/" in name

    def decay_curve(self) -> dict[int, float]:
        """Weight decay by step, as TensorBoard shows it."""
        [path] = glob.glob(os.path.join(self.folder.path, "events.out.tfevents.*"))
        return {
            event.step: value.simple_value
            for event in tf.train.summary_iterator(path)
            for value in event.summary.value
            if value.tag == "train/weight_decay"
        }


@pytest.fixture(scope="module")
def fine_tuned(toy_dir, tmp_path_factory):
    folder, start = tmp_path_factory.mktemp("fine-tuned"), resnet_values()
    prefix = write_checkpoint(str(folder / "pretrained" / "resnet_v1_18.ckpt"), start)
    config = tiny_config(
        toy_dir, str(folder / "log"), weight_decay_mode=1, weight_decay_rate=ALPHA, weight_decay_rate2=BETA,
        fine_tune_filename=prefix, save_first_iteration=True,
    )  # fmt: skip
    earlier = run_folder(config)
    os.makedirs(earlier.snapshots)
    with open(earlier.snapshot(9) + ".index", "w", encoding="utf-8") as file:
        file.write("earlier")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.NETWORKS, NETWORK, NARROW)
        run = train_with(config)
    yield FineTuned(run, start)
    shutil.rmtree(folder)


def test_run_starts_from_the_resnet(fine_tuned):
    first = fine_tuned.snapshot(0)
    backbone = [name for name in fine_tuned.start if "/logits/" not in name]
    for name in backbone:
        np.testing.assert_array_equal(first[name], fine_tuned.start[name], err_msg=name)
    assert first["resnet_v1_18/logits/weights"].shape == (1, 1, 512, 19)
    assert np.abs(first["resnet_v1_18/logits/weights"]).max() > 0


def test_first_decay_is_only_of_the_new_layers(fine_tuned):
    """w equals w0, so what is left of L2-SP is beta/2 * |w_new|^2."""
    new = [x for name, x in fine_tuned.weights(0).items() if fine_tuned.is_new(name)]
    assert len(new) == 8  # 4 pyramid levels, the 3x3 layers of both heads, both classifiers
    expected = BETA / 2 * sum(np.square(x).sum() for x in new)
    assert fine_tuned.decay_curve()[1] == pytest.approx(expected, rel=1e-6)


def test_second_decay_pulls_towards_the_resnet(fine_tuned):
    weights = fine_tuned.weights(1)
    new = BETA / 2 * sum(np.square(x).sum() for name, x in weights.items() if fine_tuned.is_new(name))
    pull = ALPHA / 2 * sum(np.square(x - fine_tuned.start[name].astype(np.float64)).sum()
                           for name, x in weights.items() if not fine_tuned.is_new(name))  # fmt: skip
    assert pull > 0.01 * new
    assert fine_tuned.decay_curve()[2] == pytest.approx(new + pull, rel=1e-6)


def test_earlier_run_is_set_aside(fine_tuned):
    kept = os.path.join(f"{fine_tuned.folder.path}.earlier-1", "snapshot", "model.ckpt-9.index")
    with open(kept, encoding="utf-8") as file:
        assert file.read() == "earlier"
    assert not os.path.exists(fine_tuned.folder.snapshot(9) + ".index")


@pytest.mark.usefixtures("narrow_resnet")
def test_resnet_of_another_network_is_refused_before_anything_is_moved(toy_dir, log_dir, tmp_path):
    prefix = write_checkpoint(str(tmp_path / "r.ckpt"), resnet_values("resnet_v1_34"))
    config = smallest_config(toy_dir, log_dir, weight_decay_mode=1, fine_tune_filename=prefix)
    earlier = run_folder(config)
    os.makedirs(earlier.snapshot(9))
    with pytest.raises(CheckpointError, match=r"r.ckpt: .*it holds resnet_v1_34.*--network"):
        train_with(config)
    assert os.path.exists(earlier.snapshot(9))


@pytest.mark.slow
@pytest.mark.usefixtures("narrow_resnet")
def test_a_resumed_run_prunes_the_snapshots_from_before(plain, log_dir):
    config, folder = plain
    assert snapshot_steps(folder) == [2]
    shutil.copytree(config.log_dir, log_dir)
    config = dataclasses.replace(config, log_dir=log_dir, resume_step=2, train_max_iter=3)
    assert snapshot_steps(train_with(config)) == [3]


def out_of_memory():
    return tf.errors.ResourceExhaustedError(
        None, None, "OOM when allocating tensor with shape[2,8] and type float on x"
    )


NO_MEMORY = (
    r"^out of memory with 2 crops of 32x32 per tower \(tensor with shape\[2,8\] and type float on x\): "
    r"lower --batch_size or --train_image_size"
)


@pytest.mark.usefixtures("narrow_resnet")
def test_crops_that_do_not_fit_into_memory(toy_dir, log_dir, monkeypatch):
    def steps(self):
        raise out_of_memory()

    monkeypatch.setattr(Trainer, "steps", steps)
    with pytest.raises(OutOfMemoryError, match=f"{NO_MEMORY}, or add --save_memory 1$"):
        train_with(smallest_config(toy_dir, log_dir))


@pytest.mark.parametrize(("size", "shown"), [(32, "32x32"), ("24x32", "24x32")])
def test_saving_memory_is_not_advised_twice(size, shown):
    config = smallest_config("toy", "log", save_memory=True, train_image_size=size)
    words = f"{NO_MEMORY}$".replace("32x32", shown)
    with pytest.raises(OutOfMemoryError, match=words), _memory_limits_named(config):
        raise out_of_memory()
