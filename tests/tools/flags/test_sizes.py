"""Sizes of crops and windows on command lines and in files of flags."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tools.command_lines import parse, refusal
from tools.errors import FlagError
from tools.flags.limits import LARGEST_SIDE, SMALLEST_SIDE
from tools.flags.parsing import parse_flags
from tools.flags.predict import InferenceConfig, PredictConfig
from tools.flags.recorded import fault_of_recorded
from tools.flags.sizes import crop_size, crop_sizes, in_words, is_size, sides, size_of, window_size
from tools.flags.train import TrainConfig

SIDES = st.integers(SMALLEST_SIDE, LARGEST_SIDE)


@pytest.mark.parametrize(
    ("text", "size", "pair"),
    [
        ("480", 480, (480, 480)),
        ("480x480", 480, (480, 480)),
        ("360x480", "360x480", (360, 480)),
        ("360X480", "360x480", (360, 480)),
        ("0360x0480", "360x480", (360, 480)),
        ("8x16384", "8x16384", (8, 16384)),
    ],
)
def test_sizes(text, size, pair):
    assert crop_size(text) == window_size(text) == size
    assert type(crop_size(text)) is type(size)
    assert sides(size) == pair
    assert in_words(size) == "{}x{}".format(*pair)


@given(SIDES, SIDES)
def test_each_size_has_one_value(height, width):
    size = crop_size(f"{height}x{width}")
    assert size == size_of(height, width) == crop_size(str(size))
    assert sides(size) == (height, width)
    assert isinstance(size, int) == (height == width)
    assert json.loads(json.dumps(size)) == size
    assert is_size(size)


@pytest.mark.parametrize(
    "text",
    ["", "x", "x480", "360x", "0x480", "360x0", "7x480", "360x16385", "-360x480", "360x-480", "360x480x3", "1e3",
     "36.0", "480.0", "3_60x480", "a", "0x10", "0x1e0", "360x480 pixels", "9999999999x480"],
)  # fmt: skip
def test_no_sizes(text):
    for name in ("train_image_size", "test_image_size"):
        message = refusal(f"--batch_size 2 --{name}={text.replace(' ', '_')}")
        assert f"--{name}: '{text.replace(' ', '_')}' is not a size of 8 to 16384, such as 480 or 360x480" in message
        assert "(height x width)" in message
        assert "did you mean" not in message
        assert "\n" not in message


@pytest.mark.parametrize(
    "text", ["360×480", "360,480", "360*480", "360:480", "360/480", "360 x 480", "360 480", "(360,480)"]
)
def test_other_spellings_are_suggested(text):
    for config, name in ((TrainConfig, "train_image_size"), (PredictConfig, "test_image_size")):
        with pytest.raises(
            FlagError, match=rf"--{name}: '{re.escape(text)}' is not a size of .*: did you mean 360x480\?"
        ):
            parse_flags(config, [f"--{name}", text], "")


def test_whole_images_are_predicted_but_not_cropped():
    for config in (TrainConfig, PredictConfig, InferenceConfig):
        assert parse_flags(config, ["--test_image_size", "0"], "").test_image_size == 0
        with pytest.raises(FlagError, match="'0x480' is not a size of 8 to 16384, .*, or 0 for whole images"):
            parse_flags(config, ["--test_image_size", "0x480"], "")
    assert "--train_image_size: '0' is not a size of 8 to 16384" in refusal("--batch_size 2 --train_image_size 0")


@pytest.mark.parametrize("name", ["flags.yaml", "flags.json"])
@pytest.mark.parametrize(
    ("written", "size"),
    [("480", 480), ("360x480", "360x480"), ("360X480", "360x480"), ("480x480", 480), ("720x8", "720x8")],
)
def test_files_and_command_lines_agree(tmp_path, name, written, size):
    value = json.dumps(written) if name.endswith("json") and not written.isdigit() else written
    text = '{"train_image_size": %s, "test_image_size": %s}' if name.endswith("json") else "%s"
    path = tmp_path / name
    path.write_text(
        text % (value, value) if name.endswith("json") else f"train_image_size: {value}\ntest_image_size: '{value}'\n"
    )
    config = parse(f"--batch_size 2 --config {path}")
    assert config == parse(f"--batch_size 2 --train_image_size {written} --test_image_size {written}")
    assert (config.train_image_size, config.test_image_size) == (size, size)


def test_a_list_in_a_file_is_no_size(tmp_path):
    path = tmp_path / "flags.yaml"
    path.write_text("train_image_size: [360, 480]\n")
    assert "--train_image_size: '360,480' is not a size" in refusal(f"--batch_size 2 --config {path}")
    assert "did you mean 360x480?" in refusal(f"--batch_size 2 --config {path}")


def test_several_sizes():
    assert crop_sizes("240,180x240,32x32") == (240, "180x240", 32)
    for text in ("240,", "240,0", "240,180x", ""):
        with pytest.raises(ValueError, match="^sizes separated by commas, each a size of 8 to 16384"):
            crop_sizes(text)


def test_a_text_that_is_no_size():
    for text in ("360", "360,480", "x", "360x480x3"):
        with pytest.raises(ValueError, match=f"'{text}': expected a text such as 360x480; pass a number"):
            sides(text)


@pytest.mark.parametrize("name", ["train_image_size", "test_image_size"])
def test_recorded_sizes(name):
    for size in (480, "360x480"):
        assert fault_of_recorded(TrainConfig, name, size) is None
    for value in ("480", "480x480", "360X480", "0360x480", "0x480", 7, 480.0, [360, 480], "360x16385", True, None):
        assert fault_of_recorded(TrainConfig, name, value) == "a value of this flag"
