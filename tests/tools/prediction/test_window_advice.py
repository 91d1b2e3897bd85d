"""Tests the line about images that need many windows."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tools.command_lines import parse
from tools.flags.predict import InferenceConfig
from tools.prediction.scaled_sizes import SCALES_MULTI
from tools.prediction.sliding import SlidingPredictor
from tools.prediction.window_advice import WindowAdvice


@pytest.mark.parametrize("size", [(5, 7), (30, 41), (16, 16), (64, 9)])
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("scales", [(1.0,), SCALES_MULTI])
@pytest.mark.parametrize("window", [16, (8, 12), None])
def test_count_is_that_of_the_predicted_windows(size, mirror, scales, window):
    seen = []

    def predict(windows):
        seen.append(len(windows))
        return np.full((*windows.shape[:3], 2), 0.5, np.float32)

    predictor = SlidingPredictor(predict, 2, window, scales, mirror)
    predictor.labels(np.zeros((*size, 3), np.float32))
    assert predictor.window_count(*size) == sum(seen)


def lines(caplog, flags: str, sizes) -> list[str]:
    config = parse(flags, InferenceConfig)
    scales = SCALES_MULTI if config.ms else (1.0,)
    predictor = SlidingPredictor(lambda windows: windows, 2, 16, scales, config.mirror)
    advice = WindowAdvice(predictor, 16, config)
    caplog.set_level("INFO")
    for number, size in enumerate(sizes):
        advice.give(f"{number}.jpg", *size)
    return [record.getMessage() for record in caplog.records]


def test_one_line_about_the_first_large_image(caplog):
    [line] = lines(caplog, "--windows_per_batch 3", [(16, 16), (160, 60), (1600, 600)])
    # Strides of 10: 16 rows of windows, 6 columns, each mirrored as well.
    assert line.startswith("1.jpg, 160x60 (height x width): 192 windows of 16x16, 64 runs of the network; ")
    assert "--test_image_size above 16 or --mirror 0" in line
    assert "--ms" not in line


def test_flags_that_have_an_effect_are_named(caplog):
    [line] = lines(caplog, "--ms 1 --mirror 0", [(160, 60)])
    assert "--test_image_size above 16 or --ms 0, or" in line
    assert "--mirror" not in line
