"""The commands of a run."""

from __future__ import annotations

import os
import shlex

from tools.runs.commands import COMMANDS_FILE, add_command, read_commands


def test_commands_are_kept_as_they_were_given(tmp_path):
    first = ["train.py", "--database", "Toy", "--data_dir", "a b", "--run_name", "it's", "--lrn_rate=1e-2"]
    add_command(str(tmp_path), first)
    add_command(str(tmp_path), ["train.py", "--resume_step", "latest"])
    commands = read_commands(str(tmp_path))
    assert [shlex.split(command) for command in commands] == [
        ["python", *first], ["python", "train.py", "--resume_step", "latest"]
    ]  # fmt: skip


def test_an_argument_with_a_line_end_is_one_command(tmp_path):
    add_command(str(tmp_path), ["train.py", "--run_name", "a\nrm -r b", os.fsdecode(b"\xff")])
    [command] = read_commands(str(tmp_path))
    assert r"a\nrm -r b" in command


def test_runs_of_earlier_versions_have_none(tmp_path):
    assert read_commands(str(tmp_path)) == []
    (tmp_path / COMMANDS_FILE).mkdir()
    assert read_commands(str(tmp_path)) == []
