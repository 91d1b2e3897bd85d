"""Training runs that are killed at any moment, again and again, end where untouched ones end."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from database.synthetic import write_dataset
from tests.tools.killing import (
    SCORING,
    SCORING_ON_THE_WAY,
    SNAPSHOT,
    START_UP,
    STEPS,
    Durations,
    Kill,
    RunSeen,
    TrainingProcesses,
    run_killed,
    run_untouched,
)
from tests.tools.toy_runs import NETWORK, resnet_values, tensors_in, write_checkpoint
from tools.checkpoints.files import fault_of
from tools.flags.parsing import parse_flags
from tools.flags.train import TrainConfig
from tools.prediction.score_files import is_scored, scores_path
from tools.runs.folder import RunFolder, run_folder
from tools.runs.snapshots import snapshot_steps

pytestmark = pytest.mark.timeout(3600)

KEEP = 3
# What scores say that differs between runs which are otherwise equal.
OF_ONE_RUN = ("checkpoint", "run_uuid")


@dataclass(frozen=True)
class Pair:
    """A run that was never touched and one of the same flags that was killed again and again.

    Attributes:
        kills: what the processes were doing, and what they left of a snapshot; see `run_killed`.
    """

    untouched: RunFolder
    killed: RunFolder
    last_step: int
    kills: list[tuple[str, tuple[str, ...] | None]]

    def count(self, phase: str) -> int:
        return sum(found == phase for found, _ in self.kills)


def flags_of(place: Path, log_dir: str, last_step: int, **more: object) -> tuple[list[str], RunFolder]:
    """The command line of a run with two towers, augmentation and L2-SP, and its folder."""
    flags = {
        "run_name": "run", "database": "Toy", "data_dir": place / "toy", "log_dir": place / log_dir, "network": NETWORK,
        "decoder": "c1", "has_aux_loss": 0, "gpu_num": 2, "batch_size": 1, "train_image_size": 32,
        "test_image_size": 32, "train_max_iter": last_step, "snapshot": 4, "keep": KEEP, "show_period": 1,
        "weight_decay_mode": 1, "fine_tune_filename": place / "resnet" / "resnet_v1_18.ckpt", "seed": 3, **more,
    }  # fmt: skip
    command = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return command, run_folder(parse_flags(TrainConfig, command, ""))


def plan(counts: dict[str, int], durations: Durations, rng: np.random.Generator) -> list[Kill]:
    """Kills in random order, at random moments; those in scoring last. None lets a run go on for 12 steps or more."""
    longest = {START_UP: 0.8 * durations.start_up, STEPS: 0.1, SNAPSHOT: 0.2 * durations.snapshot, SCORING: 0.5}
    phases = [phase for phase, count in counts.items() if phase != SCORING for _ in range(count)]
    rng.shuffle(phases)
    return [
        Kill(
            phase,
            steps=int(rng.integers(1, 7)) if phase in (STEPS, SNAPSHOT) else 0,
            files=int(rng.integers(0, 4)) if phase == SNAPSHOT else 0,
            delay=float(rng.uniform(0, longest[phase])),
        )
        for phase in [*phases, *[SCORING] * counts[SCORING]]
    ]


def train_and_kill(place: Path, last_step: int, counts: dict[str, int], seed: int, **more: object) -> Pair:
    """Trains a run that is left alone and one that is killed as often as is said of each phase."""
    rng, log, found = np.random.default_rng(seed), str(place / "log.txt"), []
    with TrainingProcesses() as processes:
        flags, untouched = flags_of(place, "untouched", last_step, **more)
        durations = run_untouched(processes, flags, log, RunSeen(untouched, last_step))
        flags, killed = flags_of(place, "killed", last_step, **more)
        for kill in plan(counts, durations, rng):
            is_begun = snapshot_steps(killed) != []
            resume = ["--resume_step", "latest"] if is_begun and rng.random() < 0.3 else ["--auto_resume", "1"]
            seen = RunSeen(killed, last_step)
            found.append(run_killed(processes, [*flags, *resume], log, seen, kill))
            print(f"{kill}: {found[-1]}, snapshots {snapshot_steps(killed)}")
        processes.start([*flags, "--auto_resume", "1"], log)
        assert processes.exit_code() == 0
    print(f"start-up {durations.start_up:.2f} s, snapshot {1000 * durations.snapshot:.0f} ms; kills: {Counter(found)}")
    return Pair(untouched, killed, last_step, found)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with generated scenes and a ResNet checkpoint."""
    folder = tmp_path_factory.mktemp("killed")
    write_dataset(str(folder / "toy"), train=6, val=2, test=1, height=48, width=96)
    write_checkpoint(str(folder / "resnet" / "resnet_v1_18.ckpt"), resnet_values())
    return folder


@pytest.fixture(scope="module")
def pair(place: Path) -> Pair:
    counts = {START_UP: 4, STEPS: 6, SNAPSHOT: 8, SCORING: 2}
    return train_and_kill(place, 160, counts, seed=0, deterministic=1)


def curves(folder: RunFolder) -> list[dict[str, str]]:
    """The rows of a run's curves, less the images per second."""
    with open(folder.csv, newline="", encoding="utf-8") as file:
        return [{name: row[name] for name in row if name != "images_per_second"} for row in csv.DictReader(file)]


