"""Command lines parsed into flags: kinds of values, ranges, spellings, and what is said of a wrong one."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools.command_lines import parse, refusal
from tools import sbd
from tools.benchmark.__main__ import BenchmarkConfig
from tools.convert import __main__ as convert
from tools.download.__main__ import _parse as parse_download
from tools.errors import FlagError
from tools.flags.parsing import parse_flags
from tools.flags.predict import InferenceConfig, PredictConfig
from tools.flags.train import TrainConfig
from tools.flags.values import file_path
from tools.results.__main__ import ResultsConfig


def test_lists_and_numbers():
    config = parse(
        "--batch_size 2 --poly_lr 0 --lr_step 10,20,30 --subsets_for_training train,val --new_layer_names psp,logits "
        "--loss_type focal_1.5 --float_type bf16 --resume_step 0"
    )
    assert config.lr_step == (10, 20, 30)
    assert config.subsets_for_training == ("train", "val")
    assert config.new_layer_names == ("psp", "logits")
    assert (config.loss_type, config.float_type, config.resume_step) == ("focal_1.5", "bf16", 0)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("batch_size", "0"), ("batch_size", "two"), ("batch_size", "1.5"), ("gpu_num", "-1"),
        ("network", "vgg16"), ("database", "oxford"), ("weight_decay_mode", "4"), ("weight_decay_rate", "-1"),
        ("weight_decay_rate2", "inf"), ("train_image_size", "7"), ("random_mirror", "2"), ("random_mirror", "True"),
        ("lrn_rate", "0"), ("lrn_rate", "nan"), ("lrn_rate", "inf"), ("lrn_rate", "-1"), ("lr_step", "1,x"),
        ("step_size", "0"), ("subsets_for_training", ","), ("new_layer_names", " "), ("optimizer", "lion"),
        ("initializer", "zeros"), ("float_type", "64"), ("output_stride", "4"), ("stride_convention", "mine"),
        ("resize_grid", "nearest"), ("resume_step", "-1"), ("num_classes", "1"), ("image_mean", "1,2"),
        ("check_data", "some"), ("keep", "0"), ("seed", "-1"), ("scale_min", "0"), ("snapshot_minutes", "-1"),
        ("bn_decay", "-0.1"), ("bn_decay", "1"), ("momentum", "-0.1"), ("momentum", "1"), ("loss_type", "focal"),
        ("loss_type", "focal_-1"), ("test_max_iter", "0"), ("on_nan", "ignore"),
    ],
)  # fmt: skip
def test_wrong_value_is_named_in_one_line(flag, value):
    with pytest.raises(FlagError) as caught:
        parse_flags(TrainConfig, ["--batch_size", "2", f"--{flag}={value}"], "test")
    assert f"--{flag}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("config", [TrainConfig, PredictConfig, InferenceConfig])
def test_help_shows_every_flag_with_its_default(config, capsys):
    with pytest.raises(SystemExit) as caught:
        parse("--help", config)
    assert caught.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for field in dataclasses.fields(config):
        assert f"--{field.name}" in shown
    assert "(default: 1)" in shown  # --mirror


@pytest.mark.parametrize(
    ("line", "config", "words"),
    [
        ("--batch_size two", TrainConfig, "--batch_size: 'two' is not a whole number"),
        ("--batch_size 2 --lrn_rate fast", TrainConfig, "--lrn_rate: 'fast' is not a number"),
        ("--batchsize 2", TrainConfig, "unrecognized arguments: --batchsize 2 .*mean --batch_size.*--help"),
        ("--batch 2", TrainConfig, "unrecognized arguments: --batch 2"),
        ("--batch_size", TrainConfig, "--batch_size: expected one argument"),
        ("--mode all", PredictConfig, "--mode"),
        ("--windows_per_batch 0", InferenceConfig, "--windows_per_batch: 0 is below 1"),
    ],
)  # fmt: skip
def test_unknown_flags_and_values_that_are_none(line, config, words):
    assert re.search(words, refusal(line, config))


def test_the_message_about_a_long_value_is_short():
    assert len(refusal("--batch_size " + "9" * 5000)) < 600
    assert len(refusal("--" + "x" * 5000)) < 600


KNOWN_VALUES = ("0", "1", "2", "-1", "0.5", "1e999", "nan", "a,b", "1,2", "none", "custom", "ADE", "9" * 5000, "")
VALUES = st.one_of(
    st.sampled_from(KNOWN_VALUES), st.text(max_size=10), st.integers().map(str), st.floats().map(str)
).filter(lambda value: value not in ("-h", "--help"))
BETWEEN = st.sampled_from(["=", " ", ""])  # "": the value alone


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([TrainConfig, PredictConfig, InferenceConfig]), st.data())
def test_any_command_line_is_parsed_or_rejected(config, data):
    """The message may hold line breaks of the command line, which `console.run_script` takes out."""
    names = [field.name for field in dataclasses.fields(config)] + ["config", "batchsize", ""]
    arguments: list[str] = []
    for name, value, between in data.draw(st.lists(st.tuples(st.sampled_from(names), VALUES, BETWEEN), max_size=6)):
        arguments += [f"--{name}={value}"] if between == "=" else [f"--{name}", value] if between else [value]
    parsed = message = None
    try:
        parsed = parse_flags(config, arguments, "test")
    except FlagError as error:
        message = str(error)
    assert message or isinstance(parsed, config)


def test_a_switch_alone_is_on():
    assert parse("--ms --coloring 0", PredictConfig) == parse("--ms 1 --coloring 0", PredictConfig)
    assert parse("--gpu_num 2 --color_switch --poly_lr 0").color_switch is True


@pytest.mark.parametrize(
    ("line", "config", "expected", "words"),
    [
        ("--batch_size 4 --batch_size 2", TrainConfig, {"batch_size": 2}, "--batch_size is given twice, with 4 and 2"),
        ("--seed 0 --seed 3", TrainConfig, {"seed": 3}, "--seed is given twice, with 0 and 3"),  # 0 is the default
        ("--seed 3 --seed 0", TrainConfig, {}, "--seed is given twice, with 3 and 0"),
        ("--blur 0 --random_blur 1", TrainConfig, {}, "--random_blur/--blur is given twice, with 0 and 1"),
        ("--seed 4 --batch_size 4 --batch-size=2", TrainConfig, {"seed": 4, "batch_size": 2}, "twice, with 4 and 2"),
        ("--mode val --test_subset test", PredictConfig, {"mode": "test"}, "given twice, with val and test"),
        ("--ms --ms 0", PredictConfig, {}, "--ms is given twice, with 1 and 0"),
        ("--resume_step 5 --resume_step 9", TrainConfig, {"resume_step": 9}, "--resume_step is given twice, with 5 a"),
        ("--resume_step 5 --resume_step latest", TrainConfig, {"resume_step": "latest"}, "with 5 and latest"),
    ],
)
def test_the_last_of_two_values_counts(line, config, expected, words, caplog):
    """As `python train.py $DEFAULTS "$@"` means it."""
    caplog.set_level("INFO")
    assert parse(line, config) == config(**expected)
    [message] = caplog.messages
    assert words in message
    assert message.endswith(": the last one is used")


def test_the_last_of_two_files_of_flags_counts(tmp_path, caplog):
    caplog.set_level("INFO")
    (tmp_path / "a.yaml").write_text("seed: 1\nkeep: 2\n")
    (tmp_path / "b.yaml").write_text("seed: 3\n")
    assert parse(f"--config {tmp_path}/a.yaml --config {tmp_path}/b.yaml") == TrainConfig(seed=3)
    assert [f"with {tmp_path}/a.yaml and {tmp_path}/b.yaml" in message for message in caplog.messages] == [True]


def test_a_flag_given_three_times(caplog):
    caplog.set_level("INFO")
    assert parse("--seed 1 --seed 2 --seed 3").seed == 3
    assert [message.partition("twice, ")[2] for message in caplog.messages] == [
        "with 1 and 2: the last one is used", "with 2 and 3: the last one is used",
    ]  # fmt: skip


def test_a_flag_given_twice_with_one_value(caplog):
    caplog.set_level("INFO")
    assert parse("--batch_size 4 --batch-size=4 --database ADE --database ade20k").batch_size == 4
    assert parse("--ms --ms 1", PredictConfig).ms is True
    assert not caplog.messages


def test_flags_given_twice_in_programs_with_parsers_of_their_own(caplog):
    caplog.set_level("INFO")
    assert convert._parse(["x.pth", "--out", "a", "--out=b"]).out == "b"
    assert sbd._parse(["--sbd", "x", "--voc", "y", "--jobs", "1", "--jobs", "2"]).jobs == 2
    assert parse_download(["ADE", "--out", "x", "--out", "y"]).out == "y"
    assert [message.split(" is given twice")[0] for message in caplog.messages] == ["--out", "--jobs", "--out"]


EMPTY = [
    (config, field.name) for config in (TrainConfig, PredictConfig, InferenceConfig, ResultsConfig, BenchmarkConfig)
    for field in dataclasses.fields(config) if field.metadata["parse"] is file_path or field.name == "run_name"
]  # fmt: skip


@pytest.mark.parametrize(("config", "name"), EMPTY, ids=[f"{config.__name__}-{name}" for config, name in EMPTY])
def test_flags_of_files_are_not_empty(config, name):
    for value in ("", " "):
        with pytest.raises(FlagError) as caught:
            parse_flags(config, [f"--{name}", value], "test")
        assert re.search(f"--{name}:? '{value}' is (not a path: it is empty|no name for a run)", str(caught.value))
