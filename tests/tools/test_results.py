"""The list of runs and scores."""

from __future__ import annotations

import json

import pytest

from tests.tools.command_lines import refusal
from tools import results
from tools.flag_parsing import FlagError
from tools.results import ResultsConfig, Run, Score


def _write(path, values) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(values if isinstance(values, str) else json.dumps(values))


def _scores(step: int, mean_iou: float | None) -> dict:
    return {"run": {"step": step}, "mean_iou": mean_iou, "pixel_accuracy": 0.75, "classes": []}


@pytest.fixture
def folders(tmp_path):
    """Log folder with two runs, one that was set aside and two that are none; and the folder of predictions."""
    log, predictions = tmp_path / "log", tmp_path / "val_set"
    same = {"network": "resnet_v1_50", "random_rotate": True, "log_dir": "x"}
    _write(log / "Toy" / "a" / "config.json", {"flags": same | {"lrn_rate": 0.01, "lr_step": [1, 2], "keep": 1}})
    _write(log / "Toy" / "b" / "config.json", {"flags": same | {"lrn_rate": 0.1, "bn_frozen": True, "keep": 2}})
    _write(log / "Toy" / "b.earlier-1" / "config.json", {"flags": same})
    _write(log / "Toy" / "damaged" / "config.json", "{")
    _write(log / "Toy" / "weights" / "config.json", {"backbone": {}})
    _write(log / "Toy" / "a" / "scores-900.json", _scores(900, 0.25))
    _write(log / "Toy" / "a" / "scores-600.json", _scores(600, None))
    _write(log / "Toy" / "a" / "scores-700.json", "[1")
    _write(predictions / "Toy" / "a" / "step900-ms1" / "scores.json", _scores(900, 0.5))
    return str(log), str(predictions)


def test_runs_with_their_scores(folders, caplog):
    first, second = results.find_runs(*folders)
    assert (first.name, second.name) == ("Toy/a", "Toy/b")
    assert first.flags["lrn_rate"] == 0.01
    assert first.scores == [
        Score("scores-600", 600, None, 0.75),
        Score("scores-900", 900, 0.25, 0.75),
        Score("step900-ms1", 900, 0.5, 0.75),
    ]
    assert second.scores == []
    assert [run.name for run in results.find_runs(*folders, earlier=True)] == ["Toy/a", "Toy/b", "Toy/b.earlier-1"]
    assert "damaged/config.json is left out" in caplog.text
    assert "scores-700.json is left out" in caplog.text


def test_flags_that_tell_runs_apart(folders):
    assert results.differing_flags(results.find_runs(*folders)) == ["bn_frozen", "lr_step", "lrn_rate"]
    assert results.differing_flags([Run("a", {"lrn_rate": 1}, [])]) == []
    watched = {"on_nan": "rollback", "max_bad_files": 3, "deterministic": True, "device": "cpu"}
    assert results.differing_flags([Run("a", watched, []), Run("b", {"on_nan": "stop"}, [])]) == []
    assert results.differing_flags([]) == []


def test_text_and_json(folders, tmp_path, capsys):
    path = tmp_path / "results.json"
    results.main(["--log_dir", folders[0], "--predictions_dir", folders[1], "--json", str(path)])
    assert capsys.readouterr().out.splitlines() == [
        "Toy/a",
        "    bn_frozen -  lr_step 1,2  lrn_rate 0.01",
        "    scores-600   mIoU    n/a  pixel accuracy  75.00",
        "    scores-900   mIoU  25.00  pixel accuracy  75.00",
        "    step900-ms1  mIoU  50.00  pixel accuracy  75.00",
        "Toy/b",
        "    bn_frozen 1  lr_step -  lrn_rate 0.1",
        "    no scores",
    ]
    listed = json.loads(path.read_text())
    assert [run["name"] for run in listed] == ["Toy/a", "Toy/b"]
    assert listed[0]["scores"][1] == {"of": "scores-900", "step": 900, "mean_iou": 0.25, "pixel_accuracy": 0.75}


def test_a_folder_without_runs(tmp_path, capsys):
    results.main(["--log_dir", str(tmp_path)])
    assert capsys.readouterr().out == f"no run below {tmp_path}\n"


def test_faults(tmp_path):
    with pytest.raises(FlagError, match="--log_dir .*/none is no folder"):
        results.main(["--log_dir", str(tmp_path / "none")])
    (tmp_path / "file").write_text("")
    with pytest.raises(FlagError, match="--json .* cannot be written"):
        results.main(["--log_dir", str(tmp_path), "--json", str(tmp_path / "file" / "results.json")])
    assert "--log_dirs" in refusal("--log_dirs a", ResultsConfig)


def test_a_real_run_is_listed(tiny_run):
    log_dir = tiny_run.config.log_dir
    [run] = results.find_runs(log_dir, "none")
    assert run.flags["network"] == tiny_run.config.network
    assert run.name.startswith("Toy/")
