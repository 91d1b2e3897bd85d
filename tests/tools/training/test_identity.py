"""What makes a run another run."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from database.layouts import Sample
from tests.tools.command_lines import parse
from tests.tools.left_runs import TOY, chosen, config_in, identity_of, leave_run, samples_in
from tests.tools.toy_runs import write_checkpoint
from tools.errors import CheckpointError, ClassWeightsError
from tools.flags.chosen_dataset import dataset_of_flags
from tools.flags.sizes import crop_size
from tools.flags.train import TrainConfig
from tools.runs.folder import model_id
from tools.training.identity import FLAGS_IN_IDENTITY, RunIdentity


@pytest.fixture
def samples(tmp_path) -> list[Sample]:
    """Two samples in the folder `data`."""
    return samples_in(tmp_path / "data")


OTHER_FLAGS = {
    "seed": 1, "decoder": "c1", "loss_type": "ohem", "optimizer": "adam", "momentum": 0.8, "train_max_iter": 3,
    "label_smoothing": 0.1, "batch_size": 4, "bn_decay": 0.99, "float_type": "bf16", "initializer": "xavier",
    "random_blur": False, "gaussian_blur": True, "random_mirror": False, "scale_max": 1.5, "train_image_size": 40,
    "upsample_input": 2, "color_switch": True, "output_stride": 16, "network": "resnet_v1_34", "poly_lr": False,
    "new_layer_names": ("psp",), "upsample_logits": False, "train_like_in_caffe": True, "weight_decay_rate2": 0.5,
    "deterministic": True, "resize_grid": "legacy", "has_aux_loss": False, "input_range": 4095.0,
    "subsets_for_training": ("train", "val"), "filter_scale": 0.5, "encoder_blocks": 3,
    "class_crops": 0.5, "class_mix": 0.5, "color_jitter": 0.5, "cutout": 0.5, "repeat_rare": 0.5,
    "aux_weight": 0.2, "pyramid_depth": 8, "head_depth": 8, "auxiliary_depth": 8,
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER_FLAGS)
def test_flag_that_changes_the_weights_makes_another_run(tmp_path, samples, name):
    config = config_in(tmp_path)
    other = dataclasses.replace(config, **{name: OTHER_FLAGS[name]})
    dataset = dataset_of_flags("Toy", other)
    assert identity_of(other, samples, dataset).digest != identity_of(config, samples).digest
    assert chosen(other, samples, dataset) != chosen(config, samples)


SAME_RUN = {
    "log_dir": "elsewhere", "snapshot": 7, "snapshot_minutes": 1.0, "val_every": 3, "keep": 2, "show_period": 9,
    "save_memory": True, "log_memory": True, "check_data": "all", "max_bad_files": 3, "test_image_size": 64,
    "mirror": False, "test_max_iter": 1, "data_format": "tfrecord", "on_nan": "rollback", "val_list": "val.txt",
    "quiet": True,
}  # fmt: skip


@pytest.mark.parametrize("name", SAME_RUN)
def test_flag_that_does_not_change_the_weights(tmp_path, samples, name):
    config = config_in(tmp_path)
    other = dataclasses.replace(config, **{name: SAME_RUN[name]}) if name != "val_list" else config
    assert identity_of(other, samples) == identity_of(config, samples)


def test_every_flag_is_looked_at():
    """A flag added later is part of the identity unless somebody says otherwise."""
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    assert set(FLAGS_IN_IDENTITY) < fields
    assert {"seed", "loss_type", "optimizer", "train_max_iter", "float_type"} < set(FLAGS_IN_IDENTITY)
    assert not {"log_dir", "data_dir", "run_name", "eval_only", "keep"} & set(FLAGS_IN_IDENTITY)


def test_towers_share_out_one_batch(tmp_path, samples):
    one, two = (config_in(tmp_path, batch_size=batch, gpu_num=towers) for batch, towers in ((4, 1), (2, 2)))
    assert identity_of(one, samples).digest == identity_of(two, samples).digest
    assert chosen(one, samples) == chosen(two, samples)
    alone = [config_in(tmp_path, batch_size=size, gpu_num=8 // size, sync_bn=False) for size in (2, 4)]
    whole = config_in(tmp_path, batch_size=8, gpu_num=1)
    assert len({identity_of(config, samples).digest for config in (*alone, whole)}) == 3
    with_sizes = {"dynamic_size": True, "train_image_size": TrainConfig.train_image_size}
    one, two = (dataclasses.replace(config, **with_sizes) for config in (one, two))
    assert identity_of(one, samples).digest != identity_of(two, samples).digest


def test_data(tmp_path, samples):
    config = config_in(tmp_path)
    known = identity_of(config, samples).digest
    copy = samples_in(tmp_path / "copy")
    assert identity_of(config, copy, data_dir=str(tmp_path / "copy")).digest == known
    assert identity_of(config, samples[::-1]).digest != known  # drawn in another order
    assert identity_of(config, samples[:1]).digest != known
    other = samples_in(tmp_path / "other", text="yy")
    assert identity_of(config, other, data_dir=str(tmp_path / "other")).digest != known


def test_classes(tmp_path, samples):
    config = config_in(tmp_path)
    known = identity_of(config, samples).digest
    changes = (
        {"label_map": {**TOY.label_map, 0: 3}},
        {"class_names": ("hedge", *TOY.class_names[1:])},
        {"image_mean": (1.0, 2.0, 3.0)},
    )
    digests = {identity_of(config, samples, dataclasses.replace(TOY, **change)).digest for change in changes}
    assert len(digests | {known}) == 4
    assert identity_of(config, samples, dataclasses.replace(TOY, label_map=dict(reversed(TOY.label_map.items()))))


def test_class_weights_by_their_numbers(tmp_path, samples):
    path = tmp_path / "weights.txt"
    path.write_text("2 " * 19)
    config = config_in(tmp_path, class_weights=str(path))
    first = identity_of(config, samples).digest
    shutil.copy(path, tmp_path / "copy.txt")
    assert identity_of(dataclasses.replace(config, class_weights=str(tmp_path / "copy.txt")), samples).digest == first
    path.write_text("3 " * 19)
    others = {identity_of(config, samples).digest, identity_of(config_in(tmp_path), samples).digest}
    others.add(identity_of(config_in(tmp_path, class_weights="median_freq"), samples).digest)
    assert len(others | {first}) == 4
    path.write_text("3")
    with pytest.raises(ClassWeightsError, match="weights.txt"):
        identity_of(config, samples)


def test_weights_of_many_classes_are_shortened_in_messages():
    one, two = (RunIdentity({"class_weights": [weight] * 150}) for weight in (0.25, 0.75))
    difference = one.difference("class_weights", two)
    assert difference.startswith("--class_weights (0.25,0.25,")
    assert len(difference) < 160


def test_fine_tuning_twice_starts_twice_from_the_same(tmp_path, samples):
    """From a run of the same flags: the second command does not take the result of the first for its start."""
    first = leave_run(config_in(tmp_path), samples)
    for path in Path(first.snapshots).glob("*.index"):
        path.unlink()
    prefix = write_checkpoint(first.snapshot(1), {"w": np.ones(2, np.float32)})
    fine_tuning = config_in(tmp_path, fine_tune_filename=first.path)
    second = chosen(fine_tuning, samples)
    assert second != first
    assert model_id(fine_tuning) in second.path
    leave_run(fine_tuning, samples, pretrained=prefix)
    assert chosen(fine_tuning, samples) == second


def test_checkpoint_to_start_from(tmp_path, samples):
    """By its contents: another one at the same path makes another run, a copy at another path does not."""
    prefix = write_checkpoint(str(tmp_path / "w" / "resnet.ckpt"), {"w": np.ones(2, np.float32)})
    copy = write_checkpoint(str(tmp_path / "v" / "other.ckpt"), {"w": np.ones(2, np.float32)})
    config = config_in(tmp_path, fine_tune_filename=prefix)
    known = identity_of(config, samples).digest
    assert identity_of(dataclasses.replace(config, fine_tune_filename=copy), samples).digest == known
    write_checkpoint(prefix, {"w": np.zeros(2, np.float32)})
    assert identity_of(config, samples).digest != known
    with pytest.raises(CheckpointError, match="absent.ckpt"):
        identity_of(dataclasses.replace(config, fine_tune_filename="absent.ckpt"), samples)


# Runs on disk are found by these digits: a change leaves them without a command that resumes them.
DIGESTS = {
    "": "ec598658",
    "--lrn_rate 0.1 --seed 3": "8aaa731c",
    "--train_max_iter 5 --batch_size 4 --gpu_num 2": "ea36d6d1",
    "--decoder c1 --network resnet_v1_18 --color_switch 1": "4db5cc95",
    "--dynamic_size 1 --random_rotate 0 --gpu_num 4": "c371efb3",
    "--loss_type ohem --deterministic 1 --poly_lr 0 --lr_step 3,4": "896958e9",
    "--loss_type ce": "ec598658",
    "--loss_type normal --label_smoothing 0": "ec598658",
    "--train_image_size 480x480 --test_image_size 360x480": "ec598658",
    "--keep 2 --val_every 3 --test_image_size 320 --save_memory 1 --on_nan rollback": "ec598658",
    "--upsample_input 2 --class_weights median_freq --bn_decay 0.5": "cc0f0a89",
}


def test_equal_losses_are_one_run():
    lines = ("ce+0.5*dice", "normal+.50*Dice", "0.5*dice+1*ce"), ("ce+0.5*lovasz",), ("ce",)
    start = "--database Toy --fine_tune_filename none --weight_decay_mode 0 --loss_type"
    configs = [[parse(f"{start} {loss}") for loss in losses] for losses in lines]
    digests = [{RunIdentity.of_command(config, TOY, None).digest for config in row} for row in configs]
    assert [len(row) for row in digests] == [1, 1, 1]
    assert len(set.union(*digests)) == 3


def test_a_rectangle_makes_another_run(tmp_path, samples):
    """Its sides count in their order; a square has the same run however it is written."""
    sizes = [crop_size(text) for text in ("40", "40x40", "40x56", "56x40", "56", "40X56")]
    folders = [chosen(config_in(tmp_path, train_image_size=size), samples).path for size in sizes]
    assert [folders.index(folder) for folder in folders] == [0, 0, 2, 3, 4, 2]
    assert "resnet_v1_18-40x56-train-" in folders[2]


@pytest.mark.parametrize("line", DIGESTS)
def test_digests_do_not_change(line):
    config = parse(f"--database Toy --fine_tune_filename none --weight_decay_mode 0 {line}")
    assert RunIdentity.of_command(config, TOY, None).digest == DIGESTS[line]
