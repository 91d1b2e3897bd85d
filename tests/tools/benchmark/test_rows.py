"""The benchmark's rows; never its figures, which belong to a machine."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from database import synthetic
from database.datasets import custom_dataset
from model import resnet
from tests.tools.random_pspnet import ARCHITECTURE, CLASSES, random_pspnet_record
from tests.tools.toy_runs import NARROW, NETWORK, write_random_pspnet
from tools.benchmark import __main__ as benchmark
from tools.benchmark import engines, flops, input, models, pruning, startup, steps, training
from tools.benchmark.flags import BenchmarkConfig
from tools.benchmark.timing import Row
from tools.errors import FlagError, ProcessEndedError
from tools.flags.definition import flag_properties
from tools.flags.parsing import parse_flags

SMALL = {
    "network": NETWORK, "deep_network": NETWORK, "num_classes": "3", "crop_size": "24x32", "repeats": "1",
    "warm_up": "1", "total_batch_size": "2",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, NARROW)
    monkeypatch.setattr(input, "_FRAME", (48, 96))
    monkeypatch.setattr(flops, "_CEILING_SHAPES", ((8, 3, 4, 4), (8, 1, 4, 8)))
    monkeypatch.setattr(engines, "is_installed", lambda package: False)


@pytest.fixture
def steps_of_nothing(monkeypatch):
    """Steps that are not built, in this process; the plans of those that were asked for."""
    plans = []

    def open_step(stack, plan):
        plans.append(plan)
        return lambda: time.sleep(0.001)

    for module in (startup, training):
        monkeypatch.setattr(module, "open_step", open_step)
    monkeypatch.setattr(training, "peak_bytes_of_step", lambda plan: 5_000_000)
    monkeypatch.setattr(training, "peak_bytes_of_call", lambda step: 5_000_000)
    monkeypatch.setattr(steps, "plain_train_op", lambda *arguments: tf.no_op())
    for module in (startup, training):
        monkeypatch.setattr(module, "run_apart", lambda function, *arguments, **options: function(*arguments))
    return plans


def rows_of(capsys, *flags):
    parts = {"models"} if "--models" in flags else set(flags[flags.index("--parts") + 1].split(","))
    measured = SimpleNamespace(measured=parts)
    needs = flag_properties(BenchmarkConfig, "needs")
    fitting = [(name, value) for name, value in SMALL.items() if all(need.met(measured) for need in needs[name])]
    benchmark.main([*(word for name, value in fitting for word in (f"--{name}", value)), *flags])
    return [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]


def units_of(rows):
    for _, value, _ in rows:
        assert np.isfinite(float(value))
    return {name: unit for name, _, unit in rows}


def test_inference_rows(capsys, tmp_path):
    path = tmp_path / "figures.json"
    rows = rows_of(capsys, "--parts", "inference", "--json", str(path))
    assert units_of(rows) == {
        "inference.fp32.ours": "images/s",
        "inference.fp32.variables": "images/s",
        "inference.fp32.reference": "images/s",
        "ceiling.fp32.convolution": "GFLOP/s",
        "inference.fp32.share_of_ceiling": "of 1",
    }
    figures = json.loads(path.read_text())
    assert figures.keys() == {row[0] for row in rows}
    for name, value, unit in rows:
        assert figures[name]["unit"] == unit
        assert figures[name]["value"] == pytest.approx(float(value), abs=0.001)


@pytest.mark.slow
def test_training_rows(capsys):
    rows = rows_of(capsys, "--parts", "training")
    assert units_of(rows) == {f"training.fp32.{name}": "images/s" for name in ("ours", "bare", "reference")}


def test_rows_of_towers(capsys, steps_of_nothing):
    units = units_of(rows_of(capsys, "--parts", "syncbn"))
    assert units == {
        "syncbn.towers1.seconds": "s",
        "syncbn.towers2.seconds": "s",
        "syncbn.towers1.reference.seconds": "s",
        "syncbn.towers2.reference.seconds": "s",
        "syncbn.towers1.memory": "MB",
        "syncbn.towers2.memory": "MB",
        "syncbn.towers2.time_ratio": "of one tower",
        "syncbn.towers2.memory_ratio": "of one tower",
    }
    assert {(plan.num_towers, plan.batch_size) for plan in steps_of_nothing} == {(1, 2), (2, 1)}


def test_checkpointing_rows(capsys, steps_of_nothing):
    units = units_of(rows_of(capsys, "--parts", "checkpointing"))
    assert units == {
        "checkpointing.ordinary.seconds": "s",
        "checkpointing.ordinary.memory": "MB",
        "checkpointing.saving.seconds": "s",
        "checkpointing.saving.memory": "MB",
        "checkpointing.time_ratio": "of the ordinary step",
        "checkpointing.memory_ratio": "of the ordinary step",
        "checkpointing.in_place.seconds": "s",
        "checkpointing.in_place.memory": "MB",
        "checkpointing.in_place.time_ratio": "of the ordinary step",
        "checkpointing.in_place.memory_ratio": "of the ordinary step",
    }
    steps = {(plan.options.save_memory, plan.architecture.activation) for plan in steps_of_nothing}
    assert steps == {(0, "relu"), (1, "relu"), (2, "leaky_relu")}


def test_growth_rows_leave_out_what_does_not_fit(capsys, monkeypatch, steps_of_nothing):
    def run(function, plan, repeats):
        if plan.num_towers == 2:
            raise ProcessEndedError("no memory")
        return function(plan, repeats)

    monkeypatch.setattr(training, "run_apart", run)
    units = units_of(rows_of(capsys, "--parts", "growth", "--towers", "1,2", "--crop_sizes", "32,24x40"))
    assert units == {
        f"growth.towers1.crop{size}.{kind}": unit
        for size in (32, "24x40")
        for kind, unit in (("seconds", "s"), ("memory", "MB"))
    }
    assert [plan.crop_size for plan in steps_of_nothing] == [(32, 32), (24, 40)]


def test_startup_rows(capsys, steps_of_nothing):
    rows = rows_of(capsys, "--parts", "startup")
    stages = ("import", "build", "first_step", "total")
    assert units_of(rows) == {f"startup.{name}.{stage}": "s" for name in ("ours", "reference") for stage in stages}
    values = {name: float(value) for name, value, _ in rows}
    assert [plan.num_towers for plan in steps_of_nothing] == [4]
    for name in ("ours", "reference"):
        parts = [values[f"startup.{name}.{stage}"] for stage in stages[:-1]]
        assert values[f"startup.{name}.total"] == pytest.approx(sum(parts), abs=0.003)


@pytest.mark.slow
def test_frame_rows(capsys):
    rows = rows_of(capsys, "--parts", "frames", "--frame_size", "40,56", "--window_size", "24x32")
    assert units_of(rows) == {
        "frames.fp32.windows.seconds": "s per frame",
        "frames.fp32.windows.engine_share": "of 1",
        "frames.fp32.whole.seconds": "s per frame",
        "frames.fp32.whole.engine_share": "of 1",
        "frames.fp32.windows.floor_seconds": "s per frame",
    }
    assert all(0 < float(value) <= 1 for name, value, _ in rows if name.endswith("share"))


def test_input_rows(capsys):
    rows = rows_of(capsys, "--parts", "input")
    assert [row[0] for row in rows] == ["input.ours", "input.reference_order"]


def test_a_step_is_taken_before_the_one_whose_memory_is_measured(monkeypatch):
    taken = []
    monkeypatch.setattr(steps, "open_step", lambda stack, plan: lambda: taken.append(plan))
    monkeypatch.setattr(steps, "peak_bytes_of_call", lambda step: step() or len(taken))
    assert steps.peak_bytes_of_step("plan") == 2


@pytest.mark.slow
def test_rows_of_models(capsys, monkeypatch):
    monkeypatch.setattr(models, "run_apart", lambda function, *arguments: function(*arguments))
    rows = rows_of(capsys, "--models", "--networks", NETWORK, "--decoders", "ppm,c1")
    units = {"parameters": "million", "flops": "GFLOP per image", "inference": "images/s", "training": "images/s",
             "memory": "MB"}  # fmt: skip
    decoders = ("ppm", "c1")
    assert units_of(rows) == {
        f"models.{NETWORK}.{decoder}.{name}": unit for decoder in decoders for name, unit in units.items()
    }
    parameters = {name.split(".")[2]: float(value) for name, value, _ in rows if name.endswith("parameters")}
    # Beside the encoder: the 3x3 layer with its two vectors, and the classifier with its biases.
    narrow = 1e6 * parameters["c1"] - (9 * 128 * 512 + 2 * 512 + 512 * 3 + 3)
    pyramid = 4 * (128 * 32 + 2 * 32) + (9 * 256 * 512 + 2 * 512 + 512 * 3 + 3)
    assert 1e6 * parameters["ppm"] == pytest.approx(narrow + pyramid, abs=2e3)


@pytest.mark.slow
def test_rows_of_pruning(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(pruning, "run_apart", lambda function, *arguments: function(*arguments))
    filters = {f"block{block}/unit_1/basic_v1/conv1": 8 for block in (1, 2, 3, 4)}
    record = random_pspnet_record().for_dataset(custom_dataset(CLASSES))
    for name, architecture in (
        ("whole", replace(ARCHITECTURE, decoder="c1", head_depth=24)),
        ("pruned", replace(ARCHITECTURE, decoder="c1", head_depth=24, filters=filters)),
    ):
        write_random_pspnet(str(tmp_path / name / "model.ckpt"), architecture)
        replace(record, architecture=architecture).write(str(tmp_path / name))
    rows = rows_of(capsys, "--parts", "pruning", "--weights_ckpt", str(tmp_path / "pruned"))
    kinds = ("parameters", "flops", "inference", "training", "memory")
    assert list(units_of(rows)) == [f"pruning.{when}.{kind}" for when in ("before", "after") for kind in kinds]
    values = {name: float(value) for name, value, _ in rows}
    assert values["pruning.after.parameters"] < values["pruning.before.parameters"]
    assert values["pruning.after.flops"] < values["pruning.before.flops"]
    with pytest.raises(FlagError, match="whole is not pruned: give what tools.prune wrote"):
        rows_of(capsys, "--parts", "pruning", "--weights_ckpt", str(tmp_path / "whole"))


@pytest.mark.parametrize("build", [input._ours, input._reference_order])
def test_both_orders_of_work_give_the_same_kind_of_crop(tmp_path, build):
    sample = input.write_frame(str(tmp_path), (48, 96))
    _, label = synthetic.render_scene(np.random.default_rng(0), 48, 96)
    with tf.Graph().as_default(), tf.Session() as session:
        fetches, initializer = build(sample, (32, 40))
        session.run(initializer)
        for _ in range(5):
            image, crop_label = session.run(fetches)
            assert (image.shape, image.dtype) == ((1, 32, 40, 3), np.float32)
            assert (crop_label.shape, crop_label.dtype) == ((1, 32, 40), np.int32)
            assert set(np.unique(crop_label)) <= {*np.unique(label), 255}
            assert np.isfinite(image).all()
            assert image.std() > 1


def test_packages_that_are_not_installed_are_logged(caplog, monkeypatch):
    monkeypatch.undo()
    caplog.set_level("INFO")
    assert engines.is_installed("numpy")
    assert not engines.is_installed("no_such_package")
    [message] = caplog.messages
    assert message.startswith("no_such_package is not installed")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--parts speed", "--parts: invalid choice: 'speed' is not one of inference, "),
        ("--float_types 32,64", "--float_types: invalid choice: '64' is not one of 32"),
        ("--parts agreement", "--parts agreement .*: give one with --weights_ckpt"),
        ("--frame_size 512", "--frame_size has 1 numbers, expected a height and a width"),
        ("--towers 1,x", "'1,x' is not whole numbers above 0, separated by commas"),
        ("--crop_sizes 240,0", "'240,0' is not sizes separated by commas, each a size of 8 to 16384"),
        ("--crop_size 7x240", "--crop_size: '7x240' is not a size of 8 to 16384"),
        ("--parts frames --window_size 0", "--window_size: '0' is not a size of 8 to 16384"),
    ],
)
def test_flags_that_cannot_be_followed(flags, words):
    with pytest.raises(FlagError, match=words):
        parse_flags(BenchmarkConfig, flags.split(), "")


def test_figures_that_cannot_be_written(tmp_path):
    with pytest.raises(FlagError, match=r"^--json: \S+ cannot be written \(Is a directory\): give another file$"):
        benchmark.write_json([Row("a", 1.0, "s")], str(tmp_path))
