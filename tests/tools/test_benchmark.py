"""The benchmark's rows; never its figures, which belong to a machine."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from database import synthetic
from model import resnet
from tests.tools.runs import NARROW, NETWORK
from tools import benchmark, benchmark_input
from tools.flag_parsing import FlagError, parse_flags
from tools.timing import Row

SMALL = ["--network", "resnet_v1_18", "--num_classes", "3", "--crop_size", "32", "--repeats", "1", "--warm_up", "1"]


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, NARROW)
    monkeypatch.setattr(benchmark_input, "_FRAME", (48, 96))


def rows_of(capsys, *flags):
    benchmark.main([*SMALL, *flags])
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_inference_rows(capsys, tmp_path):
    path = tmp_path / "figures.json"
    rows = rows_of(capsys, "--parts", "inference", "--json", str(path))
    assert [row[0] for row in rows] == ["inference.fp32.ours", "inference.fp32.variables"]
    figures = json.loads(path.read_text())
    assert figures.keys() == {row[0] for row in rows}
    for name, value, unit in rows:
        assert figures[name]["unit"] == unit == "images/s"
        assert figures[name]["value"] == pytest.approx(float(value), abs=0.001)
        assert float(value) > 0


def test_training_rows(capsys):
    rows = rows_of(capsys, "--parts", "training", "--total_batch_size", "2")
    assert [(row[0], row[2]) for row in rows] == [
        ("training.fp32.ours", "images/s"), ("syncbn.towers1.seconds", "s"), ("syncbn.towers2.seconds", "s")
    ]  # fmt: skip


def test_input_rows(capsys):
    rows = rows_of(capsys, "--parts", "input")
    assert [row[0] for row in rows] == ["input.ours", "input.reference_order"]


@pytest.mark.parametrize("build", [benchmark_input._ours, benchmark_input._reference_order])
def test_both_orders_of_work_give_the_same_kind_of_crop(tmp_path, build):
    sample = benchmark_input._write_frame(str(tmp_path))
    _, label = synthetic.render_scene(np.random.default_rng(0), 48, 96)
    with tf.Graph().as_default(), tf.Session() as session:
        fetches, initializer = build(sample, 40)
        session.run(initializer)
        for _ in range(5):
            image, crop_label = session.run(fetches)
            assert (image.shape, image.dtype) == ((1, 40, 40, 3), np.float32)
            assert (crop_label.shape, crop_label.dtype) == ((1, 40, 40), np.int32)
            assert set(np.unique(crop_label)) <= {*np.unique(label), 255}
            assert np.isfinite(image).all()
            assert image.std() > 1


@pytest.mark.parametrize("flags", ["--parts speed", "--float_types 32,64"])
def test_unknown_part_or_precision(flags):
    with pytest.raises(FlagError, match=r"(speed|64) is unknown: use"):
        parse_flags(benchmark.BenchmarkConfig, flags.split(), "")


def test_figures_that_cannot_be_written(tmp_path):
    with pytest.raises(FlagError, match=r"^--json \S+ cannot be written \(Is a directory\): give another file$"):
        benchmark.write_json([Row("a", 1.0, "s")], str(tmp_path))
