"""The share of a step that passes until its batch is there."""

from __future__ import annotations

import time

import pytest
import tensorflow.compat.v1 as tf

from database import sample_loader
from model import resnet
from tests.tools.toy_runs import NARROW, NETWORK
from tools.benchmark import waiting
from tools.errors import FlagError


def _trace(microseconds: dict[str, int]) -> tf.RunMetadata:
    trace = tf.RunMetadata()
    nodes = trace.step_stats.dev_stats.add(device="/device:CPU:0").node_stats
    for name, duration in microseconds.items():
        nodes.add(node_name=name, all_end_rel_micros=duration)
    return trace


def test_only_steps_after_the_first_count():
    traces = iter([_trace({"IteratorGetNext": 10**9}), *[_trace({"IteratorGetNext": 30_000, "Conv2D": 90_000})] * 4])

    def step() -> tf.RunMetadata:
        time.sleep(0.01)
        return next(traces)

    seconds, waited = waiting.seconds_and_waited(step, warm_up=1, repeats=4)
    assert 0.04 <= seconds < 1
    assert waited == pytest.approx(0.12)


@pytest.mark.slow
def test_steps_wait_for_a_slow_input(toy_dir, monkeypatch):
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, NARROW)
    load_first_rows = sample_loader.load_first_rows

    def load_slowly(sample, rows_of):
        time.sleep(0.5)
        return load_first_rows(sample, rows_of)

    flags = f"--database Toy --data_dir {toy_dir} --network {NETWORK} --batch_size 2 --train_image_size 32"
    shares = []
    for load in (load_first_rows, load_slowly):
        monkeypatch.setattr(sample_loader, "load_first_rows", load)
        rows = list(waiting.measure_waiting(f"{flags} --weight_decay_mode 0", warm_up=3, repeats=3))
        assert [(row.name, row.unit) for row in rows] == [("waiting.step_seconds", "s"), ("waiting.share", "of 1")]
        shares.append(rows[1].value)
    assert 0 <= shares[0] < 0.5 < shares[1] <= 1


def test_flags_are_those_of_training():
    with pytest.raises(FlagError, match="--batch_sizes"):
        list(waiting.measure_waiting("--batch_sizes 2", warm_up=1, repeats=1))
