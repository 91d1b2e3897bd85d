"""Flags as Python values, with the checks of a command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tools.errors import FlagError
from tools.flags.predict import InferenceConfig
from tools.flags.python_values import flags_of_values

EXCLUDED = {"image_path": "give images to model.segment()"}


def flags(**values) -> InferenceConfig:
    return flags_of_values(InferenceConfig, values, EXCLUDED)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("ms", True, True),
        ("mirror", False, False),
        ("mirror", 0, False),
        ("mirror", "0", False),
        ("ms", None, False),
        ("device", "cpu", "cpu"),
        ("test_image_size", 480, 480),
        ("test_image_size", np.int64(480), 480),
        ("test_image_size", (360, 480), "360x480"),
        ("test_image_size", [480, 480], 480),
        ("test_image_size", "360x480", "360x480"),
        ("image_mean", (1, 2.5, 3), (1.0, 2.5, 3.0)),
        ("input_range", 4095, 4095.0),
        ("weights_ckpt", Path("log/a,b=c run"), "log/a,b=c run"),
        ("weights_ckpt", "-x", "-x"),
        ("save_probabilities", True, "npz"),
        ("save_probabilities", "png", "png"),
        ("polygons", "geojson", "geojson"),
        ("three_convs_beginning", True, True),
    ],
)
def test_values(name, value, expected):
    assert getattr(flags(**{name: value}), name) == expected


def test_other_names_and_spellings_are_those_of_a_command_line():
    assert flags(structure_in_paper=True).three_convs_beginning is True
    assert flags(network="resnet50").network == "resnet_v1_50"
    assert flags() == InferenceConfig()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mirorr": False}, "unrecognized arguments: --mirorr=0 .*mirror"),
        ({"ms": "maybe"}, "--ms: 'maybe' is not 0 or 1"),
        ({"ms": 2}, "--ms: '2' is not 0 or 1"),
        ({"windows_per_batch": 0}, "--windows_per_batch: 0 is below 1"),
        ({"test_image_size": (360, 480, 3)}, "--test_image_size: '360x480x3' is not a size"),
        ({"min_area": 3}, "--min_area 3 has no effect without polygons: add --polygons"),
        ({"palette": object()}, "palette is object: expected a text, a number"),
        ({"image_mean": {1: 2}}, "image_mean is dict: expected"),
        ({"image_path": "a.png"}, r"image_path is not taken here: give images to model\.segment"),
    ],
)
def test_refusals_are_one_line(values, words):
    with pytest.raises(FlagError, match=words) as caught:
        flags(**values)
    assert "\n" not in str(caught.value)
