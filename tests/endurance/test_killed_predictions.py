"""Predictions that are killed at any moment, again and again, end with the scores of untouched ones."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from database.synthetic import write_dataset
from model import resnet
from model.architecture import Architecture
from tests.tools.killing import TrainingProcesses
from tests.tools.toy_runs import NARROW, NETWORK, tiny_config, toy_record, write_random_pspnet

pytestmark = pytest.mark.timeout(600)

IMAGES, KILLS = 40, 8


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("killed-predictions")
    write_dataset(str(place / "toy"), train=1, val=IMAGES, test=1, height=32, width=64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.NETWORKS, NETWORK, NARROW)
        snapshot = str(place / "run" / "snapshot" / "model.ckpt-7")
        write_random_pspnet(snapshot, Architecture(NETWORK, 19))
        toy_record(tiny_config(str(place / "toy"), str(place))).write(os.path.dirname(snapshot))
    return place


def predicted(folder: Path) -> int:
    """How many pictures of the last kind there are."""
    try:
        return sum(not name.startswith(".") for name in os.listdir(folder / "overlay"))
    except FileNotFoundError:
        return 0


def run_killed(
    processes: TrainingProcesses, flags: list[str], log: str, folder: Path, images: int, delay: float
) -> bool:
    """Kills a prediction some time after that many pictures were written again; returns whether it still ran."""
    for path in (folder / "overlay").glob("*.png"):
        path.unlink()  # so that the process is seen to write them again
    processes.start(flags, log, "predict")
    while predicted(folder) < images and not processes.has_ended():
        time.sleep(0.0005)
    time.sleep(delay)
    processes.kill()
    return processes.exit_code() != 0


def test_killed_predictions(place):
    rng, log = np.random.default_rng(5), str(place / "log.txt")
    folders = [place / "untouched", place / "killed"]
    common = [
        "--weights_ckpt",
        str(place / "run"),
        "--float_type",
        "32",
        "--mirror",
        "0",
        "--data_dir",
        str(place / "toy"),
    ]
    flags, killed_flags = ([*common, "--output_dir", str(folder)] for folder in folders)
    kills = 0
    with TrainingProcesses() as processes:
        processes.start(flags, log, "predict")
        assert processes.exit_code() == 0, Path(log).read_text()[-2000:]
        counts = [0, 1, *rng.integers(1, IMAGES + 1, KILLS - 2)]
        for images in map(int, counts):
            kills += run_killed(processes, killed_flags, log, folders[1], images, float(rng.uniform(0, 0.03)))
        left = [path.name for path in folders[1].rglob(".*.tmp")]
        processes.start(killed_flags, log, "predict")
        assert processes.exit_code() == 0, Path(log).read_text()[-2000:]
    print(f"{kills} of {KILLS} starts were killed; temporary files before the last start: {len(left)}")
    assert kills >= KILLS - 2
    found = [{str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")} for folder in folders]
    assert found[0].keys() == found[1].keys()
    assert len(found[0]) == 3 * IMAGES + 4  # pictures, scores in three forms, provenance
    assert [name for name in found[0] if found[0][name] != found[1][name]] == []
    assert json.loads(found[1]["scores.json"])["images"] == IMAGES