def test_every_phase_was_hit(pair):
    assert len(pair.kills) == 20
    assert pair.count(START_UP) >= 2
    assert pair.count(STEPS) >= 3
    assert pair.count(SNAPSHOT) >= 4
    assert pair.count(SCORING) >= 1
    assert len({left for phase, left in pair.kills if phase == SNAPSHOT}) >= 2  # not always the same moment


def test_killed_run_has_the_bits_of_the_untouched_one(pair):
    expected, found = (tensors_in(folder.snapshot(pair.last_step)) for folder in (pair.untouched, pair.killed))
    assert found.keys() == expected.keys()
    assert any(name.endswith("/Momentum") for name in found)
    assert [name for name, value in found.items() if value.tobytes() != expected[name].tobytes()] == []


def test_killed_run_has_the_curves_and_scores_of_the_untouched_one(pair):
    expected = curves(pair.untouched)
    assert [row["step"] for row in expected] == [str(step) for step in range(1, pair.last_step + 1)]
    assert len({row["loss"] for row in expected}) > 0.9 * len(expected)
    assert curves(pair.killed) == expected
    scores = []
    for folder in (pair.untouched, pair.killed):
        with open(os.path.join(folder.path, f"scores-{pair.last_step}.json"), encoding="utf-8") as file:
            scores.append({key: value for key, value in json.load(file).items() if key != "run"})
    assert scores[0] == scores[1]


def test_killed_run_leaves_nothing_else(pair):
    last = [pair.last_step - 4 * before for before in reversed(range(KEEP))]
    for folder in (pair.untouched, pair.killed):
        assert snapshot_steps(folder) == last
        assert [fault_of(folder.snapshot(step)) for step in last] == [None] * KEEP
        assert len(os.listdir(folder.snapshots)) == 3 * KEEP + 2  # and the record and TensorFlow's `checkpoint`
        assert os.listdir(os.path.dirname(folder.path)) == [os.path.basename(folder.path)]
    names = (set(os.listdir(folder.path)) for folder in (pair.untouched, pair.killed))
    untouched, killed = ({name for name in found if "tfevents" not in name} for found in names)
    assert killed == untouched


def scores_on_the_way(folder: RunFolder, steps: list[int]) -> dict[int, dict]:
    """By step what the files of scores say, less where the snapshots are and the number that each run has alone."""
    found, numbers = {}, set()
    for step in steps:
        values = json.loads(Path(scores_path(folder.path, step, None)).read_text())
        numbers.add(values["run"]["run_uuid"])
        found[step] = {**values, "run": {key: x for key, x in values["run"].items() if key not in OF_ONE_RUN}}
    assert len(numbers) == 1  # of all its processes
    return found


def test_run_killed_in_scoring_has_the_scores_and_the_best_of_the_untouched_run(place):
    """It is killed five times while a snapshot is scored, one of them again in the next process."""
    other, last_step, rng = place / "scored", 24, np.random.default_rng(2)
    other.mkdir()
    for name in ("toy", "resnet"):
        (other / name).symlink_to(place / name)
    log, more = str(other / "log.txt"), {"deterministic": 1, "val_every": 4, "lrn_rate": 0.05}
    kills_before_scores = 0
    with TrainingProcesses() as processes:
        flags, untouched = flags_of(other, "untouched", last_step, **more)
        run_untouched(processes, flags, log, RunSeen(untouched, last_step))
        flags, killed = flags_of(other, "killed", last_step, **more)
        for step in (4, 8, 8, 12, 16):
            kill = Kill(SCORING_ON_THE_WAY, delay=float(rng.uniform(0, 0.3)), scored_step=step)
            run_killed(processes, [*flags, "--auto_resume", "1"], log, RunSeen(killed, last_step), kill)
            kills_before_scores += not is_scored(scores_path(killed.path, step, None), killed.snapshot(step))
        processes.start([*flags, "--auto_resume", "1"], log)
        assert processes.exit_code() == 0
    assert kills_before_scores >= 3
    steps = list(range(4, last_step + 1, 4))
    expected = scores_on_the_way(untouched, steps)
    assert scores_on_the_way(killed, steps) == expected
    assert len({values["mean_iou"] for values in expected.values()}) > 1
    notes = [json.loads(Path(folder.best, "best.json").read_text()) for folder in (untouched, killed)]
    assert notes[0] == notes[1]
    assert sorted(os.listdir(untouched.best)) == sorted(os.listdir(killed.best))
    assert notes[0]["mean_iou"] == max(values["mean_iou"] for values in expected.values())


def test_killed_run_without_the_promise_of_equal_bits(place):
    """Within rounding, to 1e-5 of the largest value of each variable."""
    other = place / "plain"
    other.mkdir()
    for name in ("toy", "resnet"):
        (other / name).symlink_to(place / name)
    pair = train_and_kill(other, 40, {START_UP: 1, STEPS: 2, SNAPSHOT: 2, SCORING: 0}, seed=1)
    assert pair.count(SNAPSHOT) >= 1
    expected, found = (tensors_in(folder.snapshot(pair.last_step)) for folder in (pair.untouched, pair.killed))
    assert found.keys() == expected.keys()
    equal = sum(value.tobytes() == expected[name].tobytes() for name, value in found.items())
    print(f"{equal} of {len(found)} variables are equal in every bit")
    for name, value in found.items():
        bound = 1e-5 * max(np.abs(expected[name]).max(), 1e-3)
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=bound, err_msg=name)
    assert [row["step"] for row in curves(pair.killed)] == [str(step) for step in range(1, pair.last_step + 1)]
