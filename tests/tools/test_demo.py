"""The scripts that the demo runs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from database.errors import ImageError
from tools import demo
from tools.console import run_script


def test_output_of_a_script_is_passed_on_and_its_failure_ends_the_demo(tmp_path, monkeypatch, capfd):
    (tmp_path / "script.py").write_text("import sys; print('scores', *sys.argv[1:]); sys.exit(len(sys.argv) - 1)")
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    demo._run_script("script.py", {})
    assert capfd.readouterr().out == "scores\n"
    with pytest.raises(SystemExit) as caught:
        demo._run_script("script.py", {"ms": 1})
    assert caught.value.code == 2
    assert capfd.readouterr().out == "scores --ms 1\n"


@pytest.mark.parametrize(("steps", "words"), [("0", "0 is below 1"), ("2.5", "a whole number")])
def test_steps_that_are_none(steps, words, capfd):
    assert run_script(demo.main, ["--steps", steps]) == 2
    [line] = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "--steps" in line
    assert words in line


def test_steps_are_those_of_the_training(tmp_path, monkeypatch):
    """The scripts only note their flags, so that no picture can be drawn."""
    note = "import pathlib, sys; pathlib.Path(__file__).with_suffix('.txt').write_text(' '.join(sys.argv))"
    for name in ("train.py", "predict.py"):
        (tmp_path / name).write_text(note)
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImageError, match="no such file"):
        demo.main(["--steps", "5"])
    assert "--train_max_iter 5 --snapshot 3" in (tmp_path / "train.txt").read_text()


def test_a_full_device_for_standard_error_ends_no_demo(tmp_path):
    """Scripts end with 2 where their own lines are lost, which is no failure of what they did."""
    (tmp_path / "script.py").write_text("import sys; print('a line', file=sys.stderr, flush=True); print('printed')")
    program = (
        "import pathlib, sys; from tools import console, demo; console.set_up_logging(); "
        f"demo.ROOT = pathlib.Path({str(tmp_path)!r}); "
        "sys.exit(console.run_script(lambda arguments: demo._run_script('script.py', {}) or print('went on'), []))"
    )
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=full, check=False)
    assert done.stdout.decode().splitlines() == ["printed", "went on"]
    assert done.returncode == 2
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "a line")
