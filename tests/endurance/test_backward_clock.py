"""A run whose clock steps back at every look, and whose files get earlier and earlier times."""

from __future__ import annotations

import os
import time
from itertools import count
from pathlib import Path

import pytest

from database.synthetic import write_dataset
from model import resnet
from tests.tools.toy_runs import NARROW, NETWORK, smallest_config, tensors_in, train_with
from tools.checkpoints.find import newest_first, newest_snapshot, resolve_checkpoint
from tools.runs.folder import RunFolder
from tools.runs.snapshots import snapshot_steps

pytestmark = pytest.mark.timeout(600)

LAST_STEPS, KEEP = (4, 8, 12), 3


def train_in_parts(place: Path, log_dir: str, after_each) -> RunFolder:
    """Trains to each of the last steps, in the way of a run that is resumed again and again."""
    for last_step in LAST_STEPS:
        folder = train_with(
            smallest_config(
                place / "toy",
                place / log_dir,
                train_max_iter=last_step,
                snapshot=1,
                keep=KEEP,
                seed=3,
                deterministic=True,
                auto_resume=True,
            )  # fmt: skip
        )
        after_each(folder, last_step)
    return folder


def test_the_newest_snapshot_is_the_one_written_last(tmp_path, monkeypatch):
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, NARROW)
    write_dataset(str(tmp_path / "toy"), train=4, val=1, test=1, height=48, width=96)
    steady = train_in_parts(tmp_path, "steady", lambda folder, step: None)
    now, looks, ages = time.time(), count(1), count(1)

    def check(folder: RunFolder, step: int) -> None:
        newest = [folder.snapshot(step - before) for before in range(KEEP)]
        for prefix in reversed(newest):  # the newest gets the earliest time
            for path in Path(folder.snapshots).glob(f"{os.path.basename(prefix)}.*"):
                os.utime(path, (now - 1e6 * next(ages),) * 2)
        assert newest_first(folder.snapshots) == newest
        assert resolve_checkpoint(folder.path) == newest_snapshot(str(tmp_path / "stepping")) == newest[0]

    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now - 3600 * next(looks))
        stepping = train_in_parts(tmp_path, "stepping", check)
    print(f"the clock stepped back {next(looks) - 1} times by an hour")
    assert snapshot_steps(stepping) == snapshot_steps(steady) == [10, 11, 12]
    expected, found = (tensors_in(folder.snapshot(LAST_STEPS[-1])) for folder in (steady, stepping))
    assert found.keys() == expected.keys()
    assert [name for name, value in found.items() if value.tobytes() != expected[name].tobytes()] == []
