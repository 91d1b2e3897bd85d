"""The command that lists runs and scores, and short names of runs in its tables."""

from __future__ import annotations

import csv
import io
import json

import pytest

from tests.tools.command_lines import refusal
from tests.tools.results.written_runs import run_at, scores_of, write
from tools.errors import FlagError
from tools.results import __main__ as results
from tools.results.__main__ import ResultsConfig
from tools.results.runs import Run, find_runs
from tools.results.tables import csv_of, markdown_of, short_names, text_of

LONG = "custom/resnet_v1_18-64-train-L2-wd_alpha0.0001-wd_beta0.0001-batch_size2-lrn_rate0.01-consider_dilated0"


def test_long_names_of_runs_are_shown_once(tmp_path):
    """Tables show the checksum at the end of a long name instead, and means use the short names."""
    log = tmp_path / "log"
    for seed, name in enumerate(["0fa81bf9", "1bfe5b27", "1bfe5b27.earlier-1"]):
        run = run_at(log, f"{LONG.removeprefix('custom/')}-{name}", seed, f"u{seed}")
        write(run / "scores-5.json", scores_of(5, seed / 4, run_uuid=f"u{seed}"))
    write(run_at(log, "mine", 3, "u3") / "scores-5.json", scores_of(5, 1.0, run_uuid="u3"))
    runs = find_runs(str(log), "none", earlier=True)
    full = [run.name for run in runs]
    text = text_of(runs)
    assert "mean of Toy/mine, 0fa81bf9, 1bfe5b27, 1bfe5b27.earlier-1 (seeds 3, 0, 1, 2): scores-5  mIoU % 43.75" in text
    assert [line for line in text.splitlines() if "wd_alpha" in line] == [
        f"{name[-8:]}: {name}" for name in full[1:3]
    ] + [f"1bfe5b27.earlier-1: {full[3]}"]
    lines = markdown_of(runs).splitlines()
    assert lines[-3:-1] == [f"- {name[-8:]}: `{name}`" for name in full[1:3]]
    table = [line for line in lines if line.startswith("|")]
    assert (len(table), len({line.count("|") for line in table})) == (7, 1)
    assert not any("wd_alpha" in line for line in table)
    rows = list(csv.DictReader(io.StringIO(csv_of(runs))))
    assert [(row["run"], row["short name"]) for row in rows[:2]] == [("Toy/mine",) * 2, (full[1], "0fa81bf9")]


@pytest.mark.parametrize("ending", ["-0fa81bf9", "-x"])
def test_long_names_that_end_alike_are_numbered(ending):
    names = [f"{folder}/{LONG}{ending}" for folder in "ab"]
    assert list(short_names([Run(name, {}, []) for name in names]).values()) == ["#1", "#2"]


def test_text_and_json(folders, tmp_path, capsys):
    path = tmp_path / "results.json"
    results.main(["--log_dir", folders[0], "--predictions_dir", folders[1], "--json", str(path)])
    assert capsys.readouterr().out.splitlines() == [
        "Toy/a",
        "    bn_frozen -  lr_step 1,2  lrn_rate 0.01",
        "    scores-600   mIoU %    n/a  pixel accuracy %  75.00",
        "    scores-900   mIoU %  25.00  pixel accuracy %  75.00",
        "    step900-ms1  mIoU %  50.00  pixel accuracy %  75.00",
        "Toy/b",
        "    bn_frozen 1  lr_step -  lrn_rate 0.1",
        "    no scores",
    ]
    listed = json.loads(path.read_text())
    assert [run["name"] for run in listed] == ["Toy/a", "Toy/b"]
    assert listed[0]["scores"][1] == {
        "of": "scores-900", "step": 900, "mean_iou": 0.25, "pixel_accuracy": 0.75, "is_best": False,
        "path": f"{folders[0]}/Toy/a/scores-900.json", "scored_with": {}, "data_name": "",
    }  # fmt: skip


@pytest.mark.parametrize(("flags", "lines"), [([], 1), (["--earlier", "1"], 0)])
def test_runs_that_are_not_listed_are_counted(folders, caplog, capsys, flags, lines):
    caplog.set_level("INFO")
    results.main(["--log_dir", folders[0], *flags])
    counted = [line for line in caplog.messages if "--earlier 1" in line]
    assert [line.startswith("1 run was set aside") for line in counted] == [True] * lines


def test_a_folder_without_its_flag(folders):
    with pytest.raises(FlagError, match="'log' .*--log_dir log$"):
        results.main(["log"])


def test_a_folder_without_runs(tmp_path, capsys):
    results.main(["--log_dir", str(tmp_path)])
    assert capsys.readouterr().out == f"no run below {tmp_path}\n"


def test_faults(tmp_path):
    with pytest.raises(FlagError, match="--log_dir .*/none is not a folder"):
        results.main(["--log_dir", str(tmp_path / "none")])
    (tmp_path / "file").write_text("")
    with pytest.raises(FlagError, match="--json .* cannot be written"):
        results.main(["--log_dir", str(tmp_path), "--json", str(tmp_path / "file" / "results.json")])
    assert "--log_dirs" in refusal("--log_dirs a", ResultsConfig)
