"""Which run in the log folder flags and data mean."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from database.datasets import custom_dataset
from database.layouts import Sample
from tests.tools.command_lines import parse
from tests.tools.left_runs import TOY, chosen, config_in, data_of, identity_of, leave_run, samples_in
from tests.tools.toy_runs import NETWORK, write_checkpoint
from tools.errors import CheckpointError, FlagError
from tools.runs.agreement import check_same_run
from tools.runs.folder import model_id
from tools.runs.record import BackboneRecord


@pytest.fixture
def samples(tmp_path) -> list[Sample]:
    """Two samples in the folder `data`."""
    return samples_in(tmp_path / "data")


def test_name_is_readable_and_ends_with_the_digest(tmp_path, samples):
    config = config_in(tmp_path)
    folder = chosen(config, samples)
    assert os.path.dirname(folder.path) == os.path.join(config.log_dir, "Toy")
    readable, digest = os.path.basename(folder.path).rsplit("-", 1)
    assert readable == model_id(config)
    assert re.fullmatch("[0-9a-f]{8}", digest)


def test_name_by_the_user(tmp_path, samples):
    config = config_in(tmp_path, run_name="seed 0")
    assert chosen(config, samples).path == os.path.join(config.log_dir, "Toy", "seed 0")
    for name in ("../x", "", " ", "..", "a/b", "a.earlier-", ".earlier-1"):
        with pytest.raises(FlagError, match=f"--run_name '{name}' is not a name for a run"):
            dataclasses.replace(config, run_name=name)
    with pytest.raises(FlagError, match="--run_name 'a.earlier-1' .* set aside: .*rename its folder.* --run_name a-1$"):
        chosen(config_in(tmp_path, run_name="a.earlier-1"), samples)


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
        assert chosen(again, known) == folder


@pytest.mark.parametrize("how", CONTINUING)
def test_run_of_an_earlier_version_is_found(tmp_path, samples, how):
    """Its folder has no digest in its name; contents of data are not recorded."""
    config = config_in(tmp_path)
    folder = leave_run(config, samples, folder=os.path.join(config.log_dir, "Toy", model_id(config)))
    for place in (folder.path, folder.snapshots):
        path = Path(place, "config.json")
        values = json.loads(path.read_text())
        for name in ("training_contents_sha256", "training_sizes_sha256", "run_uuid"):
            del values["origin"][name]
        for name in ("run_name", "gaussian_blur"):
            del values["flags"][name]
        values["flags"] |= values.pop("origin")
        del values["version"]
        path.write_text(json.dumps(values))
    again = dataclasses.replace(config, **how)
    assert chosen(again, None if again.eval_only else samples) == folder


def test_new_run_is_not_looked_for(tmp_path, samples):
    config = config_in(tmp_path)
    earlier = leave_run(config, samples)
    more_steps = dataclasses.replace(config, train_max_iter=9)
    assert chosen(more_steps, samples) != earlier


def test_nearest_run_is_named(tmp_path, samples):
    leave_run(config_in(tmp_path, seed=5, lrn_rate=0.5, loss_type="ohem"), samples)
    near = leave_run(config_in(tmp_path, batch_size=3), samples)
    config = config_in(tmp_path, resume_step="latest", batch_size=4)
    words = rf"{os.path.basename(near.path)}, differs in --batch_size times --gpu_num \(4 here, 3 there\)"
    with pytest.raises(CheckpointError, match=words):
        chosen(config, samples)
    with pytest.raises(CheckpointError, match=r"--seed \(7 here, 0 there\)"):
        chosen(config_in(tmp_path, batch_size=3, seed=7, eval_only=True), None)


def test_new_run_begins_beside_others_and_logs_it(tmp_path, samples, caplog):
    caplog.set_level("INFO")
    near = leave_run(config_in(tmp_path), samples)
    config = config_in(tmp_path, auto_resume=True, seed=3)
    assert chosen(config, samples).path.startswith(os.path.dirname(near.path))
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
        chosen(again, samples)
    named = dataclasses.replace(again, run_name=name)
    assert chosen(named, samples) == folder
    check_same_run(
        folder, dataclasses.replace(named, resume_step=1, auto_resume=False), TOY, data_of(samples, config.data_dir)
    )
    assert f"have changed since {folder.path} was started" in caplog.text


def test_several_runs_fit(tmp_path, samples):
    config = config_in(tmp_path)
    for steps in (5, 6):
        leave_run(dataclasses.replace(config, train_max_iter=steps), samples)
    with pytest.raises(FlagError, match="2 runs have these flags .*--run_name"):
        chosen(dataclasses.replace(config, train_max_iter=9, resume_step=1), samples)
    exact = dataclasses.replace(config, train_max_iter=6, resume_step=1)
    assert chosen(exact, samples).path.endswith(identity_of(exact, samples).digest)


def test_what_is_no_run_is_skipped(tmp_path, samples, caplog):
    """Runs that were set aside, without snapshots, with a damaged record, and files."""
    config = config_in(tmp_path)
    parent = os.path.join(config.log_dir, "Toy")
    leave_run(config, samples, folder=os.path.join(parent, "old.earlier-1"))
    shutil.rmtree(leave_run(config, samples, folder=os.path.join(parent, "empty")).snapshots)
    damaged = leave_run(config, samples, folder=os.path.join(parent, "damaged"))
    Path(damaged.snapshots, "config.json").write_text("{")
    Path(parent, "notes.txt").write_text("")
    again = dataclasses.replace(config, train_max_iter=9, auto_resume=True)
    assert chosen(again, samples).path.endswith(identity_of(again, samples).digest)
    assert "damaged/snapshot/config.json" in caplog.text


def test_checkpoint_of_the_start_is_gone(tmp_path, samples):
    """A run without L2-SP goes on without it."""
    prefix = write_checkpoint(str(tmp_path / "w" / "resnet.ckpt"), {"w": np.ones(2, np.float32)})
    config = config_in(tmp_path, fine_tune_filename=prefix)
    folder = leave_run(config, samples, pretrained=prefix)
    shutil.rmtree(tmp_path / "w")
    again = dataclasses.replace(config, resume_step=1)
    assert chosen(again, samples) == folder


def test_among_equally_near_runs_the_one_with_the_same_files_is_named(tmp_path, samples):
    """Whichever run is found first."""
    dataset, runs = custom_dataset(2), {}
    for number, name in enumerate("abc", start=2):
        path = tmp_path / f"{name}.txt"
        path.write_text(f"1\n{number}\n")
        flags = {"database": "custom", "num_classes": 2, "class_weights": str(path)}
        runs[str(path)] = leave_run(config_in(tmp_path, **flags), samples, dataset, weights=(1.0, float(number)))
    for path, folder in runs.items():
        content = Path(path).read_text()
        Path(path).write_text("1\n9\n")
        again = config_in(tmp_path, **{**flags, "class_weights": path}, resume_step=1)
        name = os.path.basename(folder.path)
        with pytest.raises(CheckpointError, match=rf"nearest, {name}, differs in --class_weights \(1.0,9.0 here"):
            chosen(again, samples, dataset)
        Path(path).write_text(content)


def test_own_data_with_class_weights(tmp_path, samples):
    """What a record keeps of weights equals what their file says."""
    (tmp_path / "weights.txt").write_text("1 2.5")
    flags = {"database": "custom", "num_classes": 2, "class_weights": str(tmp_path / "weights.txt")}
    config = config_in(tmp_path, **flags)
    dataset = custom_dataset(2)
    folder = leave_run(config, samples, dataset, weights=(1.0, 2.5))
    more = dataclasses.replace(config, train_max_iter=8, resume_step=1)
    assert chosen(more, samples, dataset) == folder
    (tmp_path / "weights.txt").write_text("1 3")
    with pytest.raises(CheckpointError, match=r"differs in --class_weights \(1.0,3.0 here, 1.0,2.5 there\)"):
        chosen(more, samples, dataset)


@pytest.mark.parametrize(("batch_size", "gpu_num"), [(1, 2), (2, 1)])
def test_batch_shared_out_otherwise_is_resumed(tmp_path, samples, batch_size, gpu_num, caplog):
    caplog.set_level("INFO")
    config = config_in(tmp_path, batch_size=2, gpu_num=1)
    folder = leave_run(config, samples)
    again = dataclasses.replace(config, batch_size=batch_size, gpu_num=gpu_num, resume_step=1)
    check_same_run(folder, again, TOY, data_of(samples, config.data_dir))
    assert ("instead of 1 x 2 " in caplog.text) == (gpu_num == 2)
    with pytest.raises(FlagError, match="--batch_size is 3"):
        check_same_run(
            folder, dataclasses.replace(again, batch_size=3, gpu_num=1), TOY, data_of(samples, config.data_dir)
        )


def test_towers_that_are_normalized_alone_stay_as_they_are(tmp_path, samples):
    config = config_in(tmp_path, batch_size=4, gpu_num=2, sync_bn=False)
    folder = leave_run(config, samples)
    again = dataclasses.replace(config, resume_step=1)
    check_same_run(folder, again, TOY, data_of(samples, config.data_dir))
    others = dataclasses.replace(again, batch_size=2, gpu_num=4)
    with pytest.raises(FlagError, match=r"--batch_size is 2, --gpu_num is 4"):
        check_same_run(folder, others, TOY, data_of(samples, config.data_dir))
    with pytest.raises(CheckpointError, match=r"differs in --gpu_num \(4 here, 2 there\)"):
        chosen(others, samples)


def test_folder_without_snapshots_does_not_hide_the_run(tmp_path, samples):
    """As a start with more steps leaves it that was killed before its first snapshot."""
    config = config_in(tmp_path)
    folder = leave_run(config, samples)
    more = dataclasses.replace(config, train_max_iter=9, auto_resume=True)
    os.makedirs(os.path.join(config.log_dir, "Toy", f"{model_id(more)}-{identity_of(more, samples).digest}"))
    assert chosen(more, samples) == folder


def test_checkpoint_of_the_start_was_replaced(tmp_path, samples):
    """By one of another network: a run without L2-SP goes on, as nothing is read from there."""
    prefix = write_checkpoint(str(tmp_path / "w" / "resnet.ckpt"), {"w": np.ones(2, np.float32)})
    config = config_in(tmp_path, fine_tune_filename=prefix)
    folder = leave_run(config, samples, pretrained=prefix)
    write_checkpoint(prefix, {"w": np.zeros(2, np.float32)})
    for record in (BackboneRecord("resnet_v1_34"), BackboneRecord("resnet_v1_18", color_switch=True)):
        record.write(str(tmp_path / "w"))
        again = dataclasses.replace(config, resume_step=1)
        assert chosen(again, samples) == folder


def test_scoring_may_name_the_run(tmp_path, samples):
    near = leave_run(config_in(tmp_path), samples)
    config = config_in(tmp_path, seed=3, eval_only=True)
    name = os.path.basename(near.path)
    with pytest.raises(CheckpointError, match=f"or --run_name {name}$"):
        chosen(config, None)
    assert chosen(dataclasses.replace(config, run_name=name), None) == near


def test_runs_that_differ_in_their_list_are_scored_by_the_name_that_is_advised(tmp_path, samples, monkeypatch):
    """The command of training with --eval_only 1 asks for --run_name, and takes it."""
    line = (
        f"--database custom --num_classes 19 --network {NETWORK} --fine_tune_filename none --weight_decay_mode 0 "
        f"--data_dir {tmp_path}/data --log_dir {tmp_path}/log --val_list v.txt --val_every 2 --seed 3"
    )
    names = {}
    for number, listed in enumerate((samples, samples[:1])):
        folder = leave_run(parse(f"{line} --train_list {number}.txt"), listed)
        names[os.path.basename(folder.path)] = folder
    assert len(names) == 2
    scoring = f"{line} --train_list 1.txt --eval_only 1"
    with pytest.raises(FlagError, match="2 runs have these flags .*--run_name") as caught:
        chosen(parse(scoring), None)
    for name, folder in names.items():
        assert name in str(caught.value)
        assert chosen(parse(f"{scoring} --run_name {name}"), None) == folder
