"""Flags that say what is written beside label ids and colours."""

from __future__ import annotations

import re

import pytest

from tests.tools.command_lines import parse, refusal
from tools.errors import FlagError
from tools.flags.checks import refuse_no_results
from tools.flags.predict import InferenceConfig, PredictConfig


@pytest.mark.parametrize("config", [PredictConfig, InferenceConfig])
def test_the_defaults_write_nothing_more(config):
    flags = parse("", config)
    assert (flags.save_probabilities, flags.confidence, flags.polygons, flags.min_area, flags.areas) == (
        "0", False, None, 0, False
    )  # fmt: skip
    assert not flags.writes_more


@pytest.mark.parametrize(("line", "kind"), [("0", "0"), ("1", "npz"), ("npz", "npz"), ("png", "png"), ("PNG", "png")])
def test_formats_of_probabilities(line, kind):
    flags = parse(f"--save_probabilities {line}", PredictConfig)
    assert flags.save_probabilities == kind
    assert flags.writes_more == (kind != "0")


@pytest.mark.parametrize("line", ["--confidence 1", "--polygons coco", "--areas 1", "--polygons geojson --min_area 9"])
def test_each_writes_more(line):
    assert parse(line, InferenceConfig).writes_more


@pytest.mark.parametrize(
    ("line", "config", "words"),
    [
        ("--save_probabilities 2", PredictConfig, "--save_probabilities: .*'2'.* 0, npz, png"),
        ("--polygons shp", PredictConfig, "--polygons: .*'shp'.* geojson, coco"),
        ("--min_area 5", InferenceConfig, "--min_area 5 has no effect without polygons: add --polygons"),
        ("--polygons coco --min_area -1", InferenceConfig, "-1 is below 0"),
        ("--recursive 1", InferenceConfig, "--recursive 1 has no effect if paths are typed: .* --image_path"),
        ("--recursive 1", PredictConfig, "unrecognized arguments: --recursive"),
        ("--per_image 1", InferenceConfig, "unrecognized arguments: --per_image"),
        ("--confusion_matrix 1", InferenceConfig, "unrecognized arguments: --confusion_matrix"),
    ],
)
def test_refusals(line, config, words):
    assert re.search(words, refusal(line, config))


def test_anything_more_is_a_result():
    nothing = "--save_prediction 0 --coloring 0"
    with pytest.raises(FlagError, match="writes nothing"):
        refuse_no_results(parse(nothing, PredictConfig), has_labels=False)
    refuse_no_results(parse(f"{nothing} --areas 1", PredictConfig), has_labels=False)


@pytest.mark.parametrize("name", ["per_image", "confusion_matrix"])
def test_scores_of_images_need_labels(name):
    config = parse(f"--mode test --{name} 1", PredictConfig)
    refuse_no_results(config, has_labels=True)
    with pytest.raises(FlagError, match=f"--{name} 1 has no effect on --mode test, none of whose images has a label"):
        refuse_no_results(config, has_labels=False)
