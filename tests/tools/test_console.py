"""Exit codes, one line for a user's fault, and TensorFlow's noise."""

from __future__ import annotations

import importlib
import logging
import os
import pkgutil
import signal
import subprocess
import sys

import pytest
import tensorflow.compat.v1 as tf

import database
import model
import tools
from database.errors import DataError, ImageError
from model.errors import BatchSizeError, ModelError
from tests.scripts.starting import ROOT
from tools import console
from tools.console import EXIT_INTERRUPTED, USER_FAULTS, run_script, set_up_logging
from tools.errors import FlagError, UserError
from tools.runtime.stop_requests import StoppedError


def raising(error):
    def main(arguments):
        raise error

    return main


def test_success_passes_the_arguments_on(capsys):
    seen = []
    assert run_script(seen.append, ["--a", "1"]) == 0
    assert seen == [["--a", "1"]]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("fault", USER_FAULTS)
def test_users_fault_is_one_line_and_exit_code_2(fault, capsys):
    assert run_script(raising(fault("file.png: broken,\n  try   another")), []) == 2
    assert capsys.readouterr() == ("", "error: file.png: broken, try another\n")


def test_derived_faults_count():
    class SpecialError(FlagError):
        pass

    assert run_script(raising(SpecialError("x")), []) == 2


def test_interrupted(capsys):
    assert run_script(raising(KeyboardInterrupt()), []) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


def test_stopped_with_all_that_is_needed_to_go_on(capsys):
    assert run_script(raising(StoppedError("SIGTERM after step 3: go on with --resume_step 3")), []) == 75
    assert capsys.readouterr() == ("", "stopped: SIGTERM after step 3: go on with --resume_step 3\n")


@pytest.mark.parametrize("bug", [RuntimeError("x"), ValueError("x"), KeyError("x"), OSError("x"), AssertionError("x")])
def test_bugs_are_not_hidden(bug):
    with pytest.raises(type(bug)):
        run_script(raising(bug), [])


def test_help_leaves_by_itself():
    with pytest.raises(SystemExit):
        run_script(raising(SystemExit(0)), [])


def _public_exceptions():
    """Every exception that a module of this project defines for others; underscores mark those of one module."""
    for package in (model, database, tools):
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not found.name.endswith(".__main__"):
                members = vars(importlib.import_module(found.name)).values()
                classes = [member for member in members if isinstance(member, type) and issubclass(member, Exception)]
                own = [member for member in classes if member.__module__ == found.name]
                yield from (member for member in own if not member.__name__.startswith("_"))


def test_every_exception_derives_from_the_base_of_its_package():
    bases = {"database": DataError, "model": ModelError, "tools": UserError}
    exceptions = set(_public_exceptions())
    assert {FlagError, ImageError, BatchSizeError} < exceptions  # the walk sees all three packages
    astray = [error for error in exceptions if not issubclass(error, bases[error.__module__.split(".")[0]])]
    assert not astray, f"{astray}: derive them from the base in the package's errors.py"


def test_a_new_exception_is_caught_without_being_entered_anywhere(capsys):
    for base in (DataError, ModelError, UserError):
        new = type("NewError", (base,), {})
        assert run_script(raising(new("a.png: broken")), []) == 2
        assert capsys.readouterr().err == "error: a.png: broken\n"


def test_import_passes_on_warnings_but_no_information(monkeypatch, capsys):
    lines = [
        "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n",
        "I0000 00:00:1 cpu_feature_guard.cc:227] optimized\n",
        "W0000 00:00:1 something.cc:1] worth knowing\n",
        "E0000 00:00:1 cuda_dnn.cc:8579] Unable to register cuDNN factory: one has already been registered\n",
        "W0000 00:00:1 computation_placer.cc:177] computation placer already registered\n",
    ]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda: os.write(2, "".join(lines).encode()))
    console.import_tensorflow()
    assert capsys.readouterr().err == lines[2]


@pytest.mark.parametrize("has_driver", [True, False])
def test_missing_cuda_is_warned_about_where_there_is_a_driver(has_driver, monkeypatch, capsys):
    line = "E0000 00:00:1 cuda_platform.cc:52] failed call to cuInit: UNKNOWN ERROR (303)\n"
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda: os.write(2, line.encode()))
    monkeypatch.setattr(console.os.path, "exists", lambda path: has_driver and path == "/dev/nvidiactl")
    console.import_tensorflow()
    assert capsys.readouterr().err == (line if has_driver else "")


def test_standard_error_is_given_back_after_a_failure(monkeypatch, capfd):
    def fail():
        os.write(2, b"W0000 before\n")
        raise RuntimeError("no devices")

    monkeypatch.setattr(tf.config, "list_physical_devices", fail)
    with pytest.raises(RuntimeError, match="no devices"):
        console.import_tensorflow()
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "W0000 before\nafter\n"


def test_logging(monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")  # the user's own
    levels = {name: logging.getLogger(name).level for name in ("tensorflow", "absl")}
    try:
        set_up_logging()
        assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
        set_up_logging()
        assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "2"
        assert logging.getLogger("tensorflow").level == logging.ERROR
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def test_ctrl_c_is_an_exception_again_after_the_imports():
    """The scripts let it end the process while they import, without a traceback."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        assert run_script(lambda arguments: signal.raise_signal(signal.SIGINT), []) == EXIT_INTERRUPTED
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("script", ["train", "predict", "inference"])
def test_ctrl_c_during_the_imports_of_a_script_leaves_no_traceback(script):
    """The first import of the package sends the signal, as any import might."""
    program = (
        "import os, runpy, signal, sys\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.startswith('tools'): os.kill(os.getpid(), signal.SIGINT)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.meta_path.insert(0, Interrupts())\n"
        f"runpy.run_path({str(ROOT / f'{script}.py')!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
