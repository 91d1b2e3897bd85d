"""A run on chosen images: it reads the counts of classes once, and a resumed run is the uninterrupted one."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from database.synthetic import write_dataset
from model import resnet
from tests.tools.toy_runs import NARROW, NETWORK, smallest_config, tensors_in, train_with

CHOSEN = {
    "class_crops": 0.5, "repeat_rare": 1.0, "class_mix": 0.5, "color_jitter": 0.5, "cutout": 0.3,
    "allow_missing_classes": True, "deterministic": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    write_dataset(str(folder), train=3, val=1, test=1, height=48, width=64)
    return str(folder)


@pytest.mark.slow
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, data_dir, monkeypatch, caplog):
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, NARROW)
    caplog.set_level("INFO")
    config = smallest_config(data_dir, str(tmp_path / "log"), run_name="run", **CHOSEN)
    folder = train_with(config)
    [counts] = (tmp_path / "log" / "Toy").glob("class-counts-*.json")
    assert re.search(r"of 3 images are repeated, .*; all are shown in \d+ crops, which are", caplog.text)
    assert "50% of the crops are placed on a pixel of a drawn class" in caplog.text
    assert "pixels of classes: from" not in caplog.text
    expected = tensors_in(folder.snapshot(2))
    for path in Path(folder.snapshots).glob("model.ckpt-2.*"):
        path.unlink()
    written = counts.stat().st_mtime_ns
    assert train_with(dataclasses.replace(config, resume_step="1")).path == folder.path
    assert f"pixels of classes: from {counts}" in caplog.text
    assert counts.stat().st_mtime_ns == written
    resumed = tensors_in(folder.snapshot(2))
    assert resumed.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)
