"""A run that starts from weights that were trained with other channels, mean or deviation."""

from __future__ import annotations

import dataclasses

import pytest

from tests.tools.toy_runs import tiny_config, toy_record
from tools.runs.record import BackboneRecord, ModelRecord
from tools.training.other_channels import warn_of_other_channels

CHANNELS = {"input_channels": 3, "channel_mean": (10.0, 20.0, 30.0), "channel_std": (1.0, 2.0, 3.0)}
RGB = {"input_channels": None}


def record_with(flags: dict) -> ModelRecord:
    record = toy_record(tiny_config("data", "log"))
    return dataclasses.replace(record, flags={**record.flags, **flags})


@pytest.mark.parametrize(
    ("then", "now", "named"),
    [
        (CHANNELS, RGB, ["--channel_mean 10,20,30 --channel_std 1,2,3", "this run has RGB"]),
        (CHANNELS, CHANNELS, []),
        (CHANNELS, CHANNELS | {"channel_std": None}, ["--channel_std 1,2,3", "without --channel_std"]),
        (CHANNELS, CHANNELS | {"channel_mean": (10.0, 20.0, 31.0)}, ["10,20,30", "10,20,31"]),
        (RGB, CHANNELS, []),
        (RGB, RGB, []),
    ],
)
def test_warning(tmp_path, caplog, then, now, named):
    record_with(then).write(str(tmp_path))
    warn_of_other_channels(str(tmp_path / "model.ckpt-1"), record_with(now))
    assert len(caplog.messages) == bool(named)
    assert all(part in caplog.text for part in ("model.ckpt-1", *named) if named)


def test_a_resnet_has_no_flags(tmp_path, caplog):
    warn_of_other_channels(str(tmp_path / "model.ckpt"), record_with(RGB))
    BackboneRecord("resnet_v1_18").write(str(tmp_path))
    warn_of_other_channels(str(tmp_path / "model.ckpt"), record_with(RGB))
    assert caplog.messages == []
