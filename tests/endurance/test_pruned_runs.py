"""Prediction and the search for the newest snapshot beside a run that writes and deletes snapshots all the time."""

from __future__ import annotations

import os
import runpy
from collections import Counter
from pathlib import Path

import pytest

from database.synthetic import write_dataset
from model import resnet
from model.architecture import Architecture
from tests.tools.pruning import PrunedRun
from tests.tools.toy_runs import NARROW, NETWORK, tiny_config, toy_record, write_random_pspnet
from tools.checkpoints.find import newest_snapshot, resolve_checkpoint
from tools.console import run_script
from tools.errors import CheckpointError

pytestmark = pytest.mark.timeout(600)

_ROOT = Path(__file__).resolve().parent.parent.parent
PREDICTIONS, SEARCHES = 8, 200


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set and a checkpoint of a narrow network, which the runs copy."""
    place = tmp_path_factory.mktemp("pruned")
    write_dataset(str(place / "toy"), train=1, val=1, test=1, height=32, width=32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.NETWORKS, NETWORK, NARROW)
        checkpoint = str(place / "checkpoint" / "model.ckpt-7")
        write_random_pspnet(checkpoint, Architecture(NETWORK, 19))
        toy_record(tiny_config(str(place / "toy"), str(place))).write(os.path.dirname(checkpoint))
        yield place


def test_the_newest_snapshot_is_always_found(place):
    log_dir, faults = place / "searched", Counter()
    with PrunedRun(log_dir / "Toy" / "run", str(place / "checkpoint" / "model.ckpt-7"), keep=1) as run:
        for _ in range(SEARCHES):
            for find, path in ((newest_snapshot, log_dir), (resolve_checkpoint, log_dir / "Toy" / "run")):
                try:
                    find(str(path))
                except CheckpointError as error:
                    faults[str(error).partition(": ")[2]] += 1
    print(f"{2 * SEARCHES} searches beside {run.written} snapshots: {faults.total()} failed: {faults}")
    assert run.written > SEARCHES / 10
    assert not faults


def test_prediction_takes_a_snapshot_that_is_there(place, capfd):
    log_dir, main, codes = place / "log", runpy.run_path(str(_ROOT / "predict.py"))["main"], Counter()
    flags = ["--log_dir", log_dir, "--data_dir", place / "toy", "--mirror", 0, "--float_type", 32, "--coloring", 0]
    with PrunedRun(log_dir / "Toy" / "run", str(place / "checkpoint" / "model.ckpt-7"), keep=1) as run:
        for number in range(PREDICTIONS):
            try:
                code = run_script(main, list(map(str, [*flags, "--output_dir", place / f"out{number}"])))
            except Exception as error:  # noqa: BLE001 - a bug, which is counted as well
                code = repr(error)
            codes[code] += 1
    said = capfd.readouterr()
    print(f"{PREDICTIONS} predictions beside {run.written} snapshots: exit codes {codes}")
    print("\n".join(line for line in said.err.splitlines() if line.startswith("error")))
    assert run.written >= PREDICTIONS
    assert codes == {0: PREDICTIONS}
    assert all((place / f"out{number}" / "scores.json").exists() for number in range(PREDICTIONS))
