"""Flags that would do nothing are refused, with the flag that takes the effect away or the one that is missing."""

from __future__ import annotations

import dataclasses
import re
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from database.datasets import custom_dataset
from tests.tools.command_lines import parse, refusal
from tools.benchmark import __main__ as benchmark
from tools.benchmark import agreement as bench_agreement
from tools.benchmark import exports as bench_exports
from tools.benchmark import frames as bench_frames
from tools.benchmark import hosts as bench_hosts
from tools.benchmark import inference as bench_inference
from tools.benchmark import input as bench_input
from tools.benchmark import layers as bench_layers
from tools.benchmark import models as bench_models
from tools.benchmark import pruning as bench_pruning
from tools.benchmark import startup as bench_startup
from tools.benchmark import training as bench_training
from tools.benchmark import waiting as bench_waiting
from tools.benchmark.flags import PARTS, BenchmarkConfig
from tools.check_dataset.__main__ import CheckConfig
from tools.errors import FlagError
from tools.flags.checks import refuse_no_results
from tools.flags.definition import flag_properties, flags_where
from tools.flags.predict import InferenceConfig, PredictConfig
from tools.flags.train import TrainConfig
from tools.flags.values import mean_color
from tools.runtime.stop_requests import going_on
from tools.training.identity import FLAGS_IN_IDENTITY
from tools.training.samples import validation_samples

FROM_SCRATCH = "--fine_tune_filename none --weight_decay_mode 0"
DYNAMIC = "--dynamic_size 1 --random_scale 0"


@pytest.mark.parametrize(
    ("line", "config", "words"),
    [
        (DYNAMIC, TrainConfig, "--random_scale 0 has no effect with --dynamic_size 1, .* --dynamic_short_sides, or"),
        (f"{FROM_SCRATCH} --consider_dilated 1", TrainConfig, "--consider_dilated 1 .* --weight_decay_rate2 another"),
        ("--poly_lr 0 --lr_step 30000,40000", TrainConfig, "--lr_step 30000,40000 has no effect .* --train_max_iter"),
        (
            "--test_image_size 0 --mirror 0 --windows_per_batch 2", PredictConfig,
            "--windows_per_batch 2 has no effect .*--test_image_size 0",
        ),
        ("--coloring 0 --palette p.txt", InferenceConfig, "--palette p.txt has no effect with --coloring 0"),
        ("--dynamic_size 1 --random_rotate 1", TrainConfig, "--random_rotate 1 has no effect .* rotates nothing"),
        ("--parts frames --crop_size 300", BenchmarkConfig, "--crop_size 300 has no effect on --parts frames: add "),
        ("--parts input --network resnet_v1_18", BenchmarkConfig, "--network resnet_v1_18 has no effect on --parts in"),
        ("--parts syncbn,checkpointing --float_types 32,16", BenchmarkConfig, "--float_types 16 has no effect .* one"),
        ("--thumbnails 0 --seed 3", CheckConfig, "--seed 3 has no effect .* add --max_images, or drop --seed"),
        ("--models --parts frames", BenchmarkConfig, "--parts frames has no effect with --models"),
        ("--parts input --towers 1,2", BenchmarkConfig, "--towers 1,2 has no effect on --parts input: .*add .*growth"),
        ("--networks resnet_v1_18", BenchmarkConfig, "--networks resnet_v1_18 has no effect .*: add one of models"),
        ("--from_step 3", PredictConfig, "--from_step 3 has no effect on a single checkpoint: add --follow"),
        ("--check_hosts 5", TrainConfig, "--check_hosts 5 has no effect on one host: add --hosts, or drop"),
        ("--snapshot_on all", TrainConfig, "--snapshot_on all has no effect on one host: add --hosts, or drop"),
        ("--host_rank 0", TrainConfig, "--host_rank 0 has no effect on one host: add --hosts, or drop"),
        ("--host_rank 0", PredictConfig, "--host_rank 0 has no effect on one host: add --hosts, or drop"),
        ("--host_timeout 5", PredictConfig, "--host_timeout 5.0 has no effect on one host: add --hosts, or drop"),
        ("--hosts slurm --host_rank 1", TrainConfig, "--host_rank 1 has no effect with --hosts slurm, .* addresses"),
        ("--has_prediction x --hosts slurm", PredictConfig, "--hosts slurm has no effect with --has_prediction"),
        ("--models --frames 2", BenchmarkConfig, "--frames 2 has no effect on --parts models: add one of frames"),
    ],
)  # fmt: skip
def test_flags_without_effect(line, config, words):
    assert re.search(words, refusal(line, config))


