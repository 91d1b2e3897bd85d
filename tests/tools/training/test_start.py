"""Where the weights of a run come from."""

from __future__ import annotations

import dataclasses
import glob
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from database.datasets import Dataset, find_samples, get_dataset
from model import resnet
from model.architecture import Architecture
from tests.tools.toy_runs import (
    NARROW,
    NETWORK,
    csv_rows,
    tensors_in,
    tiny_config,
    toy_record,
    train_run,
    train_with,
    write_checkpoint,
    write_random_pspnet,
)
from tools.download.sources import Source, find_source
from tools.errors import CheckpointError, FlagError
from tools.flags.choices import NETWORKS
from tools.flags.train import TrainConfig
from tools.prediction.provenance import Provenance
from tools.runs.folder import run_folder
from tools.runs.record import ModelRecord
from tools.runs.run_origin import RunOrigin
from tools.training.loop import Trainer
from tools.training.samples import RunData
from tools.training.start import default_checkpoint, pretrained_checkpoint


def test_pretrained_checkpoint_by_flags(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = {"a": np.zeros(1, np.float32)}
    default = write_checkpoint("./z_pretrained_weights/resnet_v1_101.ckpt", values)
    other = write_checkpoint(str(tmp_path / "other.ckpt"), values)
    assert pretrained_checkpoint(TrainConfig(batch_size=2, network="resnet_v1_101")) == default
    assert pretrained_checkpoint(TrainConfig(batch_size=2, fine_tune_filename=other)) == other
    for name in ("none", "None"):
        config = TrainConfig(batch_size=2, fine_tune_filename=name, weight_decay_mode=0)
        assert pretrained_checkpoint(config) is None


@pytest.mark.parametrize(("filename", "named"), [(None, "resnet_v1_50.ckpt"), ("mine.ckpt", "mine.ckpt")])
def test_missing_pretrained_checkpoint(tmp_path, monkeypatch, filename, named):
    monkeypatch.chdir(tmp_path)
    words = f"{named}: there is no such checkpoint.*: give .* --fine_tune_filename.*, or .*--fine_tune_filename none"
    with pytest.raises(CheckpointError, match=words) as caught:
        pretrained_checkpoint(TrainConfig(batch_size=2, fine_tune_filename=filename))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("network", NETWORKS)
def test_missing_pretrained_checkpoint_and_where_to_get_it(network, tmp_path, monkeypatch):
    """The command in the message fetches that network to the missing path."""
    monkeypatch.chdir(tmp_path)
    config = TrainConfig(network=network)
    with pytest.raises(CheckpointError) as caught:
        pretrained_checkpoint(config)
    fetched = re.search(r"python -m tools\.download (\S+)", str(caught.value))
    if fetched is None:
        assert network not in ("resnet_v1_50", "resnet_v1_101", "resnet_v1_152")
        assert "--fine_tune_filename (python -m tools.convert " in str(caught.value)
        return
    source = find_source(fetched.group(1))
    assert isinstance(source, Source)
    assert (source.name, source.place) == (network, default_checkpoint(config))


CLASSIFIERS = tuple(f"{NETWORK}/{scope}/{kind}" for scope in ("logits", "aux_logits") for kind in ("weights", "biases"))
LAYER_VARIABLES = {"weights", "biases", "gamma", "beta", "moving_mean", "moving_variance"}


@pytest.fixture(scope="module")
def first_stage(toy_dir, tmp_path_factory):
    """Prefix of a snapshot of a run on the generated scenes, with its record; not to be changed."""
    log_dir = tmp_path_factory.mktemp("first-stage")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.NETWORKS, NETWORK, NARROW)
        yield train_with(tiny_config(toy_dir, str(log_dir), train_max_iter=1)).snapshot(1)
    shutil.rmtree(log_dir)


def start_of(config: TrainConfig, dataset: Dataset) -> dict[str, np.ndarray]:
    """Every layer of a run before its first step."""
    folder = run_folder(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "steps", lambda trainer: iter(()))
        samples = find_samples(dataset, config.data_dir, ["train"])
        first_saved = dataclasses.replace(config, save_first_iteration=True)
        train_run(first_saved, RunData.of(dataset, config.data_dir, samples), folder)
    values = tensors_in(folder.snapshot(0))
    assert values["global_step"] == 0
    return {name: value for name, value in values.items() if name.rsplit("/", 1)[-1] in LAYER_VARIABLES}


def own_copy(names: tuple[str, ...]) -> Dataset:
    """The generated scenes with other names of the classes."""
    return dataclasses.replace(get_dataset("Toy"), class_names=names)


def test_classifiers_of_other_classes_are_left_new(narrow_resnet, first_stage, toy_dir, tmp_path, caplog):
    caplog.set_level("INFO")
    toy = get_dataset("Toy").class_names
    config = tiny_config(toy_dir, str(tmp_path / "log" / "second"), fine_tune_filename=first_stage, seed=5)
    after, before = start_of(config, own_copy((*toy[:3], "hedge", *toy[4:]))), tensors_in(first_stage)
    assert {name for name in after if not np.array_equal(after[name], before[name])} == set(CLASSIFIERS)
    for name in CLASSIFIERS:  # as He et al. draw them
        he = 0 if name.endswith("biases") else (2 / after[name].shape[2]) ** 0.5
        assert after[name].std() == pytest.approx(he, rel=0.1), name
    lines = [line for line in caplog.messages if "other classes" in line]
    assert lines == [
        f"{first_stage} has other classes ('{toy[3]}' where this run has 'hedge'), so its classifiers are not used"
    ]


