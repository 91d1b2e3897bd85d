"""One small training run and one random network, shared by tests that do not change their files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from database.synthetic import write_dataset
from model import resnet
from tests.tools.random_pspnet import ARCHITECTURE
from tests.tools.toy_runs import NARROW, NETWORK, tiny_config, train_with, write_random_pspnet
from tools.flags import chosen_dataset
from tools.flags.train import TrainConfig
from tools.runs.folder import RunFolder


@dataclass(frozen=True)
class TinyRun:
    """A finished run: its flags and its folder."""

    config: TrainConfig
    folder: RunFolder


@pytest.fixture(scope="session")
def toy_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with 6 training, 2 validation and 1 test scenes."""
    folder = str(tmp_path_factory.mktemp("toy"))
    write_dataset(folder, train=6, val=2, test=1, height=48, width=96)
    return folder


@pytest.fixture(scope="session")
def tiny_run(toy_dir: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyRun]:
    """2 towers, 4 steps with the full augmentation, snapshots after steps 2 and 4; not to be changed.

    The network is that of `narrow_resnet`, which tests that build it again request.
    """
    log_dir = tmp_path_factory.mktemp("tiny-run")
    config = tiny_config(toy_dir, str(log_dir), gpu_num=2, batch_size=1, train_max_iter=4, snapshot=2, seed=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.NETWORKS, NETWORK, NARROW)
        folder = train_with(config)
    yield TinyRun(config, folder)
    shutil.rmtree(log_dir)


@pytest.fixture(scope="session")
def random_pspnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Prefix of a checkpoint of `random_pspnet.ARCHITECTURE`; not to be changed.

    The network is that of `narrow_resnet`, which tests that build it again request.
    """
    folder = tmp_path_factory.mktemp("random-pspnet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.NETWORKS, NETWORK, NARROW)
        prefix = write_random_pspnet(str(folder / "model.ckpt-1"), ARCHITECTURE)
    yield prefix
    shutil.rmtree(folder)


@pytest.fixture
def narrow_resnet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces ResNet-18 by a network of a tenth of its size, for tests that train once more."""
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, NARROW)


@pytest.fixture
def log_dir(tmp_path: Path) -> Iterator[str]:
    """A folder for runs, emptied after the test: snapshots are large."""
    yield str(tmp_path / "log")
    shutil.rmtree(tmp_path / "log", ignore_errors=True)


@pytest.fixture
def unchecked_data_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepts folders of datasets that do not exist."""
    monkeypatch.setattr(chosen_dataset, "require_folder", lambda dataset, folder: None)
