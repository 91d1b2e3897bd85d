"""What the three scripts have in common: a wrong flag in one line, and help."""

from __future__ import annotations

import os

import pytest

from tests.scripts.starting import start


@pytest.mark.parametrize("script", ["train", "predict", "inference"])
def test_wrong_flag_is_one_line(script, tmp_path):
    done = start(script, "--batchsize", "4", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: unrecognized arguments: --batchsize 4")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert os.listdir(tmp_path) == []


def test_help_of_each_script_needs_no_tensorflow(main, capsys):
    for script in ("train", "predict", "inference"):
        with pytest.raises(SystemExit) as caught:
            main(script, "--help")
        assert caught.value.code == 0
        assert "--database" in capsys.readouterr().out
