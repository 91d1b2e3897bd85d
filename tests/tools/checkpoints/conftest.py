"""Checkpoints that the tests of this folder share."""

from __future__ import annotations

import shutil

import pytest

from tests.tools.checkpoints.checkpoint_files import VALUES
from tests.tools.toy_runs import write_checkpoint


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Prefix of a checkpoint of step 7; not to be changed."""
    return write_checkpoint(str(tmp_path_factory.mktemp("written") / "model.ckpt-7"), VALUES)


@pytest.fixture
def own(written, tmp_path):
    """Prefix of a copy that a test may change, in a run's folder."""
    folder = tmp_path / "run" / "snapshot"
    folder.mkdir(parents=True)
    for suffix in (".index", ".data-00000-of-00001"):
        shutil.copy(written + suffix, folder)
    return str(folder / "model.ckpt-7")
