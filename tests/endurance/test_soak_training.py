"""A long training run holds no more at its end than after its first steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from database.synthetic import write_dataset
from tests.endurance.soaking import Soak, soak
from tests.tools.toy_runs import NETWORK

pytestmark = pytest.mark.timeout(3600)

STEPS, WARM_UP = 2000, 500
# MB in 1,000 steps. Ten validations fall into them, each of which builds a network; kept, these would be 70 MB.
MOST_GROWTH = 15.0


def flags(place: Path, log_dir: str, steps: int, often: int) -> list[object]:
    return [
        "--database", "Toy", "--data_dir", place / "toy", "--log_dir", place / log_dir, "--network", NETWORK,
        "--decoder", "c1", "--has_aux_loss", 0, "--batch_size", 2, "--train_image_size", 32, "--test_image_size", 32,
        "--weight_decay_mode", 0, "--fine_tune_filename", "none", "--lrn_rate", 0.001, "--keep", 3,
        "--train_max_iter", steps, "--snapshot", often // 2, "--val_every", often, "--show_period", often // 10,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Soak:
    place = tmp_path_factory.mktemp("soak")
    write_dataset(str(place / "toy"), train=6, val=2, test=1, height=48, width=96)
    warm_up, long = flags(place, "warm-up", 40, 20), flags(place, "long", STEPS, 100)
    return soak("tools.training.loop:Trainer.score_if_due", "train", warm_up, long, place / "log.txt")


def test_memory(seen):
    assert len(seen.resident) == STEPS
    print(
        f"resident: {seen.megabytes(WARM_UP):.1f} MB at step {WARM_UP}, {seen.megabytes(STEPS):.1f} MB at step "
        f"{STEPS}; {seen.growth(WARM_UP):.2f} MB per 1,000 steps"
    )
    assert seen.growth(WARM_UP) < MOST_GROWTH


def test_files_and_threads(seen):
    assert seen.after.files == seen.before.files
    assert seen.after.python_threads == seen.before.python_threads
    assert seen.after.system_threads == seen.before.system_threads
