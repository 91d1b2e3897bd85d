"""Runs that are equal to the last bit. In a process of its own, as TensorFlow does not take the promise back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.tools.runs import tensors_in
from tools.cluster import DeviceError
from tools.determinism import require_determinism

CHILD = """
import sys
from model import resnet
from tests.tools.runs import NARROW, NETWORK, tiny_config, train_with
resnet.NETWORKS[NETWORK] = NARROW
data_dir, *log_dirs = sys.argv[1:]
for log_dir in log_dirs:
    config = tiny_config(data_dir, log_dir, deterministic=True, decoder="c1", has_aux_loss=False, show_period=100)
    print(train_with(config).path)
"""


@pytest.mark.slow
def test_two_runs_are_equal_in_every_bit(toy_dir, tmp_path):
    log_dirs = [str(tmp_path / name) for name in ("first", "second")]
    command = [sys.executable, "-c", CHILD, toy_dir, *log_dirs]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = (os.path.join(path, "snapshot") for path in done.stdout.split())
    before, once = (tensors_in(os.path.join(first, f"model.ckpt-{step}")) for step in (1, 2))
    again = tensors_in(os.path.join(second, "model.ckpt-2"))
    assert again.keys() == once.keys()
    assert [name for name, value in once.items() if value.tobytes() != again[name].tobytes()] == []
    still = [name for name, value in once.items() if value.tobytes() == before[name].tobytes()]
    assert len(still) < 0.1 * len(once)  # or the comparison would show nothing
    shutil.rmtree(tmp_path)


def test_gpus_are_refused():
    with pytest.raises(DeviceError, match=r"promised on CPUs alone, and /device:GPU:1 is a GPU: drop it, or hide the"):
        require_determinism(["/device:GPU:1"])