@pytest.mark.parametrize(
    ("line", "config"),
    [
        ("--dynamic_size 1 --dynamic_short_sides 300", TrainConfig),
        (f"{FROM_SCRATCH} --consider_dilated 1 --weight_decay_rate2 0.001", TrainConfig),
        ("--consider_dilated 1", TrainConfig),  # L2-SP or L2
        ("--poly_lr 0 --lr_step 29999,40000", TrainConfig),
        ("--test_image_size 0 --windows_per_batch 2", PredictConfig),  # an image and its mirrored copy
        ("--mirror 0 --windows_per_batch 2", PredictConfig),
        ("--coloring 0 --database custom --num_classes 2 --palette p.txt", PredictConfig),  # the names of classes
        ("--seed 3", CheckConfig),
        ("--dynamic_size 1 --random_rotate 0", TrainConfig),  # as it is
        ("--parts training,syncbn --float_types 32,16", BenchmarkConfig),
        ("--thumbnails 0 --max_images 5 --seed 3", CheckConfig),
        ("--models --networks resnet_v1_18 --repeats 2", BenchmarkConfig),
        ("--parts input,growth --towers 1,2 --network resnet_v1_18", BenchmarkConfig),
        ("--hosts slurm --check_hosts 0 --snapshot_on all --host_timeout 5", TrainConfig),
        ("--hosts a:1,b:2 --host_rank 1 --host_timeout 5", PredictConfig),
    ],
)
def test_flags_with_an_effect(line, config):
    assert parse(line, config)


def test_flags_of_the_benchmark_are_for_the_parts_that_read_them(monkeypatch):
    """Each part runs with nothing measured; which flags it reads is recorded."""

    class Read(BenchmarkConfig):
        def __getattribute__(self, name):
            if name in flags:
                seen.add(name)
            return super().__getattribute__(name)

    bench_serving = pytest.importorskip("tools.benchmark.serving", reason="the extra serve is not installed")
    needs = flag_properties(BenchmarkConfig, "needs")
    flags, seen = needs.keys() - {"parts", "models", "layers", "json"}, set()
    modules = (bench_agreement, bench_exports, bench_frames, bench_hosts, bench_inference, bench_input, bench_layers,
               bench_models, bench_pruning, bench_serving, bench_startup, bench_training, bench_waiting)  # fmt: skip
    for module in modules:
        for name in dir(module):
            if name.startswith("measure_"):
                monkeypatch.setattr(module, name, lambda *arguments, **options: iter(()))
    config = Read()
    for part in PARTS:
        seen.clear()
        assert list(benchmark._MEASURE[part](config)) == []
        measured = SimpleNamespace(measured=(part,), models=False)
        assert seen == {name for name in flags if all(need.met(measured) for need in needs[name])}, part


FREE_ON_RESUME = set(flags_where(TrainConfig, resume="free"))
NETWORK_FLAGS = {name for name, path in flag_properties(TrainConfig, "recorded").items() if path is not None}

# What --eval_only 1 reads: which run and snapshot, how it is scored, and the network and classes that it checks.
# `tests/scripts/test_train.py` and `tests/tools/training/test_samples.py` observe that it reads no ignored flag.
READ_IN_SCORING = {
    "eval_only", "log_dir", "run_name", "resume_step", "subsets_for_training", "mirror", "test_image_size",
    "test_max_iter",
    "float_type", "gpu_num", "device", "database", "data_dir", "data_format", "val_list", "holdout", "num_classes",
    "palette", "label_map", "ignore_label", "reduce_zero_label", "image_mean", "input_range", "max_pixels", "quiet",
    "use_ema", "channel_mean", "channel_std", "hosts", "host_rank",
    *NETWORK_FLAGS,
}  # fmt: skip


