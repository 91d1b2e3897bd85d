"""Flags that would do nothing are refused, with the flag that takes the effect away or the one that is missing."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from database.datasets import custom_dataset
from tests.tools.command_lines import parse, refusal
from tools.benchmark import __main__ as benchmark
from tools.benchmark.__main__ import PARTS, BenchmarkConfig
from tools.check_dataset import CheckConfig
from tools.flag_checks import refuse_no_results
from tools.flag_parsing import FlagError, mean_color
from tools.flags import InferenceConfig, PredictConfig, TrainConfig
from tools.training_data import validation_samples

FROM_SCRATCH = "--fine_tune_filename none --weight_decay_mode 0"
DYNAMIC = "--dynamic_size 1 --random_scale 0"


@pytest.mark.parametrize(
    ("line", "config", "words"),
    [
        (DYNAMIC, TrainConfig, "--random_scale 0 has no effect beside --dynamic_size 1, .* --dynamic_short_sides, or"),
        (f"{FROM_SCRATCH} --consider_dilated 1", TrainConfig, "--consider_dilated 1 .* --weight_decay_rate2 another"),
        ("--poly_lr 0 --lr_step 30000,40000", TrainConfig, "--lr_step 30000,40000 has no effect .* --train_max_iter"),
        (
            "--test_image_size 0 --mirror 0 --windows_per_batch 2", PredictConfig,
            "--windows_per_batch 2 has no effect .*--test_image_size 0",
        ),
        ("--coloring 0 --palette p.txt", InferenceConfig, "--palette p.txt has no effect where --coloring 0 writes"),
        ("--thumbnails 0 --seed 3", CheckConfig, "--seed 3 has no effect .* add --max_images, or drop --seed"),
        ("--models --parts frames", BenchmarkConfig, "--parts frames has no effect beside --models"),
        ("--parts input --towers 1,2", BenchmarkConfig, "--towers 1,2 has no effect on --parts input: .* growth; add"),
        ("--networks resnet_v1_18", BenchmarkConfig, "--networks resnet_v1_18 has no effect .* it is for models; add"),
        ("--models --frames 2", BenchmarkConfig, "--frames 2 has no effect on --parts models: it is for frames"),
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
        ("--thumbnails 0 --max_images 5 --seed 3", CheckConfig),
        ("--models --networks resnet_v1_18 --repeats 2", BenchmarkConfig),
        ("--parts input,growth --towers 1,2 --network resnet_v1_18", BenchmarkConfig),
    ],
)
def test_flags_with_an_effect(line, config):
    assert parse(line, config)


def test_flags_of_the_benchmark_are_for_parts_that_there_are():
    names = {field.name for field in dataclasses.fields(BenchmarkConfig)}
    assert benchmark._PARTS_OF_FLAGS.keys() <= names
    assert {part for parts in benchmark._PARTS_OF_FLAGS.values() for part in parts} <= set(PARTS)


@pytest.mark.parametrize("flag", ["--val_every 5", "--test_max_iter 2", "--eval_only 1"])
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
def test_a_mean_of_fractions_is_told_from_one_of_bytes(given, meant):
    told = refusal(f"--database custom --num_classes 3 --image_mean {given}")
    assert "--image_mean" in told
    assert given in told
    assert told.endswith(f"give {meant} (see --help)")
    assert parse(f"--database custom --num_classes 3 --image_mean {meant}").image_mean == mean_color(meant)


@settings(deadline=None)
@given(st.tuples(*[st.floats(0, 255)] * 3))
def test_a_mean_is_taken_or_its_bytes_are_told(mean):
    text = ",".join(map(str, mean))
    if max(mean) > 1 or max(mean) == 0:
        assert mean_color(text) == mean
        return
    with pytest.raises(ValueError, match="fractions") as caught:
        mean_color(text)
    told = [float(part) for part in str(caught.value).rsplit(" ", 1)[1].split(",")]
    assert told == pytest.approx([255 * value for value in mean], rel=1e-5)
