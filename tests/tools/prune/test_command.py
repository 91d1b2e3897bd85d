"""From a run to a pruned network, its retraining, and the second stage."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from database.datasets import get_dataset
from model import resnet
from model.architecture import Architecture
from tests.tools.toy_runs import (
    NARROW,
    NETWORK,
    csv_rows,
    tensors_in,
    tiny_config,
    train_with,
    write_checkpoint,
    write_random_pspnet,
)
from tools.errors import FlagError, PruneError
from tools.prediction.frozen_weights import frozen_forward_graph
from tools.prediction.predictor import Predictor
from tools.prune import __main__ as command
from tools.runs.known_runs import runs_in
from tools.runs.record import ModelRecord
from tools.training.identity import RunIdentity

OPTIMIZER = "/Momentum"


@pytest.fixture(autouse=True)
def _narrow(narrow_resnet):
    pass


def prune(source, out, *flags):
    command.main(["--weights_ckpt", str(source), "--out", str(out), *flags])
    return ModelRecord.read(str(out))


@pytest.fixture(scope="module")
def stages(toy_dir, tmp_path_factory):
    """A trained run, its pruned network, the run that trains this again, and its pruned network."""
    folder = tmp_path_factory.mktemp("stages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.NETWORKS, NETWORK, NARROW)
        log_dir = str(folder / "log")
        first = train_with(tiny_config(toy_dir, log_dir, ema_decay=0.9))
        pruned = prune(first.path, folder / "pruned-0.75", "--keep", "0.75")
        config = tiny_config(
            toy_dir, log_dir, fine_tune_filename=str(folder / "pruned-0.75"), weight_decay_mode=1,
            save_first_iteration=True, train_max_iter=1,
        )  # fmt: skip
        again = train_with(config)
        twice = prune(again.path, folder / "pruned-0.5", "--keep", "0.5")
    yield SimpleNamespace(
        folder=folder, log_dir=log_dir, first=first, pruned=pruned, config=config, again=again, twice=twice
    )
    shutil.rmtree(folder)


@pytest.mark.slow
def test_what_is_written(stages):
    folder = stages.folder / "pruned-0.75"
    names = {"checkpoint", "config.json", "model.ckpt.data-00000-of-00001", "model.ckpt.index", "pruning.json"}
    assert set(os.listdir(folder)) == names
    report = json.loads((folder / "pruning.json").read_text())
    assert report["checkpoint"] == f"{stages.first.path}/snapshot/model.ckpt-2"
    assert (report["keep"], report["kind"], report["skipped"]) == (0.75, "all", [])
    assert report["parameters"]["after"] < 0.65 * report["parameters"]["before"]
    assert len(report["kept_filters"]["conv1"]) == stages.pruned.architecture.filters["conv1"] == 48
    assert stages.pruned.origin.pretrained_sha256 == report["sha256"]
    assert stages.pruned.origin.run_uuid is None  # results of this network are not those of the run


@pytest.mark.slow
def test_averages_are_pruned_and_nothing_of_the_training_is_kept(stages):
    trained, pruned = tensors_in(stages.first.snapshot(2)), tensors_in(str(stages.folder / "pruned-0.75/model.ckpt"))
    kept = json.loads((stages.folder / "pruned-0.75" / "pruning.json").read_text())["kept_filters"]
    assert any(name.endswith(OPTIMIZER) for name in trained)
    assert all(name.endswith(("weights", "biases", "gamma", "beta", "mean", "variance")) for name in pruned)
    assert {name for name in trained if f"{name}/average" in trained} == set(pruned)
    kernel = trained[f"{NETWORK}/conv1/weights/average"]
    np.testing.assert_array_equal(pruned[f"{NETWORK}/conv1/weights"], kernel[..., kept["conv1"]])
    norms = np.abs(kernel).sum((0, 1, 2))
    assert norms[kept["conv1"]].min() >= np.delete(norms, kept["conv1"]).max()
    moments = pruned[f"{NETWORK}/conv1/BatchNorm/moving_variance"]
    average = trained[f"{NETWORK}/conv1/BatchNorm/moving_variance/average"]
    np.testing.assert_array_equal(moments, average[kept["conv1"]])


@pytest.mark.slow
def test_it_is_trained_again_from_the_pruned_weights(stages):
    """The starting point of L2-SP is the pruned network too."""
    record = ModelRecord.read(stages.again.snapshots)
    assert record.architecture == stages.pruned.architecture
    start, pruned = tensors_in(stages.again.snapshot(0)), tensors_in(str(stages.folder / "pruned-0.75/model.ckpt"))
    for name, value in pruned.items():
        np.testing.assert_array_equal(start[name], value, err_msg=name)
    assert csv_rows(stages.again)[0]["weight_decay"] > 0


@pytest.mark.slow
def test_a_run_of_it_is_resumed_and_found_by_its_flags(stages):
    config = dataclasses.replace(stages.config, train_max_iter=2, resume_step=1)
    assert csv_rows(train_with(config))[-1]["step"] == 2
    identities = {run.folder.path: RunIdentity.of_record(run.record).digest for run in runs_in(f"{stages.log_dir}/Toy")}
    assert len(set(identities.values())) == len(identities) > 1


@pytest.mark.slow
def test_second_stage_keeps_half_of_all_filters(stages):
    filters = stages.twice.architecture.filters
    assert (filters["conv1"], filters["block4/unit_1/basic_v1/conv1"], filters["psp/pool6"]) == (32, 64, 16)
    assert set(filters) == set(stages.pruned.architecture.filters)


@pytest.mark.slow
def test_it_predicts_as_its_record_says(stages):
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    prefix = str(stages.folder / "pruned-0.5" / "model.ckpt")
    with Predictor(prefix, stages.twice) as predictor:
        assert predictor.labels(image).shape == (50, 70)
    with tf.Graph().as_default():  # as tools.export builds it
        images = [tf.zeros([1, 32, 32, 3])]
        [logits] = frozen_forward_graph(images, stages.twice.architecture, prefix, dtype=tf.float32, advice="")
    assert logits.shape == [1, 32, 32, 19]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "error", "words"),
    [
        (("--keep", "0.5"), PruneError, "pruned-0.5 already contains config.json: give"),
        (("--keep", "0.75"), PruneError, r"has more than 0\.75 of its filters before any pruning"),
        (("--keep", "0.5", "--skip_layers", "icnet"), FlagError, "--skip_layers: 'icnet' is no layer of resnet_v1_18"),
        (("--keep", "0.5", "--use_ema", "0"), FlagError, "--use_ema 0 has no effect"),
    ],
)
def test_what_cannot_be_pruned(stages, tmp_path, flags, error, words):
    is_in_use = words.startswith("pruned-0.5")
    out = stages.folder / "pruned-0.5" if is_in_use else tmp_path / "out"
    with pytest.raises(error, match=words):
        prune(stages.folder / "pruned-0.75", out, *flags)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("skipped", [(), ("--skip_layers", "icnet")])
def test_branches_of_icnet_that_are_published_pruned_are_named(tmp_path, caplog, skipped):
    architecture = Architecture(NETWORK, 19, decoder="icnet", head_depth=32)
    prefix = write_random_pspnet(str(tmp_path / "a" / "model.ckpt-3"), architecture)
    toy = get_dataset("Toy")
    record = ModelRecord.of_dataset(architecture, toy, color_switch=False, test_image_size=0)
    record.write(str(tmp_path / "a"))
    pruned = prune(prefix, tmp_path / "out", "--keep", "0.5", *skipped)
    lost = [layer for layer in pruned.architecture.filters if layer.startswith("icnet/")]
    assert bool(lost) == (not skipped)
    assert ("--skip_layers icnet keeps them" in caplog.text) == (not skipped)


def test_a_reference_checkpoint_without_a_record_is_pruned(tmp_path):
    architecture = Architecture(NETWORK, 19, resize_grid="legacy")
    values = tensors_in(write_random_pspnet(str(tmp_path / "a" / "model.ckpt-3"), architecture))
    write_checkpoint(str(tmp_path / "b" / "model.ckpt-3"), values)
    record = prune(tmp_path / "b", tmp_path / "out", "--keep", "0.5", "--layers", "inner", "--skip_layers", "psp")
    assert set(record.architecture.filters) == {
        *(f"block{block}/unit_1/basic_v1/conv1" for block in (1, 2, 3, 4)), "block4/unit_2",
    }  # fmt: skip
