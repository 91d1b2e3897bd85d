"""Flags for images of other channels than red, green and blue."""

from __future__ import annotations

import pytest

from database.channels import Channels
from tests.tools.command_lines import parse, refusal
from tools.check_dataset.__main__ import CheckConfig
from tools.flags.chosen_dataset import described_dataset
from tools.flags.predict import InferenceConfig, PredictConfig
from tools.flags.train import TrainConfig
from tools.make_tfrecord.__main__ import MakeTFRecordConfig

OWN = "--database custom --num_classes 3 --batch_size 2"
FOUR = f"{OWN} --input_channels 4 --channel_mean 1,-2.5,3e3,0"


def test_values():
    config = parse(f"{FOUR} --channel_std 1,2,0.5,1000")
    assert (config.input_channels, config.channel_mean) == (4, (1.0, -2.5, 3000.0, 0.0))
    assert config.channel_std == (1.0, 2.0, 0.5, 1000.0)
    rgb = parse(OWN)
    assert (rgb.input_channels, rgb.channel_mean, rgb.channel_std) == (None, None, None)


def test_dataset():
    flags = {"num_classes": 3, "input_channels": 2, "channel_mean": [1, 2], "channel_std": [3.0, 4.0]}
    assert described_dataset("custom", flags).channels == Channels(2, (1, 2), (3.0, 4.0))
    assert described_dataset("custom", {"num_classes": 3, "input_channels": 2}).channels == Channels(2)
    assert described_dataset("custom", {"num_classes": 3}).channels is None
    assert described_dataset("CamVid", {}).channels is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"{OWN} --input_channels 4", ("--input_channels 4 needs --channel_mean", "tools.check_dataset")),
        (f"{OWN} --channel_mean 1,2", ("--channel_mean 1.0,2.0 has no effect on RGB", "--input_channels")),
        (f"{OWN} --channel_std 1,2", ("--channel_std 1.0,2.0 has no effect on RGB", "--input_channels")),
        (f"{OWN} --input_channels 3 --channel_mean 1,2", ("--channel_mean 1.0,2.0 has 2 numbers", "is 3")),
        (f"{FOUR} --channel_std 1,2,3", ("--channel_std 1.0,2.0,3.0 has 3 numbers", "is 4")),
        (f"{FOUR} --image_mean 1,2,3", ("--image_mean 1.0,2.0,3.0 has no effect with --input_channels 4",)),
        (f"{FOUR} --color_jitter 0.5", ("--color_jitter 0.5 has no effect with --input_channels",)),
        (f"{FOUR} --color_switch 1", ("--color_switch 1 has no effect with --input_channels",)),
        (f"{FOUR} --random_blur 1", ("--random_blur 1 has no effect with --input_channels", "--random_blur 0")),
        (f"{OWN} --input_channels 0", ("--input_channels", "0 is below 1")),
        (f"{OWN} --input_channels 257", ("--input_channels", "257 is above 256")),
        (f"{OWN} --input_channels 1 --channel_mean nan", ("--channel_mean", "'nan' is not finite numbers")),
        (f"{FOUR} --channel_std 1,2,0,4", ("--channel_std", "'1,2,0,4' is not numbers above 0")),
        (
            "--database CamVid --batch_size 2 --input_channels 4",
            ("--input_channels is only used with --database custom",),
        ),
    ],
)
def test_refused_in_training(line, words):
    message = refusal(line, TrainConfig)
    for word in words:
        assert word in message
    assert "\n" not in message


def test_what_means_something_for_all_channels():
    config = parse(f"{FOUR} --gaussian_blur 1 --cutout 0.3 --class_mix 0.5 --random_blur 0 --input_range 10000")
    assert (config.gaussian_blur, config.cutout, config.class_mix, config.input_range) == (True, 0.3, 0.5, 10000)


def test_other_programs():
    own = OWN.replace(" --batch_size 2", "")
    assert parse(f"{own} --input_channels 4", CheckConfig).input_channels == 4
    assert parse(f"{own} --input_channels 4", MakeTFRecordConfig).input_channels == 4
    for name in ("channel_mean", "channel_std"):
        message = refusal(f"{own} --input_channels 1 --{name} 5", MakeTFRecordConfig)
        assert f"--{name} 5.0 has no effect on TFRecords" in message
    for config in (PredictConfig, InferenceConfig):  # they read the record of the checkpoint
        assert "--input_channels" in refusal("--input_channels 4", config)
