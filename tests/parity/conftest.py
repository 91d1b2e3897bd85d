"""What has to happen before PyTorch computes, and room for its files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

# Tests run side by side, and the networks here are small: threads would mostly wait for each other.
torch.set_num_threads(1)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """For files of a few hundred megabytes, deleted after the test."""
    yield tmp_path
    shutil.rmtree(tmp_path)
