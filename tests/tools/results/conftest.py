"""A log folder with runs that the tests of the list share."""

from __future__ import annotations

import pytest

from tests.tools.results.written_runs import scores_of, write, write_snapshot


@pytest.fixture
def folders(tmp_path):
    """Log folder with two runs, one that was set aside and two that are none; and the folder of predictions."""
    log, predictions = tmp_path / "log", tmp_path / "val_set"
    same = {"network": "resnet_v1_50", "random_rotate": True, "log_dir": "x"}
    checksum = write_snapshot(log / "Toy" / "a", 900, "weights")
    write(log / "Toy" / "a" / "config.json", {"flags": same | {"lrn_rate": 0.01, "lr_step": [1, 2], "keep": 1}})
    write(log / "Toy" / "b" / "config.json", {"flags": same | {"lrn_rate": 0.1, "bn_frozen": True, "keep": 2}})
    write(log / "Toy" / "b.earlier-1" / "config.json", {"flags": same})
    write(log / "Toy" / "damaged" / "config.json", "{")
    write(log / "Toy" / "weights" / "config.json", {"backbone": {}})
    write(log / "Toy" / "a" / "scores-900.json", scores_of(900, 0.25))
    write(log / "Toy" / "a" / "scores-600.json", scores_of(600, None))
    write(log / "Toy" / "a" / "scores-700.json", "[1")
    write(predictions / "Toy" / "a" / "step900-ms1" / "scores.json", scores_of(900, 0.5, checkpoint_sha256=checksum))
    return str(log), str(predictions)
