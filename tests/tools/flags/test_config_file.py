"""Flags from files, and the files that the project ships."""

from __future__ import annotations

import glob
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tools.command_lines import parse, refusal
from tools.errors import FlagError
from tools.flags.config_file import config_arguments
from tools.flags.parsing import parse_flags
from tools.flags.predict import InferenceConfig, PredictConfig
from tools.flags.train import TrainConfig

YAML = """
# a comment
batch_size: 4
lrn_rate: 1e-3
poly_lr: false
lr_step: [10, 20]
new_layer_names: [psp, logits]
random_rotate: 0
float_type: 16
fine_tune_filename: none
weight_decay_mode: 0
resume_step:
image_mean:
"""
JSON = """{"batch_size": 4, "lrn_rate": 0.001, "poly_lr": false, "lr_step": [10, 20], "random_rotate": 0,
"new_layer_names": ["psp", "logits"], "float_type": "16", "fine_tune_filename": "none", "weight_decay_mode": 0,
"resume_step": null}"""
LINE = (
    "--batch_size 4 --lrn_rate 0.001 --poly_lr 0 --lr_step 10,20 --new_layer_names psp,logits --random_rotate 0 "
    "--float_type 16 --fine_tune_filename none --weight_decay_mode 0"
)
CONFIGS = os.path.join(os.path.dirname(__file__), "..", "..", "..", "configs")


def _file(folder, content: str | bytes, name: str = "run.yaml") -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


@pytest.mark.parametrize(("content", "name"), [(YAML, "run.yaml"), (JSON, "run.json"), (JSON, "run.yml")])
def test_a_file_says_what_a_line_says(tmp_path, content, name):
    path = _file(tmp_path, content, name)
    assert parse(f"--config {path}") == parse(LINE)


def test_the_line_wins_wherever_the_file_stands(tmp_path):
    path = _file(tmp_path, "batch_size: 4\ngpu_num: 2\n")
    for line in (f"--batch_size 3 --config {path}", f"--config {path} --batch_size 3"):
        config = parse(line)
        assert (config.batch_size, config.gpu_num) == (3, 2)


def test_flags_of_prediction_come_from_files_too(tmp_path):
    path = _file(tmp_path, "ms: 1\ncoloring: false\n")
    for config in (PredictConfig, InferenceConfig):
        parsed = parse(f"--config {path}", config)
        assert (parsed.ms, parsed.coloring) == (True, False)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("batchsize: 4", "run.yaml: unrecognized arguments: --batchsize=4"),
        ("batch_size: two", "run.yaml: argument --batch_size: 'two' is not a whole number"),
        ("config: other.yaml", "run.yaml: a file names no other: drop 'config'"),
        ("batch_size: {a: 1}", "run.yaml: 'batch_size' is dict: expected a text, a number or a list of them"),
        ("lr_step: [[1]]", "'lr_step' is list: expected"),
        ("- batch_size", "run.yaml holds no flags: expected lines 'name: value'"),
        ("", "run.yaml holds no flags"),
        ("3: 4", "run.yaml holds no flags"),
        ("a: [", "run.yaml is neither YAML nor JSON"),
        (b"\xff\xfe\x00", "run.yaml is neither YAML nor JSON"),
        ("[" * 100_000, "run.yaml is neither YAML nor JSON"),
        (
            "batch_size: !!python/object/apply:os.getpid []",
            "run.yaml, line 1: the tag tag:yaml.org,2002:python/object/apply:os.getpid is not followed",
        ),
        ("lr_step: [1, !!int 2]", "run.yaml, line 1: the tag tag:yaml.org,2002:int is not followed: write the value"),
        ("batch_size: 4\ngpu_num: 1\nbatch_size: 2\n", "run.yaml, line 3: 'batch_size' is given already in line 1"),
        ("blur: 0\nrandom_blur: 1\n", "run.yaml: 'blur' and 'random_blur' are one flag: keep one of them"),
        ("[a]: 1", "run.yaml holds no flags: expected lines 'name: value', names as those of the flags, found a list"),
        ("batch_size=3 --keep: 1", "run.yaml holds no flags"),
        ("lr_step: [1, ~]", "'lr_step' is list: expected"),
        ("batch_size: true", "run.yaml: argument --batch_size: 'true' is not a whole number"),
        ("batch_size: 1:30", "run.yaml: argument --batch_size: '1:30' is not a whole number"),
        ("batch_size: 1_00", "run.yaml: argument --batch_size: '1_00' is not a whole number"),
        ("lrn_rate: 1_0.5", "run.yaml: argument --lrn_rate: '1_0.5' is not a number"),
        ("log_dir: ''", "run.yaml: argument --log_dir: '' is not a path: it is empty"),
        ("batch_size: 0x10", "run.yaml: argument --batch_size: '0x10' is not a whole number"),
        ("lrn_rate: .inf", "run.yaml: argument --lrn_rate: '.inf' is not a number"),
        ("poly_lr: perhaps", "run.yaml: argument --poly_lr: 'perhaps' is not 0 or 1"),
        ("batch_size: 2\nlr_step: 5", "--lr_step 5 has no effect on the poly schedule"),
    ],
)
def test_files_that_cannot_be_followed(tmp_path, content, words):
    assert words in refusal(f"--config {_file(tmp_path, content)}")