# Lines of the flags whose default is none, or which need another.
LINES = {
    "holdout": "--holdout 0.5", "image_mean": "--image_mean 1,2,3", "lr_step": "--poly_lr 0 --lr_step 3",
    "database": "--database custom", "num_classes": "--num_classes 3", "decoder": "--decoder ppm",
    "stride_convention": "--stride_convention slim", "pool_padding": "--pool_padding same",
    "output_stride": "--output_stride 8", "resize_grid": "--resize_grid legacy", "color_switch": "--color_switch 1",
    "three_convs_beginning": "--three_convs_beginning 1", "upsample_logits": "--upsample_logits 0",
    "reduce_zero_label": "--reduce_zero_label 1", "activation": "--activation relu",
    "filter_scale": "--filter_scale 0.5", "encoder_blocks": "--encoder_blocks 3",
    "input_channels": "--input_channels 2 --channel_mean 1,2", "channel_mean": "--channel_mean 1,2 --input_channels 2",
    "channel_std": "--channel_std 1,2 --input_channels 2 --channel_mean 1,2",
    "hosts": "--hosts slurm", "host_rank": "--hosts a:1,b:1 --host_rank 1",
    "lr_schedule": "--lr_schedule cosine", "freeze": "--freeze encoder", "patience": "--val_every 2 --patience 3",
}  # fmt: skip


def line_of(field: dataclasses.Field) -> str:
    """A line that gives a flag, at its default where it has one."""
    default = 3 if field.default is None else field.default
    value = ",".join(map(str, default)) if isinstance(default, tuple) else default
    return LINES.get(field.name, f"--{field.name} {int(value) if isinstance(value, bool) else value}")


@pytest.mark.parametrize("run", ["", "--run_name r "])
@pytest.mark.parametrize("field", dataclasses.fields(TrainConfig), ids=lambda field: field.name)
def test_every_flag_has_an_effect_on_scoring_or_is_named_as_ignored(field, run, caplog):
    """At its default too; without --run_name, what changes the weights finds the run."""
    caplog.set_level("INFO")
    lines = {"eval_only": "--eval_only 1", "database": "--database custom", "num_classes": "--num_classes 3"}
    if field.name != "holdout":
        lines["val_list"] = "--val_list v.txt"
    line = run + " ".join((lines | {field.name: line_of(field)} | {"eval_only": "--eval_only 1"}).values())
    found_by = set() if run else {*FLAGS_IN_IDENTITY, "batch_size", "class_weights", "epochs", "fine_tune_filename"}
    config = parse(line if field.name != "run_name" else line.removeprefix(run))
    if field.name in ("run_name", *READ_IN_SCORING, *found_by):
        assert not caplog.messages
    else:
        assert re.search(f"ignored with --eval_only 1: .*--{field.name}\\b", caplog.text)
        assert getattr(config, field.name) == field.default


def test_the_flags_that_scoring_reads():
    """A new flag without `scoring` is ignored if a resumed run may change it, and finds the run otherwise."""
    scoring = flag_properties(TrainConfig, "scoring")
    assert {name for name, use in scoring.items() if use == "read"} == READ_IN_SCORING
    assert {name for name, use in scoring.items() if callable(use)} == {"train_list"}
    of_the_start = {"epochs", "fine_tune_filename", "train_max_iter"}
    ignored = {name for name, use in scoring.items() if use == "ignored"}
    assert ignored == FREE_ON_RESUME - READ_IN_SCORING - of_the_start


def named_flags(message: str) -> set[str]:
    return set(re.findall(r"--(\w+)", message))


def test_the_command_of_training_scores(caplog):
    """The commonest script adds --eval_only 1 to it; what is ignored is named in one line."""
    caplog.set_level("INFO")
    line = "--train_max_iter 9 --keep 3 --val_every 2 --lrn_rate 0.1 --auto_resume 1 --save_memory 1 --eval_only 1"
    assert parse(line) == TrainConfig(train_max_iter=9, lrn_rate=0.1, eval_only=True)  # these two find the run
    [line_of_log] = caplog.messages
    ignored = {"auto_resume", "val_every", "keep", "save_memory"}
    assert named_flags(line_of_log) == {"eval_only", *ignored}
    caplog.clear()
    assert parse(f"{line} --run_name seed0 --resume_step 4") == TrainConfig(
        eval_only=True, run_name="seed0", resume_step=4
    )
    [line_of_log] = caplog.messages
    assert named_flags(line_of_log) == {"eval_only", *ignored, "lrn_rate", "train_max_iter"}


