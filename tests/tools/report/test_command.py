"""The command: from the folder of a run to a page whose figures are those of the run."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

pytest.importorskip("jinja2", reason="needs the extra report")
pytest.importorskip("plotly", reason="needs the extra report")

from tests.tools.pages.parsed import ParsedPage  # noqa: E402
from tests.tools.report.written_run import NAMES, write_run  # noqa: E402
from tests.tools.toy_runs import csv_rows  # noqa: E402
from tools.errors import FlagError, MissingPackageError  # noqa: E402
from tools.report import __main__ as report  # noqa: E402
from tools.runs.commands import read_commands  # noqa: E402
from tools.runs.folder import RunFolder  # noqa: E402
from tools.runtime import extras  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

HOSTILE = "<img src=x onerror=alert(1)>"


def parsed(path) -> ParsedPage:
    with open(path, encoding="utf-8") as file:
        return ParsedPage(file.read())


def test_figures_are_those_of_the_run(run_copy, toy_dir, capsys):
    report.main([str(run_copy), "--images", "1", "--out", "x/report.html", "--device", "cpu"])
    assert capsys.readouterr().out == "x/report.html\n"
    found = parsed("x/report.html")
    rows = csv_rows(RunFolder(str(run_copy)))
    loss, auxiliary = found.json["charts"]["curve-loss"]["data"]
    assert (loss["x"], loss["y"]) == ([row["step"] for row in rows], [row["loss"] for row in rows])
    assert auxiliary["y"] == [row["auxiliary_loss"] for row in rows]
    [rate] = found.json["charts"]["curve-rate"]["data"]
    assert rate["y"] == [row["learning_rate"] for row in rows]
    [folder] = [path for path, _, names in os.walk("val_set") if "scores.json" in names]
    with open(os.path.join(folder, "scores.json"), encoding="utf-8") as file:
        scores = json.load(file)
    iou, share = found.json["charts"]["classes-0"]["data"]
    expected = [None if entry["iou"] is None else 100 * entry["iou"] for entry in scores["classes"]]
    assert iou["x"] == [None if value is None else pytest.approx(value) for value in expected]
    assert sum(share["x"]) == pytest.approx(100)
    [heatmap] = found.json["charts"]["matrix-0"]["data"]
    diagonal = [None if entry["accuracy"] is None else 100 * entry["accuracy"] for entry in scores["classes"]]
    assert [heatmap["z"][i][i] for i in range(len(diagonal))] == [
        None if value is None else pytest.approx(value) for value in diagonal
    ]
    assert read_commands(str(run_copy))[0] in found.text
    assert f"{100 * scores['mean_iou']:.2f} %" in found.text
    assert len(found.json["pictures"]["pictures"]) == 2
    assert os.path.getsize("x/report.html") < 6e6


def test_second_report_replaces_only_its_own(run_copy):
    arguments = [str(run_copy), "--images", "0", "--out", "report.html"]
    report.main(arguments)
    before = os.stat("report.html").st_ino
    report.main(arguments)
    assert os.stat("report.html").st_ino != before
    shutil.copytree(run_copy, run_copy.parent / "other", copy_function=os.link)
    message = "exists and is not a report of these runs"
    both = [str(run_copy), str(run_copy.parent / "other"), "--images", "0", "--out", "report.html"]
    with pytest.raises(FlagError, match=message):
        report.main(both)
    with open("letter.html", "w", encoding="utf-8") as file:
        file.write("a letter")
    with pytest.raises(FlagError, match=message):
        report.main([*arguments[:-1], "letter.html"])


def test_several_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [
        write_run(tmp_path, "a", scores={40: 0.5}, seed=0),
        write_run(tmp_path, "b", scores={40: 0.6}, seed=1),
        write_run(tmp_path, "c", scores={40: 0.7}, seed=0, lrn_rate=0.5),
    ]
    report.main([*map(str, folders), "--images", "0"])
    [path] = (tmp_path / "reports" / "CamVid").iterdir()
    assert path.name.startswith("a-and-2-more-")
    found = parsed(path)
    cells = [line.strip() for line in found.text.splitlines()]
    text = " ".join(cells)
    assert "Comparison of 3 runs" in text
    assert "55.00" in text  # the mean of both seeds
    assert "+15.00" in text
    assert "7.07" in text  # their deviation
    assert "The interval assumes" in text
    assert "lrn_rate" in text
    bars = found.json["charts"]["classes-0"]["data"]
    assert [bar["x"][0] for bar in bars] == [50, 60, 70]


def test_hostile_names_stay_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pages = []
    for name, text in (("a", HOSTILE), ("b", "harmless")):
        folder = write_run(tmp_path / name, "run", scores={40: 0.5}, data_dir=text)
        record = json.loads((folder / "config.json").read_text())
        names = [text, *NAMES[1:]]
        (folder / "config.json").write_text(json.dumps({**record, "class_names": names}))
        scores = (folder / "scores-40.json").read_text().replace(NAMES[0], text)
        (folder / "scores-40.json").write_text(scores)
        report.main([str(folder), "--images", "0", "--out", f"{name}.html"])
        pages.append(parsed(f"{name}.html"))
    hostile, harmless = pages
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in harmless.tags]
    assert hostile.text.count(HOSTILE) == harmless.text.count("harmless") >= 2
    assert "<img" not in json.dumps(hostile.json["charts"])


def test_run_that_has_just_begun(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_run(tmp_path, "a", rows=[])
    report.main([str(folder), "--out", "x.html"])
    found = parsed("x.html")
    assert found.json["charts"] == {}
    assert "What is missing, and how to get it" in found.text
    assert "no confusion matrix and no pictures" in found.text
    assert "no curves" in found.text


@pytest.mark.parametrize("value", [None, [], [[1]], {"a": {}}, -1, 1e308, True, "x", ["x", 1]])
@pytest.mark.parametrize("images", ["0", "1"])
def test_damaged_records_never_stop_a_report(tmp_path, monkeypatch, value, images):
    monkeypatch.chdir(tmp_path)
    folder = write_run(tmp_path, "a", scores={40: 0.5})
    record = json.loads((folder / "config.json").read_text())
    flags = dict.fromkeys(record["flags"], value)
    for damaged in (
        {**record, "flags": flags},
        {"flags": flags, **dict.fromkeys([*record.keys() - {"flags"}], value)},
        {"flags": {}},
        {**record, "origin": value},
    ):
        (folder / "config.json").write_text(json.dumps(damaged))
        report.main([str(folder), "--images", images, "--out", f"{len(os.listdir())}.html"])


def test_command_lines_that_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused = {
        "no run is given": [],
        "is not a folder": ["nowhere"],
        "--device cpu has no effect": ["nowhere", "--images", "0", "--device", "cpu"],
        "unrecognized arguments": ["--images", "0", "nowhere"],
        "is not a file .html": ["nowhere", "--out", "page.pdf"],
    }
    for message, arguments in refused.items():
        with pytest.raises(FlagError, match=message):
            report.main(arguments)
    monkeypatch.setattr(extras, "is_installed", lambda package: package != "plotly")
    with pytest.raises(MissingPackageError, match="plotly"):
        report.main(["nowhere"])
    assert os.listdir(tmp_path) == []


def test_matrix_of_several_runs_is_their_own(run_copy):
    other = run_copy.parent / "other"
    shutil.copytree(run_copy, other, copy_function=os.link)
    for path in (other / "snapshot").glob("model.ckpt-4*"):
        path.unlink()
    report.main([str(run_copy), str(other), "--images", "1", "--out", "x.html"])
    found = parsed("x.html")
    [first], [second] = (found.json["charts"][f"matrix-{number}"]["data"] for number in range(2))
    assert not np.array_equal(np.array(first["z"], float), np.array(second["z"], float), equal_nan=True)
    pictures = found.json["pictures"]["pictures"]
    assert [picture["truth"] for picture in pictures[1::2]] == [0, 2]  # the truth is in the page once
