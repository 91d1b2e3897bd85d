"""A place with data and a snapshot, and scripts run in this process."""

from __future__ import annotations

import os
import runpy
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from database.synthetic import write_dataset
from model.architecture import Architecture
from tests.scripts.starting import ROOT
from tests.tools.toy_runs import NETWORK, tiny_config, toy_record, write_random_pspnet
from tools.console import run_script


@dataclass(frozen=True)
class Place:
    """A folder with generated scenes and a log folder that holds one snapshot."""

    folder: Path

    @property
    def data_dir(self) -> str:
        return str(self.folder / "toy")

    @property
    def log_dir(self) -> str:
        return str(self.folder / "log")

    @property
    def snapshot(self) -> str:
        return str(self.folder / "log" / "Toy" / "some-run" / "snapshot" / "model.ckpt-7")


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("place"))
    write_dataset(place.data_dir, train=4, val=2, test=1, height=48, width=96)
    write_random_pspnet(place.snapshot, Architecture(NETWORK, 19))
    toy_record(tiny_config(place.data_dir, place.log_dir)).write(os.path.dirname(place.snapshot))
    yield place
    shutil.rmtree(place.folder)


@pytest.fixture
def main() -> Callable[..., int]:
    """A function that runs a script's main in this process and returns its exit code."""

    def run(script: str, *flags: str) -> int:
        return run_script(runpy.run_path(str(ROOT / f"{script}.py"))["main"], flags)

    return run