@pytest.mark.parametrize("recorded", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_classifiers_are_taken(narrow_resnet, first_stage, toy_dir, tmp_path, caplog, recorded):
    """Where the classes are the recorded ones, and without a record whatever they are.

    Taken are backbone, pyramid, classifiers and statistics, though another seed would draw other heads; no momentum.
    """
    caplog.set_level("INFO")
    dataset = get_dataset("Toy") if recorded else own_copy(tuple(f"class_{i}" for i in range(19)))
    if not recorded:
        for path in glob.glob(f"{first_stage}.*"):
            shutil.copy(path, tmp_path)
        first_stage = str(tmp_path / os.path.basename(first_stage))
    config = tiny_config(toy_dir, str(tmp_path / "log" / "second"), fine_tune_filename=first_stage, seed=5)
    after, before = start_of(config, dataset), tensors_in(first_stage)
    for part in ("block4", "psp", "logits", "aux"):
        assert any(f"/{part}" in name for name in after), part
    assert after.keys() == {name for name in before if name.rsplit("/", 1)[-1] in LAYER_VARIABLES}
    for name, value in after.items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)
    assert not [line for line in caplog.messages if "other classes" in line]


@pytest.mark.slow
def test_statistics_that_are_kept_have_to_be_there(narrow_resnet, first_stage, toy_dir, tmp_path):
    """With --bn_frozen all, which a head of other widths lacks."""
    flags = {"fine_tune_filename": first_stage, "bn_frozen": "all", "batch_size": 1}
    start_of(tiny_config(toy_dir, str(tmp_path / "log" / "second"), **flags), get_dataset("Toy"))
    config = tiny_config(toy_dir, str(tmp_path / "log" / "third"), **flags, head_depth=24)
    words = rf"--bn_frozen all .* has none of '{NETWORK}/block4/unit_2': start from .*, or give --bn_frozen 1"
    with pytest.raises(CheckpointError, match=words):
        start_of(config, get_dataset("Toy"))


@pytest.mark.slow
def test_new_layers_by_name_are_the_only_new_ones(narrow_resnet, first_stage, toy_dir, tmp_path):
    """Who names the new layers decides about the classifiers as well."""
    config = tiny_config(
        toy_dir, str(tmp_path / "log" / "second"), fine_tune_filename=first_stage, seed=5, new_layer_names=("psp",)
    )
    after, before = start_of(config, own_copy(tuple(f"class_{i}" for i in range(19)))), tensors_in(first_stage)
    changed = {name for name in after if not np.array_equal(after[name], before[name])}
    assert changed
    assert all(name.startswith(f"{NETWORK}/psp/") for name in changed)


@pytest.mark.slow
def test_start_from_the_run_of_the_same_id_that_is_set_aside(narrow_resnet, toy_dir, log_dir, tmp_path, monkeypatch):
    """With L2-SP, which reads its w0 again when the run is resumed: from where the checkpoint is then.

    The predictions of the run that is set aside go with it.
    """
    monkeypatch.chdir(tmp_path)
    config = tiny_config(toy_dir, log_dir, weight_decay_mode=1, fine_tune_filename="", save_first_iteration=True)
    earlier = run_folder(config)
    config = dataclasses.replace(config, fine_tune_filename=earlier.path)
    write_random_pspnet(earlier.snapshot(1), Architecture(NETWORK, 19))
    record = toy_record(config)
    dataclasses.replace(record, origin=RunOrigin(run_uuid="earlier")).write(earlier.snapshots)
    results = Path("val_set", "Toy", os.path.basename(earlier.path), "step1-ms0")
    Provenance({"run_uuid": "earlier", "run": os.path.basename(earlier.path)}).write(str(results))
    folder = train_with(config)
    assert not results.exists()
    assert os.listdir(f"{results.parent}.earlier-1") == ["step1-ms0"]
    assert ModelRecord.read(folder.snapshots).origin.run_uuid not in (None, "earlier")
    assert folder == earlier
    aside = os.path.join(f"{folder.path}.earlier-1", "snapshot", "model.ckpt-1")
    before, after = tensors_in(aside), tensors_in(folder.snapshot(0))
    for name in before:
        if name.rsplit("/", 1)[-1] in LAYER_VARIABLES:
            np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    for place in (folder.path, folder.snapshots):
        assert ModelRecord.read(place).origin.pretrained_prefix == aside

    resume = dataclasses.replace(config, resume_step=1)
    with pytest.raises(FlagError, match=f"model.ckpt-2 is not the checkpoint .* was started from, {aside}, and"):
        train_with(resume)
    decay = [row["weight_decay"] for row in csv_rows(folder)]
    words = f"absent: there is no such .* began with, which was {aside}, .*--fine_tune_filename"
    with pytest.raises(CheckpointError, match=words):
        train_with(dataclasses.replace(resume, fine_tune_filename="absent"))
    train_with(dataclasses.replace(resume, fine_tune_filename=aside))
    assert [row["weight_decay"] for row in csv_rows(folder)] == pytest.approx(decay, rel=1e-5)
    assert ModelRecord.read(folder.path).origin.pretrained_prefix == aside
