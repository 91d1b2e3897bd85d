"""The flags of predict.py and inference.py: defaults, and which of them contradict each other."""

from __future__ import annotations

import re

import pytest

from tests.tools.command_lines import parse, refusal
from tools.flags.predict import InferenceConfig, PredictConfig

PREDICT_DEFAULTS = {
    "mode": "val",
    "color_switch": None,
    "test_max_iter": None,
    "mirror": True,
    "ms": False,
    "save_prediction": True,
    "float_type": "auto",
    "network": None,
    "database": None,
    "weights_ckpt": None,
    "three_convs_beginning": None,
}


def test_reference_commands_for_prediction():
    snapshot = "./log/run/model.ckpt-30000"
    predict = parse(f"--coloring 1 --ms 1 --network resnet_v1_50 --weights_ckpt {snapshot}", PredictConfig)
    assert (predict.coloring, predict.ms, predict.network, predict.weights_ckpt) == (
        True,
        True,
        "resnet_v1_50",
        snapshot,
    )
    infer = parse(
        f"--coloring 1 --ms 0 --network resnet_v1_50 --weights_ckpt {snapshot} --image_path a.png",
        InferenceConfig,
    )
    assert (infer.ms, infer.image_path) == (False, "a.png")
    assert parse("", InferenceConfig).image_path is None


def test_defaults_are_the_reference_ones():
    predict = parse("", PredictConfig)
    assert {name: getattr(predict, name) for name in PREDICT_DEFAULTS} == PREDICT_DEFAULTS


@pytest.mark.parametrize(
    ("line", "config", "words"),
    [
        ("--weights_ckpt a --log_dir b", PredictConfig, "--log_dir b has no effect beside --weights_ckpt, which"),
        ("--weights_ckpt a --log_dir b", InferenceConfig, "--log_dir b has no effect beside .*, or drop --log_dir"),
        ("--database KITTI --holdout 0.2", PredictConfig, "unrecognized arguments: --holdout 0.2"),
        ("--server_zip 1 --save_prediction 0", PredictConfig, "--server_zip 1 packs the label ids that"),
        ("--server_zip 1 --test_max_iter 3", PredictConfig, "--server_zip 1 needs the whole split: drop"),
        ("--database ADE --num_classes 3", PredictConfig, "--num_classes needs --database custom"),
        ("--database ADE --num_classes 3", InferenceConfig, "--num_classes needs --database custom"),
        ("--follow run --weights_ckpt a", PredictConfig, "--follow looks for snapshots itself: drop --weights_ckpt"),
        ("--follow run --log_dir b", PredictConfig, "--log_dir b has no effect beside --follow, which"),
        ("--measure_time 1", InferenceConfig, "--measure_time 1 would time the typing too: .* --image_path"),
        ("--val_list v.txt", InferenceConfig, "unrecognized arguments: --val_list v.txt"),
    ],
)  # fmt: skip
def test_contradictions(line, config, words):
    assert re.search(words, refusal(line, config))


def test_inference_takes_colours_and_ids_for_any_dataset():
    config = parse("--database ADE --palette p.txt --label_map m.txt --image_mean 1,2,3", InferenceConfig)
    assert (config.palette, config.label_map, config.image_mean) == ("p.txt", "m.txt", (1.0, 2.0, 3.0))
