"""A training run that is killed again and again ends where an untouched one ends, to the last bit."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.tools.killing import SNAPSHOT, START_UP, Kill, RunSeen, TrainingProcesses, run_killed, run_untouched
from tests.tools.toy_runs import NETWORK, tensors_in
from tools.flags.parsing import parse_flags
from tools.flags.train import TrainConfig
from tools.runs.folder import RunFolder, run_folder
from tools.runs.snapshots import snapshot_steps

LAST_STEP = 6
KILLS = [Kill(START_UP, delay=0.2), Kill(SNAPSHOT, steps=3), Kill(START_UP, delay=0.8)]


def flags_of(toy_dir: str, log_dir: str, **more: object) -> tuple[list[str], RunFolder]:
    """The command line of a run that goes on where it is, and its folder."""
    flags = {
        "run_name": "run", "database": "Toy", "data_dir": toy_dir, "log_dir": log_dir, "network": NETWORK,
        "batch_size": 2,
        "train_image_size": 32, "test_image_size": 32, "train_max_iter": LAST_STEP, "snapshot": 2, "show_period": 1,
        "weight_decay_mode": 0, "fine_tune_filename": "none", "decoder": "c1", "has_aux_loss": 0, "check_data": "none",
        "test_max_iter": 1, "mirror": 0, "deterministic": 1, "auto_resume": 1, **more,
    }  # fmt: skip
    command = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return command, run_folder(parse_flags(TrainConfig, command, ""))


@pytest.mark.slow
def test_killed_run_ends_where_the_untouched_run_ends(toy_dir, tmp_path):
    log = str(tmp_path / "log.txt")
    with TrainingProcesses() as processes:
        flags, untouched = flags_of(toy_dir, str(tmp_path / "untouched"))
        run_untouched(processes, flags, log, RunSeen(untouched, LAST_STEP))
        flags, killed = flags_of(toy_dir, str(tmp_path / "killed"))
        found = [run_killed(processes, flags, log, RunSeen(killed, LAST_STEP), kill)[0] for kill in KILLS]
        processes.start(flags, log)
        assert processes.exit_code() == 0
    assert found == [kill.phase for kill in KILLS]
    expected, values = tensors_in(untouched.snapshot(LAST_STEP)), tensors_in(killed.snapshot(LAST_STEP))
    assert values.keys() == expected.keys()
    assert [name for name, value in values.items() if value.tobytes() != expected[name].tobytes()] == []
    assert os.listdir(os.path.dirname(killed.path)) == [os.path.basename(killed.path)]
    assert snapshot_steps(killed) == snapshot_steps(untouched) == [2, 4, 6]
    shutil.rmtree(tmp_path)
