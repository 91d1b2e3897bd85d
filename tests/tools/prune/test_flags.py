"""Command lines of pruning."""

from __future__ import annotations

import pytest

from model.pruning import PRUNED_LAYERS
from tests.tools.command_lines import parse, refusal
from tools.prune.flags import LAYERS, PruneConfig


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--out x", "--keep is missing: give a share such as 0.5"),
        ("--keep 0.5", "--out is missing: give a folder"),
        ("--keep 1 --out x", "--keep 1.0 is not between 0 and 1: 0.5 keeps half"),
        ("--keep 0 --out x", "--keep 0.0 is not between 0 and 1"),
        ("--keep -2 --out x", "--keep -2.0 is not between 0 and 1"),
        ("--keep nan --out x", "--keep"),
        ("--keep half --out x", "--keep: 'half' is not a number"),
        ("--keep 0.5 --layers outer --out x", "--layers: invalid choice: 'outer'"),
        ("--keep 0.5 --out x --weights_ckpt run --log_dir logs", "--log_dir logs has no effect with --weights_ckpt"),
    ],
)
def test_lines_that_are_rejected(line, words):
    assert words in refusal(line, PruneConfig)


def test_scopes():
    assert parse("--keep 0.5 --out x --skip_layers conv1,icnet", PruneConfig).skip_layers == ("conv1", "icnet")


def test_flags_know_the_kinds_of_layers():
    assert tuple(PRUNED_LAYERS) == LAYERS
