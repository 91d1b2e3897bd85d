"""The launcher's command line: its flags, the script after --, and what is refused before anything is started."""

from __future__ import annotations

import os
import re
import sys

import pytest

from tests.scripts.starting import ROOT
from tools.errors import FlagError
from tools.launch.command import command_of, parse_command_line

TRAIN = str(ROOT / "train.py")


def test_flags_before_the_dashes_and_the_script_after_them():
    config, words = parse_command_line(["--processes", "3", "--restarts", "0", "--", TRAIN, "--batch_size", "4"])
    assert (config.processes, config.restarts, words) == (3, 0, [TRAIN, "--batch_size", "4"])


def test_the_python_of_the_launcher_is_used(tmp_path):
    script = str(tmp_path / "script.py")
    (tmp_path / "script.py").touch()
    for line in ([script, "--x", "--"], ["python", script, "--x", "--"], ["/usr/bin/python3", script, "--x", "--"]):
        _, words = parse_command_line(["--", *line])
        assert command_of(words, ["h:1"], 0) == [sys.executable, script, "--x", "--"]
    assert parse_command_line(["--", "-m", "module", "x"])[1] == ["-m", "module", "x"]


def test_each_process_gets_the_addresses_and_its_rank():
    command = command_of(["s.py", "--a"], ["127.0.0.1:1", "127.0.0.1:2"], 1)
    assert command == [sys.executable, "s.py", "--a", "--hosts", "127.0.0.1:1,127.0.0.1:2", "--host_rank", "1"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "there is no script: give it and its flags after --"),
        (["--processes", "2", "--"], "there is no script"),
        (["--processes", "2", "train.py", "--batch_size", "4"], "write -- before train.py"),
        (["--", "missing.py"], "missing.py does not exist"),
        (["--", "python"], "'' after -- is no script of Python"),
        (["--", "bash", "x.sh"], "'bash' after -- is no script of Python"),
        (["--processes", "0", "--", TRAIN], "--processes: 0 is below 1"),
        (["--process", "2", "--", TRAIN], "--process: did you mean --processes"),
        (["--", TRAIN, "--hosts", "a:1,b:1"], "--hosts is given to each process by tools.launch"),
        (["--", TRAIN, "--host-rank=1"], "--host_rank is given to each process by tools.launch"),
        (["--", TRAIN, "--batch_size", "two"], "--batch_size: 'two' is not a whole number"),
        (["--", str(ROOT / "predict.py"), "--ms", "3"], "--ms: '3' is not"),
        (["--restarts", "1", "--", TRAIN], "--restarts 1 needs --auto_resume 1 among the flags of train.py"),
        (["--", TRAIN, "--snapshot_on", "all"], "--snapshot_on all needs a --log_dir for each process"),
        (["--cores_per_process", "999", "--", TRAIN], "--cores_per_process 999 for --processes 2 needs 1998 cores"),
    ],
)
def test_command_lines_that_are_refused(arguments, words):
    with pytest.raises(FlagError, match=words) as caught:
        parse_command_line(arguments)
    assert "\n" not in str(caught.value)


def test_restarts_of_a_run_that_resumes(tmp_path, monkeypatch):
    parse_command_line(["--restarts", "1", "--", TRAIN, "--auto_resume", "1"])
    (tmp_path / "run.yaml").write_text("auto_resume: 1\n")
    parse_command_line(["--restarts", "1", "--", TRAIN, "--config", str(tmp_path / "run.yaml")])
    (tmp_path / "train.py").touch()  # a script of somebody else, with flags of its own
    monkeypatch.chdir(tmp_path)
    assert parse_command_line(["--restarts", "1", "--", "train.py", "--x"])[1] == ["train.py", "--x"]


def test_flags_that_only_fit_one_process(tmp_path):
    """A batch of one image over two processes has two."""
    parse_command_line(["--processes", "2", "--", TRAIN, "--batch_size", "1"])
    with pytest.raises(FlagError, match="--batch_size 1 with --gpu_num 1"):
        parse_command_line(["--processes", "1", "--", TRAIN, "--batch_size", "1"])


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="binds no process")
def test_cores_are_different_ones():
    config, _ = parse_command_line(["--processes", "1", "--cores_per_process", "1", "--", TRAIN])
    [cores] = config.cores()
    assert len(cores) == 1
    assert cores < os.sched_getaffinity(0) or cores == os.sched_getaffinity(0)
    assert parse_command_line(["--", TRAIN])[0].cores() is None


def test_help_of_the_script_is_shown_once(capsys):
    with pytest.raises(SystemExit):
        parse_command_line(["--", TRAIN, "--help", "hosts"])
    assert re.search("--host_timeout SECONDS", capsys.readouterr().out)
