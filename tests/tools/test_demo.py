"""The scripts that the demo runs."""

from __future__ import annotations

import pytest

from tools import demo


def test_output_of_a_script_is_passed_on_and_its_failure_ends_the_demo(tmp_path, monkeypatch, capfd):
    (tmp_path / "script.py").write_text("import sys; print('scores', *sys.argv[1:]); sys.exit(len(sys.argv) - 1)")
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    demo._run_script("script.py", {})
    assert capfd.readouterr().out == "scores\n"
    with pytest.raises(SystemExit) as caught:
        demo._run_script("script.py", {"ms": 1})
    assert caught.value.code == 2
    assert capfd.readouterr().out == "scores --ms 1\n"
