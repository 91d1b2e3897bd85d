"""--help: every flag in one group, with its unit, default and other names, within the width of the terminal."""

from __future__ import annotations

import dataclasses
import re
import shlex

import pytest

from tests.tools.command_lines import parse, refusal
from tools.benchmark.flags import BenchmarkConfig
from tools.check_dataset.__main__ import CheckConfig
from tools.flags.definition import GROUPS
from tools.flags.help import help_text
from tools.flags.parsing import parse_flags
from tools.flags.predict import InferenceConfig, PredictConfig
from tools.flags.train import TrainConfig
from tools.flags.values import file_path, switch
from tools.make_tfrecord.__main__ import MakeTFRecordConfig
from tools.results.__main__ import ResultsConfig

CONFIGS = (
    TrainConfig, PredictConfig, InferenceConfig, CheckConfig, MakeTFRecordConfig, BenchmarkConfig, ResultsConfig,
)  # fmt: skip
FIELDS = [(config, field) for config in CONFIGS for field in dataclasses.fields(config)]
IDS = [f"{config.__name__}-{field.name}" for config, field in FIELDS]


@pytest.fixture(autouse=True)
def _width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")


def shown_flags(text: str) -> list[str]:
    return re.findall(r"^  --(\w+)", text, re.MULTILINE)


@pytest.mark.parametrize(("config", "field"), FIELDS, ids=IDS)
def test_every_flag_has_a_group_and_a_unit(config, field):
    metadata = field.metadata
    assert metadata["group"] in GROUPS
    assert re.fullmatch(r"[A-Z]{1,}(,[A-Z.]+)*|\{[a-z0-9_]+(,[a-z0-9_]+)*\}", metadata["metavar"])
    assert metadata["metavar"] != "X"
    if metadata["parse"] is switch:
        assert metadata["metavar"] == "{0,1}"
    if metadata["is_path"]:
        assert metadata["metavar"] in ("FILE", "FOLDER")
    assert metadata["is_path"] == (metadata["parse"] is file_path)
    assert (metadata["unset"] is None) or field.default is None


@pytest.mark.parametrize("config", CONFIGS)
def test_help_shows_each_flag_once(config):
    names = [field.name for field in dataclasses.fields(config)]
    text = help_text(config, "Does it.")
    assert sorted(shown_flags(text)) == sorted([*names, "config"])
    assert text.startswith(f"usage: {config.program.command} [--")
    assert max(map(len, text.split("\n"))) <= 100


@pytest.mark.parametrize("config", CONFIGS)
def test_help_of_a_group_shows_its_flags(config):
    groups = {field.metadata["group"] for field in dataclasses.fields(config)}
    for group in groups:
        names = [field.name for field in dataclasses.fields(config) if field.metadata["group"] == group]
        assert shown_flags(help_text(config, "Does it.", group)) == names


@pytest.mark.parametrize("config", CONFIGS)
def test_examples_are_understood(config):
    assert len(config.program.examples) == 2
    text = help_text(config, "Does it.")
    for example in config.program.examples:
        assert f"{config.program.command} {example}" in text
        assert isinstance(parse_flags(config, shlex.split(example), "Does it."), config)


def test_help_of_a_group_on_the_command_line(capsys):
    for line in ("--help loss", "--help=loss", "--batch_size 4 -h loss"):
        with pytest.raises(SystemExit) as caught:
            parse(line)
        assert caught.value.code == 0
        shown = capsys.readouterr().out
        assert shown == help_text(TrainConfig, "test", "loss")
        assert "--loss_type NAME" in shown
        assert "--lrn_rate" not in shown


def test_an_unknown_group_is_refused_with_the_list():
    assert re.search("--help nets: .* data, network, schedule, .*output", refusal("--help nets"))
    assert "--help loss" in refusal("--help loss", PredictConfig)  # a group of other programs
    assert len(refusal(f"--help {'x' * 5000}")) < 600


def test_rows_hold_unit_choices_default_and_other_names():
    text = " ".join(help_text(TrainConfig, "test").split())
    assert "--scale_max FACTOR largest scale (default: 2.0)" in text
    size = "one number, or height x width such as 360x480"
    assert f"--train_image_size SIZE size of training crops, in pixels: {size} (default: 480)" in text
    assert "--network NAME encoder: resnet_v1_18, resnet_v1_34," in text
    assert re.search(r"--random_blur \{0,1\} [a-z, ]+ \(default: 1; also --blur\)", text)
    assert re.search(r"--color_switch \{0,1\} [\w, ]+ \(default: as recorded beside --fine_tune_filename", text)


def test_narrow_and_unknown_terminals(monkeypatch):
    for columns, widest in (("70", 70), ("0", 100), ("20", 60), ("300", 100)):
        monkeypatch.setenv("COLUMNS", columns)
        rows = help_text(TrainConfig, "test", "data").split("\n\n")[1].split("\n")
        assert max(map(len, rows)) <= widest


@pytest.mark.parametrize("name", ["help", "Help", "h-elp"])
def test_files_of_flags_do_not_ask_for_help(name, tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text(f"batch_size: 2\n{name}: loss\n")
    assert f"--config {path}" in refusal(f"--config {path}")
    assert capsys.readouterr().out == ""
