"""A run that starts from the newest snapshot of another run, which removes its snapshots meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from model import resnet
from tests.tools.toy_runs import NARROW, NETWORK, resnet_values, smallest_config, train_with, write_checkpoint
from tools.checkpoints import files as snapshot_files
from tools.checkpoints import initialize
from tools.errors import CheckpointError
from tools.runs.record import ModelRecord
from tools.training import identity


@pytest.fixture
def other(tmp_path, monkeypatch) -> Path:
    """A folder of snapshots, with one of step 1."""
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, NARROW)
    write_checkpoint(str(tmp_path / "other" / "model.ckpt-1"), resnet_values())
    return tmp_path / "other"


def prune(folder: Path, prefix: str) -> None:
    """Writes the snapshot of the step after that of the prefix, which is then removed."""
    step = int(prefix.rpartition("-")[2])
    write_checkpoint(str(folder / f"model.ckpt-{step + 1}"), resnet_values(seed=step))
    snapshot_files.remove(prefix)


def pruning(folder: Path, function, times: int):
    left = iter(range(times))

    def call(prefix, *arguments):
        if next(left, None) is not None:
            prune(folder, prefix)
        return function(prefix, *arguments)

    return call


@pytest.mark.slow
def test_the_next_is_chosen_while_the_graph_is_built(toy_dir, tmp_path, monkeypatch, caplog, other):
    monkeypatch.setattr(initialize, "require_shapes", pruning(other, initialize.require_shapes, 2))
    run = train_with(smallest_config(toy_dir, str(tmp_path / "log"), fine_tune_filename=str(other)))
    assert caplog.text.count("was removed or replaced before it could be read: choosing again") == 2
    record = ModelRecord.read(run.snapshots)
    assert record.origin.pretrained_prefix == os.path.realpath(other / "model.ckpt-3")
    assert record.origin.pretrained_sha256 == snapshot_files.checksum(str(other / "model.ckpt-3"))


def test_the_next_is_chosen_while_the_run_is_named(tmp_path, monkeypatch, other):
    monkeypatch.setattr(identity, "checkpoint_checksum", pruning(other, identity.checkpoint_checksum, 2))
    config = smallest_config("toy", str(tmp_path / "log"), fine_tune_filename=str(other))
    sha256, _ = identity._pretrained(config)
    assert sha256 == snapshot_files.checksum(str(other / "model.ckpt-3"))


def test_a_named_snapshot_is_not_replaced_by_another(toy_dir, tmp_path, monkeypatch, other):
    monkeypatch.setattr(initialize, "require_shapes", pruning(other, initialize.require_shapes, 1))
    first = str(other / "model.ckpt-1")
    config = smallest_config(toy_dir, str(tmp_path / "log"), fine_tune_filename=first)
    with pytest.raises(CheckpointError, match=f"^{first}: there is no such checkpoint; the newest in .*model.ckpt-2: "):
        train_with(config)
    assert not (tmp_path / "log").exists()
