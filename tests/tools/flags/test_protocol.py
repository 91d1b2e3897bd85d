"""Flags of evaluation protocols and of what is scored."""

from __future__ import annotations

import re

import pytest

from tests.tools.command_lines import parse, refusal
from tools.errors import FlagError
from tools.flags.predict import InferenceConfig, PredictConfig
from tools.flags.protocol import base_and_extra, overlap_fraction


@pytest.mark.parametrize("config", [PredictConfig, InferenceConfig])
def test_values(config):
    flags = parse(
        "--scales 0.5,1,1.75 --base_size 0512+1 --overlap ceil --window_padding both --flipped_eval logits", config
    )
    assert (flags.scales, flags.base_size, flags.overlap) == ((0.5, 1.0, 1.75), "512+1", "ceil")
    assert (flags.window_padding, flags.flipped_eval) == ("both", "logits")
    flags = parse("--short_sides 300,375 --longest_side 900 --test_image_size 0", config)
    assert (flags.short_sides, flags.longest_side) == ((300, 375), 900)
    assert parse("--overlap 0.50", config).overlap == "0.5"


@pytest.mark.parametrize("config", [PredictConfig, InferenceConfig])
def test_the_defaults_are_those_without_the_flags(config):
    flags = parse("", config)
    assert (flags.scales, flags.base_size, flags.short_sides, flags.longest_side) == (None, None, None, 1000)
    assert (flags.overlap, flags.window_padding, flags.flipped_eval) == ("1/3", "end", "image")


def test_texts_as_numbers():
    assert (base_and_extra("512"), base_and_extra("2048+1")) == ((512, 0), (2048, 1))
    assert overlap_fraction("1/3") == (1 / 3, False)
    assert overlap_fraction("ceil") == (1 / 3, True)
    assert overlap_fraction("0.25") == (0.25, False)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--scales 1,0", "--scales: .*numbers above 0"),
        ("--scales nan", "--scales: .*numbers above 0"),
        ("--scales 1,17", "--scales: 1,17 is above 16"),
        ("--scales 0.5 --ms 1", "--ms 1 and --scales both"),
        ("--base_size 4", "--base_size: .*long side of 8 to"),
        ("--base_size 512+", "--base_size: .*512.1"),
        ("--short_sides 300 --base_size 512", "--short_sides and --base_size both"),
        ("--short_sides 300 --ms 1", "--short_sides and --ms 1 both"),
        ("--short_sides 300 --scales 2", "--short_sides and --scales both"),
        ("--short_sides 0", "--short_sides: .*above 0"),
        ("--longest_side 900", "--longest_side 900 has no effect .*--short_sides"),
        ("--overlap 1", "--overlap: .*1/3, ceil, or a fraction"),
        ("--overlap 1/2", "--overlap: .*1/3, ceil, or a fraction"),
        ("--overlap ceil --test_image_size 0", "--overlap ceil has no effect if each image is one window"),
        ("--flipped_eval logits --mirror 0", "--flipped_eval logits has no effect with --mirror 0"),
        ("--flipped_eval sum", "--flipped_eval: .* image, windows, logits"),
        ("--window_padding top", "--window_padding: .* end, both"),
        ("--prediction_ids train", "--prediction_ids train has no effect .*--has_prediction"),
        ("--index_step -1", "--index_step: .*-1"),
        ("--index_step 5 --server_zip 1", "--server_zip 1 needs the whole split: drop --index_start"),
        ("--has_prediction a --ms 1", "--ms 1 has no effect with --has_prediction"),
        ("--has_prediction a --weights_ckpt best", "--weights_ckpt best has no effect with --has_prediction"),
        ("--has_prediction a --base_size 512", "--base_size 512 has no effect with --has_prediction"),
        ("--has_prediction a --areas 1", "--areas 1 has no effect with --has_prediction"),
        ("--has_prediction a --gpu_num 2", "--gpu_num 2 has no effect with --has_prediction"),
        ("--has_prediction a --coloring 0", "--coloring 0 has no effect with --has_prediction"),
        ("--has_prediction a,", "--has_prediction: .*a,.* is not a path"),
    ],
)
def test_refusals(line, words):
    assert re.search(words, refusal(line, PredictConfig))


def test_several_folders(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert parse("--has_prediction ~/a,b/c", PredictConfig).has_prediction == ("/home/me/a", "b/c")


@pytest.mark.parametrize(
    ("line", "items", "text"),
    [
        ("", "abcde", "images 0 to 4 of 5"),
        ("--index_start 2", "cde", "images 2 to 4 of 5"),
        ("--index_step 2", "ab", "images 0 to 1 of 5"),
        ("--index_start 3 --index_step 4", "de", "images 3 to 4 of 5"),
    ],
)
def test_shares(line, items, text):
    flags = parse(line, PredictConfig)
    assert "".join(flags.share_of(list("abcde"))) == items
    assert flags.share_text(len(items), 5) == text
    assert flags.is_share == (line != "")


def test_a_share_after_the_last_image():
    with pytest.raises(FlagError, match="--index_start 5 is after the last image: there are 5"):
        parse("--index_start 5", PredictConfig).share_of(list("abcde"))
