"""The runs of a dataset that are there."""

from __future__ import annotations

from pathlib import Path

from tests.tools.snapshot_folders import write
from tests.tools.toy_runs import tiny_config, toy_record
from tools.runs.folder import RunFolder
from tools.runs.known_runs import runs_in


def test_runs_with_weights_and_a_record(tmp_path, caplog):
    record = toy_record(tiny_config("toy", "log"))

    def leave(name: str, part: str = "snapshot", beside: str = "snapshot") -> RunFolder:
        write(str(tmp_path / name / part / "model.ckpt-5"), name, 0)
        if beside != "nowhere":
            record.write(str(tmp_path / name / beside))
        return RunFolder(str(tmp_path / name))

    leave("a.earlier-1")
    leave("foreign", beside="nowhere")
    record.write(str(tmp_path / "killed at its start"))
    (tmp_path / "notes.txt").write_text("")
    damaged, only_best = leave("damaged"), leave("only its best", part="best", beside="")
    Path(damaged.snapshots, "config.json").write_text("{")
    sound = leave("sound")
    found = runs_in(str(tmp_path))
    assert [run.folder for run in found] == [damaged, only_best, sound]
    assert [run.record is None for run in found] == [True, False, False]
    assert found[1].record.flags["network"] == found[2].record.flags["network"] == record.flags["network"]
    assert caplog.text.count("damaged/snapshot/config.json: not the configuration") == 1


def test_no_folder(tmp_path):
    assert runs_in(str(tmp_path / "none")) == []
