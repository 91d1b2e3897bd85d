"""Flags from files, and the files that the project ships."""

from __future__ import annotations

import glob
import os

import pytest

from tests.tools.command_lines import parse, refusal
from tools.flags import InferenceConfig, PredictConfig, TrainConfig

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
CONFIGS = os.path.join(os.path.dirname(__file__), "..", "..", "configs")


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
        ("batch_size: !!python/object/apply:os.getpid []", "run.yaml is neither YAML nor JSON (could not determine"),
        ("batch_size: 2\nlr_step: 5", "--lr_step has no effect on the poly schedule"),
    ],
)
def test_files_that_cannot_be_followed(tmp_path, content, words):
    assert words in refusal(f"--config {_file(tmp_path, content)}")


def test_json_that_is_none(tmp_path):
    assert "run.json is neither YAML nor JSON" in refusal(f"--config {_file(tmp_path, YAML, 'run.json')}")


def test_no_such_file(tmp_path):
    assert "none.yaml cannot be read (No such file or directory)" in refusal(f"--config {tmp_path}/none.yaml")


def test_a_file_runs_no_code(tmp_path):
    written = tmp_path / "written"
    path = _file(tmp_path, f"batch_size: !!python/object/apply:os.system ['touch {written}']")
    refusal(f"--config {path}")
    assert not written.exists()


def _shipped() -> list[str]:
    return sorted(os.path.relpath(path, CONFIGS) for path in glob.glob(os.path.join(CONFIGS, "*", "*.yaml")))


def test_files_are_shipped():
    assert len(_shipped()) >= 20


@pytest.mark.parametrize("name", _shipped())
def test_shipped_files_are_valid_and_say_what_they_aim_at(name):
    path = os.path.join(CONFIGS, name)
    config = parse(f"--config {path}")
    assert isinstance(config, TrainConfig)
    assert config.total_batch_size == 16
    with open(path, encoding="utf-8") as file:
        comment = [line for line in file if line.startswith("#")]
    text = "".join(comment)
    assert "Published:" in text
    assert "Source:" in text