@pytest.mark.parametrize("given", ["", "--resume_step 4 ", "--resume_step latest "])
def test_the_step_that_a_stopped_run_names_may_be_added_to_its_flags(given, caplog):
    """It counts, whatever step the command went on from; with --auto_resume 1 nothing is to be added."""
    caplog.set_level("INFO")
    message = going_on(9)
    [advised] = re.findall(r"--resume_step \d+", message)
    assert parse(f"--seed 3 {given}{advised}") == TrainConfig(seed=3, resume_step=9)
    assert len(caplog.messages) == bool(given)
    assert message.endswith("(with --auto_resume 1, the same command goes on)")
    assert parse("--seed 3 --auto_resume 1").auto_resume


def test_a_file_of_flags_serves_training_and_scoring(tmp_path, caplog):
    caplog.set_level("INFO")
    path = tmp_path / "run.yaml"
    path.write_text("database: CamVid\nlrn_rate: 0.1\nkeep: 2\nval_every: 5\nsave_memory: 1\ncheckpoint_units: 3\n")
    trained = parse(f"--config {path}")
    assert (trained.keep, trained.val_every, trained.checkpoint_units, caplog.messages) == (2, 5, 3, [])
    scored = parse(f"--config {path} --eval_only 1 --keep 3 --log_memory 1")
    assert scored == TrainConfig(database="CamVid", lrn_rate=0.1, eval_only=True)
    [line_of_log] = caplog.messages
    ignored = {"val_every", "keep", "save_memory", "checkpoint_units", "log_memory"}
    assert named_flags(line_of_log) == {"eval_only", *ignored}
    path.write_text("dynamic_size: 1\nrandom_rotate: 1\n")
    assert "--random_rotate 1 has no effect" in refusal(f"--config {path}")  # whatever the mode


@pytest.mark.parametrize("flag", ["--val_every 5", "--test_max_iter 2", "--mirror 0", "--eval_only 1"])
def test_scoring_without_validation_images(flag, tmp_path):
    line = "--database custom --num_classes 3 --train_list train.txt"
    dataset = custom_dataset(3, train_list="train.txt")
    assert validation_samples(parse(line), dataset, str(tmp_path)) == []
    with pytest.raises(FlagError) as caught:
        validation_samples(parse(f"{line} {flag}"), dataset, str(tmp_path))
    assert re.fullmatch(f"{flag} has no effect .*--val_list.*--holdout, or drop {flag.split()[0]}", str(caught.value))


NOTHING = "--save_prediction 0 --coloring 0"


def test_a_prediction_without_results():
    for line in (f"--mode test {NOTHING}", f"--mode val {NOTHING}"):
        with pytest.raises(FlagError, match="--save_prediction 0 with --coloring 0 writes nothing, .* --mode"):
            refuse_no_results(parse(line, PredictConfig), has_labels=False)
        refuse_no_results(parse(line, PredictConfig), has_labels=True)
    for line in (f"{NOTHING} --measure_time 1", "--save_prediction 0", "--coloring 0"):
        refuse_no_results(parse(line, PredictConfig), has_labels=False)


@pytest.mark.parametrize(
    ("given", "meant"),
    [("0.485,0.456,0.406", "123.675,116.28,103.53"), ("1,1,1", "255,255,255"), ("0,0,0.5", "0,0,127.5")],
)
def test_a_mean_of_fractions_is_distinguished_from_one_of_bytes(given, meant):
    message = refusal(f"--database custom --num_classes 3 --image_mean {given}")
    assert "--image_mean" in message
    assert given in message
    assert message.endswith(f"give {meant} (see --help)")
    assert parse(f"--database custom --num_classes 3 --image_mean {meant}").image_mean == mean_color(meant)


@settings(deadline=None)
@given(st.tuples(*[st.floats(0, 255)] * 3))
def test_a_mean_is_accepted_or_its_bytes_are_named(mean):
    text = ",".join(map(str, mean))
    if max(mean) > 1 or max(mean) == 0:
        assert mean_color(text) == mean
        return
    with pytest.raises(ValueError, match="fractions") as caught:
        mean_color(text)
    message = [float(part) for part in str(caught.value).rsplit(" ", 1)[1].split(",")]
    assert message == pytest.approx([255 * value for value in mean], rel=1e-5)
