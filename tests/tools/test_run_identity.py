"""Which run flags and data mean."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from database.datasets import custom_dataset, get_dataset
from database.layouts import Sample
from tests.tools.runs import tiny_config, write_checkpoint
from tools.checkpoint import CheckpointError
from tools.class_weights import ClassWeightsError
from tools.data_checksums import DataChecksums
from tools.dataset_choice import dataset_of_flags
from tools.flags import FlagError, TrainConfig
from tools.model_record import BackboneRecord, ModelRecord
from tools.run_agreement import check_same_run
from tools.run_folder import RunFolder, model_id
from tools.run_identity import FLAGS_IN_IDENTITY, RunIdentity, choose_run
from tools.run_origin import with_class_weights, with_pretrained, with_run_uuid, with_samples

TOY = get_dataset("Toy")


@pytest.fixture
def samples(tmp_path) -> list[Sample]:
    """Two samples in the folder `data`."""
    return samples_in(tmp_path / "data")


def samples_in(folder: Path, names: tuple[str, ...] = ("a", "b"), text: str = "x") -> list[Sample]:
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name in names:
        paths = [str(folder / f"{name}.{kind}") for kind in ("jpg", "png")]
        for path in paths:
            Path(path).write_text(text + name)
        found.append(Sample(name, paths[0], paths[1], TOY.label_map))
    return found


def data_of(samples, data_dir) -> DataChecksums | None:
    return None if samples is None else DataChecksums.of(samples, data_dir)


def config_in(tmp_path, **changes) -> TrainConfig:
    return tiny_config(str(tmp_path / "data"), str(tmp_path / "log"), **changes)


def identity_of(config, samples, dataset=TOY, data_dir=None) -> RunIdentity:
    return RunIdentity.of_command(config, dataset, data_of(samples, data_dir or str(config.data_dir)))


def leave_run(config, samples, dataset=TOY, folder=None, pretrained=None, weights=None) -> RunFolder:
    """What a run leaves: a snapshot (by name) with its record; by default in the folder that is chosen for it."""
    folder = RunFolder(folder) if folder else choose_run(config, dataset, data_of(samples, config.data_dir))
    backbone = None if pretrained is None else BackboneRecord.of_checkpoint(pretrained)
    record = with_samples(ModelRecord.of_run(config, dataset, backbone), data_of(samples, config.data_dir))
    record = with_class_weights(with_run_uuid(record, folder, resumed=False), weights)
    if pretrained is not None:
        record = with_pretrained(record, pretrained)
    for place in (folder.path, folder.snapshots):
        os.makedirs(place, exist_ok=True)
        record.write(place)
    Path(folder.snapshot(1) + ".index").write_text("")
    return folder


OTHER_FLAGS = {
    "seed": 1, "decoder": "c1", "loss_type": "ohem", "optimizer": "adam", "momentum": 0.8, "train_max_iter": 3,
    "batch_size": 4, "bn_decay": 0.99, "float_type": "bf16", "initializer": "xavier", "random_blur": False,
    "gaussian_blur": True, "random_mirror": False, "scale_max": 1.5, "train_image_size": 40, "has_aux_loss": False,
    "upsample_input": 2, "color_switch": True, "output_stride": 16, "network": "resnet_v1_34", "poly_lr": False,
    "new_layer_names": ("psp",), "upsample_logits": False, "train_like_in_caffe": True, "weight_decay_rate2": 0.5,
    "deterministic": True, "resize_grid": "legacy", "input_range": 4095.0, "subsets_for_training": ("train", "val"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER_FLAGS)
def test_flag_that_changes_the_weights_makes_another_run(tmp_path, samples, name):
    config = config_in(tmp_path)
    other = dataclasses.replace(config, **{name: OTHER_FLAGS[name]})
    dataset = dataset_of_flags("Toy", other)
    assert identity_of(other, samples, dataset).digest != identity_of(config, samples).digest
    assert choose_run(other, dataset, data_of(samples, other.data_dir)) != choose_run(
        config, TOY, data_of(samples, config.data_dir)
    )


SAME_RUN = {
    "log_dir": "elsewhere", "snapshot": 7, "snapshot_minutes": 1.0, "val_every": 3, "keep": 2, "show_period": 9,
    "save_memory": True, "log_memory": True, "check_data": "all", "max_bad_files": 3, "test_image_size": 64,
    "mirror": False, "test_max_iter": 1, "data_format": "tfrecord", "on_nan": "rollback", "val_list": "val.txt",
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
    assert choose_run(one, TOY, data_of(samples, one.data_dir)) == choose_run(two, TOY, data_of(samples, two.data_dir))
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


def test_fine_tuning_twice_starts_twice_from_the_same(tmp_path, samples):
    """From a run of the same flags: the second command does not take the result of the first for its start."""
    first = leave_run(config_in(tmp_path), samples)
    for path in Path(first.snapshots).glob("*.index"):
        path.unlink()
    prefix = write_checkpoint(first.snapshot(1), {"w": np.ones(2, np.float32)})
    fine_tuning = config_in(tmp_path, fine_tune_filename=first.path)
    second = choose_run(fine_tuning, TOY, data_of(samples, fine_tuning.data_dir))
    assert second != first
    assert model_id(fine_tuning) in second.path
    leave_run(fine_tuning, samples, pretrained=prefix)
    assert choose_run(fine_tuning, TOY, data_of(samples, fine_tuning.data_dir)) == second


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


def test_name_is_readable_and_ends_with_the_digest(tmp_path, samples):
    config = config_in(tmp_path)
    folder = choose_run(config, TOY, data_of(samples, config.data_dir))
    assert os.path.dirname(folder.path) == os.path.join(config.log_dir, "Toy")
    readable, digest = os.path.basename(folder.path).rsplit("-", 1)
    assert readable == model_id(config)
    assert re.fullmatch("[0-9a-f]{8}", digest)


def test_name_by_the_user(tmp_path, samples):
    config = config_in(tmp_path, run_name="seed 0")
    assert choose_run(config, TOY, data_of(samples, config.data_dir)).path == os.path.join(
        config.log_dir, "Toy", "seed 0"
    )
    for name in ("../x", "", " ", "..", "a/b", "a.earlier-1"):
        with pytest.raises(FlagError, match=f"--run_name '{name}' is no name for a run"):
            dataclasses.replace(config, run_name=name)


CONTINUING = [{"resume_step": 1}, {"resume_step": "latest"}, {"auto_resume": True}, {"eval_only": True}]


@pytest.mark.parametrize("how", CONTINUING)
def test_run_is_found_again(tmp_path, samples, how):
    """With more steps too; scoring does not need the data."""
    config = config_in(tmp_path)
    folder = leave_run(config, samples)
    leave_run(dataclasses.replace(config, seed=1), samples)
    for changes in ({}, {"train_max_iter": 9}, {"gpu_num": 2, "batch_size": 1}):
        again = dataclasses.replace(config, **changes, **how)
        known = None if again.eval_only else samples
        assert choose_run(again, TOY, data_of(known, again.data_dir)) == folder


@pytest.mark.parametrize("how", CONTINUING)
def test_run_of_an_earlier_version_is_found(tmp_path, samples, how):
    """Its folder has no digest in its name; contents of data are not recorded."""
    config = config_in(tmp_path)
    folder = leave_run(config, samples, folder=os.path.join(config.log_dir, "Toy", model_id(config)))
    for place in (folder.path, folder.snapshots):
        path = Path(place, "config.json")
        values = json.loads(path.read_text())
        for name in ("training_contents_sha256", "training_sizes_sha256", "run_uuid", "run_name", "gaussian_blur"):
            del values["flags"][name]
        path.write_text(json.dumps(values))
    again = dataclasses.replace(config, **how)
    assert choose_run(again, TOY, data_of(None if again.eval_only else samples, again.data_dir)) == folder


def test_new_run_is_not_looked_for(tmp_path, samples):
    config = config_in(tmp_path)
    earlier = leave_run(config, samples)
    more_steps = dataclasses.replace(config, train_max_iter=9)
    assert choose_run(more_steps, TOY, data_of(samples, config.data_dir)) != earlier


def test_nearest_run_is_named(tmp_path, samples):
    leave_run(config_in(tmp_path, seed=5, lrn_rate=0.5, loss_type="ohem"), samples)
    near = leave_run(config_in(tmp_path, batch_size=3), samples)
    config = config_in(tmp_path, resume_step="latest", batch_size=4)
    words = rf"{os.path.basename(near.path)}, differs in --batch_size times --gpu_num \(4 here, 3 there\)"
    with pytest.raises(CheckpointError, match=words):
        choose_run(config, TOY, data_of(samples, config.data_dir))
    with pytest.raises(CheckpointError, match=r"--seed \(7 here, 0 there\)"):
        choose_run(config_in(tmp_path, batch_size=3, seed=7, eval_only=True), TOY, data_of(None, config.data_dir))


def test_new_run_begins_beside_others_and_says_so(tmp_path, samples, caplog):
    caplog.set_level("INFO")
    near = leave_run(config_in(tmp_path), samples)
    config = config_in(tmp_path, auto_resume=True, seed=3)
    assert choose_run(config, TOY, data_of(samples, config.data_dir)).path.startswith(os.path.dirname(near.path))
    assert f"nearest, {near.path}, differs in --seed (3 here, 0 there)" in caplog.text


@pytest.mark.parametrize("how", CONTINUING[:3])
def test_changed_data_are_asked_about(tmp_path, samples, how, caplog):
    """Neither continued silently nor begun again; by its name, the run goes on."""
    config = config_in(tmp_path)
    folder = leave_run(config, samples)
    samples_in(tmp_path / "data", text="other")
    again = dataclasses.replace(config, **how)
    name = os.path.basename(folder.path)
    with pytest.raises(FlagError, match=f"contents of the training files have changed .* --run_name {name}"):
        choose_run(again, TOY, data_of(samples, config.data_dir))
    named = dataclasses.replace(again, run_name=name)
    assert choose_run(named, TOY, data_of(samples, config.data_dir)) == folder
    check_same_run(
        folder, dataclasses.replace(named, resume_step=1, auto_resume=False), TOY, data_of(samples, config.data_dir)
    )
    assert f"have changed since {folder.path} was started" in caplog.text


def test_several_runs_fit(tmp_path, samples):
    config = config_in(tmp_path)
    for steps in (5, 6):
        leave_run(dataclasses.replace(config, train_max_iter=steps), samples)
    with pytest.raises(FlagError, match="2 runs have these flags .*--run_name"):
        choose_run(dataclasses.replace(config, train_max_iter=9, resume_step=1), TOY, data_of(samples, config.data_dir))
    exact = dataclasses.replace(config, train_max_iter=6, resume_step=1)
    assert choose_run(exact, TOY, data_of(samples, config.data_dir)).path.endswith(identity_of(exact, samples).digest)


def test_what_is_no_run_is_passed_over(tmp_path, samples, caplog):
    """Runs that were set aside, without snapshots, with a damaged record, and files."""
    config = config_in(tmp_path)
    parent = os.path.join(config.log_dir, "Toy")
    leave_run(config, samples, folder=os.path.join(parent, "old.earlier-1"))
    shutil.rmtree(leave_run(config, samples, folder=os.path.join(parent, "empty")).snapshots)
    damaged = leave_run(config, samples, folder=os.path.join(parent, "damaged"))
    Path(damaged.snapshots, "config.json").write_text("{")
    Path(parent, "notes.txt").write_text("")
    again = dataclasses.replace(config, train_max_iter=9, auto_resume=True)
    assert choose_run(again, TOY, data_of(samples, config.data_dir)).path.endswith(identity_of(again, samples).digest)
    assert "damaged/snapshot/config.json" in caplog.text


def test_checkpoint_of_the_start_is_gone(tmp_path, samples):
    """A run without L2-SP goes on without it."""
    prefix = write_checkpoint(str(tmp_path / "w" / "resnet.ckpt"), {"w": np.ones(2, np.float32)})
    config = config_in(tmp_path, fine_tune_filename=prefix)
    folder = leave_run(config, samples, pretrained=prefix)
    shutil.rmtree(tmp_path / "w")
    again = dataclasses.replace(config, resume_step=1)
    assert choose_run(again, TOY, data_of(samples, config.data_dir)) == folder


def test_own_data_with_class_weights(tmp_path, samples):
    """What a record keeps of weights equals what their file says."""
    (tmp_path / "weights.txt").write_text("1 2.5")
    flags = {"database": "custom", "num_classes": 2, "class_weights": str(tmp_path / "weights.txt")}
    config = config_in(tmp_path, **flags)
    dataset = custom_dataset(2)
    folder = leave_run(config, samples, dataset, weights=(1.0, 2.5))
    more = dataclasses.replace(config, train_max_iter=8, resume_step=1)
    assert choose_run(more, dataset, data_of(samples, config.data_dir)) == folder
    (tmp_path / "weights.txt").write_text("1 3")
    with pytest.raises(CheckpointError, match="differs in --class_weights"):
        choose_run(more, dataset, data_of(samples, config.data_dir))


@pytest.mark.parametrize(("batch_size", "gpu_num"), [(1, 2), (2, 1)])
def test_batch_shared_out_otherwise_is_resumed(tmp_path, samples, batch_size, gpu_num, caplog):
    caplog.set_level("INFO")
    config = config_in(tmp_path, batch_size=2, gpu_num=1)
    folder = leave_run(config, samples)
    again = dataclasses.replace(config, batch_size=batch_size, gpu_num=gpu_num, resume_step=1)
    check_same_run(folder, again, TOY, data_of(samples, config.data_dir))
    assert ("before 1 x 2: equal" in caplog.text) == (gpu_num == 2)
    with pytest.raises(FlagError, match="--batch_size is 3"):
        check_same_run(
            folder, dataclasses.replace(again, batch_size=3, gpu_num=1), TOY, data_of(samples, config.data_dir)
        )


def test_folder_without_snapshots_does_not_hide_the_run(tmp_path, samples):
    """As a start with more steps leaves it that was killed before its first snapshot."""
    config = config_in(tmp_path)
    folder = leave_run(config, samples)
    more = dataclasses.replace(config, train_max_iter=9, auto_resume=True)
    os.makedirs(os.path.join(config.log_dir, "Toy", f"{model_id(more)}-{identity_of(more, samples).digest}"))
    assert choose_run(more, TOY, data_of(samples, config.data_dir)) == folder


def test_checkpoint_of_the_start_was_replaced(tmp_path, samples):
    """By one of another network: a run without L2-SP goes on, as nothing is read from there."""
    prefix = write_checkpoint(str(tmp_path / "w" / "resnet.ckpt"), {"w": np.ones(2, np.float32)})
    config = config_in(tmp_path, fine_tune_filename=prefix)
    folder = leave_run(config, samples, pretrained=prefix)
    write_checkpoint(prefix, {"w": np.zeros(2, np.float32)})
    for record in (BackboneRecord("resnet_v1_34"), BackboneRecord("resnet_v1_18", color_switch=True)):
        record.write(str(tmp_path / "w"))
        again = dataclasses.replace(config, resume_step=1)
        assert choose_run(again, TOY, data_of(samples, config.data_dir)) == folder


def test_scoring_may_name_the_run(tmp_path, samples):
    near = leave_run(config_in(tmp_path), samples)
    config = config_in(tmp_path, seed=3, eval_only=True)
    name = os.path.basename(near.path)
    with pytest.raises(CheckpointError, match=f"or --run_name {name}$"):
        choose_run(config, TOY, data_of(None, config.data_dir))
    assert choose_run(dataclasses.replace(config, run_name=name), TOY, data_of(None, config.data_dir)) == near