# Words of which YAML 1.1 makes another number, a truth value or a date.
WORDS = (
    "010", "1:30", "1_000", "0x10", "0b11", "0o17", "1e3", "1.50", "+5", "-0", ".5", "5.", ".inf", "inf", "2020-01-01",
    "yes", "No", "on", "off", "true", "FALSE", "y", "n", "=", "<<", "12e", "1,2", "0.10", "007", "NaN", "1_00", "1_0.5",
)  # fmt: skip


@pytest.mark.parametrize("flag", ["batch_size", "lrn_rate", "log_dir", "test_image_size", "seed", "lr_step"])
@pytest.mark.parametrize("quoted", [False, True])
def test_a_word_means_what_it_means_on_the_line(tmp_path, flag, quoted):
    """Or it is refused in both."""

    def outcome(*arguments: str) -> object:
        try:
            return parse_flags(TrainConfig, ["--gpu_num", "2", "--poly_lr", "0", *arguments], "test")
        except FlagError as error:
            return str(error).rpartition(": argument ")[2].removeprefix("argument ")

    for word in WORDS:
        path = _file(tmp_path, f"{flag}: '{word}'" if quoted else f"{flag}: {word}")
        assert outcome("--config", path) == outcome(f"--{flag}={word}"), word


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from("0123456789._xebonyftrueas+"), min_size=1, max_size=6), st.booleans())
def test_any_plain_word_is_the_one_of_the_line(tmp_path, word, in_a_list):
    text = f"log_dir: [{word}, x]" if in_a_list else f"log_dir: {word}"
    assert config_arguments(_file(tmp_path, text)) == [f"--log_dir={word},x" if in_a_list else f"--log_dir={word}"]


@pytest.mark.parametrize("word", ["true", "True", "yes", "ON", "1", "'yes'"])
def test_switches_that_are_on(tmp_path, word):
    assert parse(f"--config {_file(tmp_path, f'save_memory: {word}')} --batch_size 2").save_memory is True


@pytest.mark.parametrize("word", ["false", "FALSE", "no", "Off", "0", '"false"'])
def test_switches_that_are_off(tmp_path, word):
    assert parse(f"--config {_file(tmp_path, f'blur: {word}')} --batch_size 2").random_blur is False


def test_words_of_switches_are_words_elsewhere(tmp_path):
    assert parse(f"--config {_file(tmp_path, 'log_dir: yes')} --batch_size 2").log_dir == "yes"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            '{"batch_size": 4,\n"gpu_num": 1,\n"batch_size": 2}',
            "(line 3: 'batch_size' is already given in line 1: keep",
        ),
        ("[1]", "run.json holds no flags: expected lines 'name: value', names as those of the flags, found a list"),
        ('{"batch_size": true}', "run.json: argument --batch_size: 'true' is not a whole number"),
        ('{"batch_size": 4.0}', "run.json: argument --batch_size: '4.0' is not a whole number"),
        ('{"lrn_rate": NaN}', "run.json: argument --lrn_rate: NaN is not a finite number"),
        (f'{{"batch_size": {"9" * 5000}}}', "run.json: argument --batch_size: '999"),
        ('{"batch_size": {}}', "run.json: 'batch_size' is dict: expected a text, a number or a list of them"),
    ],
)
def test_json_that_cannot_be_followed(tmp_path, content, words):
    assert words in refusal(f"--config {_file(tmp_path, content, 'run.json')}")


def test_json_that_is_none(tmp_path):
    assert "run.json is neither YAML nor JSON" in refusal(f"--config {_file(tmp_path, YAML, 'run.json')}")


def test_no_such_file(tmp_path):
    assert "none.yaml cannot be read (No such file or directory)" in refusal(f"--config {tmp_path}/none.yaml")


def test_a_file_runs_no_code(tmp_path):
    written = tmp_path / "written"
    path = _file(tmp_path, f"batch_size: !!python/object/apply:os.system ['touch {written}']")
    refusal(f"--config {path}")
    assert not written.exists()


# For CPUs; of projects that train with other batches.
OTHER_BATCHES = {
    "camvid/from-scratch.yaml": 8,
    "csail/ade-mobilenetv2-c1.yaml": 24,
    "fast-segmentation/icnet-stage1.yaml": 18,
    "fast-segmentation/icnet-stage2.yaml": 18,
    "fast-segmentation/pspnet50-713.yaml": 8,
    "kitti/resnet101-adam.yaml": 2,
}


def _shipped() -> list[str]:
    return sorted(os.path.relpath(path, CONFIGS) for path in glob.glob(os.path.join(CONFIGS, "*", "*.yaml")))


def test_files_are_shipped():
    assert len(_shipped()) >= 20


# Of recipes for CPUs, or that are published with another one.
@pytest.mark.parametrize("name", _shipped())
def test_shipped_files_are_valid_and_say_what_they_aim_at(name):
    path = os.path.join(CONFIGS, name)
    config = parse(f"--config {path}")
    assert isinstance(config, TrainConfig)
    assert config.total_batch_size == OTHER_BATCHES.get(name, 16)
    with open(path, encoding="utf-8") as file:
        comment = [line for line in file if line.startswith("#")]
    text = "".join(comment)
    assert "Published:" in text
    assert "Source:" in text
