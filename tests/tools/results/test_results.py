"""The list of runs and scores."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import os
import re
import statistics
from pathlib import Path

import pytest

from tests.tools.command_lines import refusal
from tools.errors import FlagError
from tools.flags.definition import flags_where
from tools.flags.train import TrainConfig
from tools.prediction import score_files
from tools.results import __main__ as results
from tools.results import runs as result_runs
from tools.results.__main__ import ResultsConfig
from tools.results.runs import Run, Score, find_runs
from tools.results.tables import (
    csv_of,
    differing_flags,
    differing_settings,
    markdown_of,
    seed_means,
    short_names,
    text_of,
)
from tools.runs import origin as run_origin


def _write(path, values) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(values if isinstance(values, str) else json.dumps(values))


def _scores(step: int, mean_iou: float | None, **header) -> dict:
    return {"run": {"step": step, **header}, "mean_iou": mean_iou, "pixel_accuracy": 0.75, "classes": []}


def _snapshot(run: Path, step: int, content: str, part: str = "snapshot") -> str:
    """Writes the index of a snapshot; returns its checksum."""
    _write(run / part / f"model.ckpt-{step}.index", content)
    return hashlib.sha256(content.encode()).hexdigest()


@pytest.fixture
def folders(tmp_path):
    """Log folder with two runs, one that was set aside and two that are none; and the folder of predictions."""
    log, predictions = tmp_path / "log", tmp_path / "val_set"
    same = {"network": "resnet_v1_50", "random_rotate": True, "log_dir": "x"}
    checksum = _snapshot(log / "Toy" / "a", 900, "weights")
    _write(log / "Toy" / "a" / "config.json", {"flags": same | {"lrn_rate": 0.01, "lr_step": [1, 2], "keep": 1}})
    _write(log / "Toy" / "b" / "config.json", {"flags": same | {"lrn_rate": 0.1, "bn_frozen": True, "keep": 2}})
    _write(log / "Toy" / "b.earlier-1" / "config.json", {"flags": same})
    _write(log / "Toy" / "damaged" / "config.json", "{")
    _write(log / "Toy" / "weights" / "config.json", {"backbone": {}})
    _write(log / "Toy" / "a" / "scores-900.json", _scores(900, 0.25))
    _write(log / "Toy" / "a" / "scores-600.json", _scores(600, None))
    _write(log / "Toy" / "a" / "scores-700.json", "[1")
    _write(predictions / "Toy" / "a" / "step900-ms1" / "scores.json", _scores(900, 0.5, checkpoint_sha256=checksum))
    return str(log), str(predictions)


def _bare(score: Score) -> Score:
    assert os.path.exists(score.path)
    return dataclasses.replace(score, path="")


def test_runs_with_their_scores(folders, caplog):
    first, second = find_runs(*folders)
    assert (first.name, second.name) == ("Toy/a", "Toy/b")
    assert first.flags["lrn_rate"] == 0.01
    assert [_bare(score) for score in first.scores] == [
        Score("scores-600", 600, None, 0.75),
        Score("scores-900", 900, 0.25, 0.75),
        Score("step900-ms1", 900, 0.5, 0.75),
    ]
    assert second.scores == []
    assert [run.name for run in find_runs(*folders, earlier=True)] == ["Toy/a", "Toy/b", "Toy/b.earlier-1"]
    assert "damaged/config.json is ignored" in caplog.text
    assert "scores-700.json is ignored" in caplog.text


def test_flags_that_tell_runs_apart(folders):
    assert differing_flags(find_runs(*folders)) == ["bn_frozen", "lr_step", "lrn_rate"]
    assert differing_flags([Run("a", {"lrn_rate": 1}, [])]) == []
    watched = {"on_nan": "rollback", "max_bad_files": 3, "deterministic": True, "device": "cpu", "run_name": "y"}
    assert differing_flags([Run("a", watched, []), Run("b", {"on_nan": "stop"}, [])]) == []
    assert differing_flags([]) == []


def test_flags_that_are_no_property_of_a_run():
    """A flag that a resumed run may change is no property of it, unless it says what was scored or for how long."""
    said = {"fine_tune_filename", "train_max_iter", "test_image_size", "mirror", "val_list", "test_list"}
    assert said == set(flags_where(TrainConfig, resume="free", shown=True))


def run_at(log: Path, name: str, seed: int, uuid: str | None, **flags) -> Path:
    values = {"seed": seed, "lrn_rate": 0.1, **flags} | ({"run_uuid": uuid} if uuid else {})
    _write(log / "Toy" / name / "config.json", {"flags": values})
    return log / "Toy" / name


def test_scores_are_found_by_the_run_they_are_of(tmp_path):
    """In whatever folder, under whatever name, of whatever dataset; not by the names of folders."""
    log, predictions = tmp_path / "log", tmp_path / "val_set"
    runs = {uuid: run_at(log, name, 0, uuid) for name, uuid in (("a", "u1"), ("b", "u2"))}
    checksums = {uuid: _snapshot(run, 5, uuid) for uuid, run in runs.items()}
    told = {uuid: {"run_uuid": uuid, "checkpoint_sha256": checksum} for uuid, checksum in checksums.items()}
    _write(predictions / "Toy" / "a" / "step5-ms0" / "scores.json", _scores(5, 0.2, **told["u2"]))
    _write(predictions / "Toy" / "b" / "step5-ms0" / "scores.json", _scores(5, 0.1, **told["u1"]))
    _write(predictions / "x" / "y" / "z" / "mine" / "scores.json", _scores(5, 0.3, dataset="custom", **told["u1"]))
    _write(predictions / "t" / "scores.json", _scores(5, 0.4, split="train", **told["u2"]))
    found = {
        run.name: {score.of: score.mean_iou for score in run.scores} for run in find_runs(str(log), str(predictions))
    }
    assert found == {
        "Toy/a": {"step5-ms0": 0.1, "custom mine": 0.3},
        "Toy/b": {"step5-ms0": 0.2, "train t": 0.4},
    }


def test_scores_of_a_snapshot_written_anew_are_ignored(tmp_path, caplog):
    run = run_at(tmp_path / "log", "a", 0, "u")
    old = _snapshot(run, 5, "first")
    _snapshot(run, 5, "second")
    header = {"run_uuid": "u", "checkpoint_sha256": old}
    _write(run / "scores-5.json", _scores(5, 0.9, **header))
    _write(tmp_path / "val_set" / "x" / "scores.json", _scores(5, 0.9, **header))
    _write(run / "scores-3.json", _scores(3, 0.3, run_uuid="u", checkpoint_sha256="of a snapshot that is pruned"))
    [found] = find_runs(str(tmp_path / "log"), str(tmp_path / "val_set"))
    assert [score.of for score in found.scores] == ["scores-3"]
    assert caplog.text.count("snapshot of step 5 was overwritten since") == 2


def test_scores_that_another_run_left_in_the_folder_are_ignored(tmp_path):
    run = run_at(tmp_path / "log", "a", 0, "u")
    _write(run / "scores-5.json", _scores(5, 0.9, run_uuid="another"))
    [found] = find_runs(str(tmp_path / "log"), "none")
    assert found.scores == []


def test_copies_of_a_run_keep_their_scores_apart(tmp_path):
    """Both carry the number of the run; predictions say by its name which is meant."""
    log, predictions = tmp_path / "log", tmp_path / "val_set"
    for name in ("a", "b"):
        run = run_at(log, name, 0, "u")
        checksum = _snapshot(run, 5, "same")
        header = {"run_uuid": "u", "checkpoint_sha256": checksum, "run": name}
        _write(predictions / name / "step5" / "scores.json", _scores(5, 0.5, **header))
    found = find_runs(str(log), str(predictions))
    assert [[Path(score.path).parts[-3] for score in run.scores] for run in found] == [["a"], ["b"]]


def test_scores_of_earlier_versions_outside_of_a_run_are_counted(tmp_path, caplog):
    """By their place alone, they may be those of another run of the same name."""
    run_at(tmp_path / "log", "a", 0, None)
    for name in ("step5-ms0", "step6-ms0"):
        _write(tmp_path / "val_set" / "Toy" / "a" / name / "scores.json", _scores(5, 0.9))
    [found] = find_runs(str(tmp_path / "log"), str(tmp_path / "val_set"))
    assert found.scores == []
    assert "2 files of scores do not name their snapshot" in caplog.text


@pytest.fixture
def seeds(tmp_path) -> list[Run]:
    """Three runs that differ in the seed, of which two kept their best, and one on other data."""
    log, predictions = tmp_path / "log", tmp_path / "val_set"
    for seed, best_step, iou in ((0, 5, 0.5), (1, 9, 0.6), (2, None, 0.7)):
        run = run_at(log, f"s{seed}", seed, f"u{seed}", training_samples_sha256="d")
        for step in (5, 9):
            checksum = _snapshot(run, step, f"{seed}-{step}")
            if step == best_step:
                _snapshot(run, step, f"{seed}-{step}", "best")
            header = {"run_uuid": f"u{seed}", "checkpoint_sha256": checksum}
            _write(run / f"scores-{step}.json", _scores(step, iou + step / 100, **header))
        _write(predictions / f"p{seed}" / "step9-ms1" / "scores.json", _scores(9, iou, **header))
    other = run_at(log, "other", 3, "u3", training_samples_sha256="e")
    _write(other / "scores-9.json", _scores(9, 0.1))
    return find_runs(str(log), str(predictions))


def test_mean_over_seeds(seeds):
    means = {mean.of: mean for mean in seed_means(seeds)}
    assert set(means) == {"scores-5", "scores-9", "step9-ms1", "best, scores"}
    assert means["scores-9"].names == ("Toy/s0", "Toy/s1", "Toy/s2")
    assert means["scores-9"].seeds == (0, 1, 2)
    assert means["scores-9"].mean == pytest.approx(0.69)
    assert means["scores-9"].deviation == pytest.approx(statistics.stdev([0.59, 0.69, 0.79]))
    assert means["best, scores"].names == ("Toy/s0", "Toy/s1")
    assert means["best, scores"].mean == pytest.approx((0.55 + 0.69) / 2)


def test_one_seed_has_no_mean(seeds):
    assert seed_means(seeds[:2]) == []  # the one on other data, and one of the three
    twice = [dataclasses.replace(seeds[1], name=name) for name in "ab"]
    assert seed_means(twice) == []


def test_tables_of_means(seeds):
    text = text_of(seeds)
    assert "scores-5   mIoU %  55.00  pixel accuracy %  75.00  best" in text
    assert "mean of Toy/s0, Toy/s1, Toy/s2 (seeds 0, 1, 2): scores-9  mIoU % 69.00 +- 10.00" in text
    rows = list(csv.DictReader(io.StringIO(csv_of(seeds))))
    [mean] = [row for row in rows if row["scored"] == "scores-9" and row["deviation"]]
    assert (mean["mIoU %"], mean["deviation"]) == ("69.00", "10.00")
    assert [row["run"] for row in rows if row["best"]] == ["Toy/s0", "Toy/s1", "Toy/s1"]
    assert [row["seed"] for row in rows if row["scored"] == "scores-5"][:3] == ["0", "1", "2"]
    lines = markdown_of(seeds).splitlines()
    assert len(lines) == 2 + len(rows)
    assert len({line.count("|") for line in lines}) == 1


LONG = "custom/resnet_v1_18-64-train-L2-wd_alpha0.0001-wd_beta0.0001-batch_size2-lrn_rate0.01-consider_dilated0"


def test_long_names_of_runs_stand_once(tmp_path):
    """In tables the checksum that a name ends with stands for it; means name short ones alone."""
    log = tmp_path / "log"
    for seed, name in enumerate(["0fa81bf9", "1bfe5b27", "1bfe5b27.earlier-1"]):
        run = run_at(log, f"{LONG.removeprefix('custom/')}-{name}", seed, f"u{seed}")
        _write(run / "scores-5.json", _scores(5, seed / 4, run_uuid=f"u{seed}"))
    _write(run_at(log, "mine", 3, "u3") / "scores-5.json", _scores(5, 1.0, run_uuid="u3"))
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


def recorded_at(log: Path, name: str, record: dict | None = None, **flags) -> None:
    values = {"database": "custom", "num_classes": 3, "seed": 0, **flags}
    _write(log / "custom" / name / "config.json", {"flags": values, **(record or {})})


@pytest.mark.parametrize(
    ("flag", "name", "contents"),
    [
        ("class_weights", "w.txt", [{"class_weight_values": [1.0, 2.0]}, {"class_weight_values": [2.0, 1.0]}]),
        ("fine_tune_filename", "w.ckpt", [{"pretrained_sha256": "a"}, {"pretrained_sha256": "b"}]),
        ("label_map", "ids.txt", [{"label_map": {"7": 0}}, {"label_map": {"8": 0}}]),
        ("palette", "colors.txt", [{"class_names": ["x"]}, {"class_names": ["y"]}]),
        ("palette", "colors.txt", [{"palette": [[0, 0, 0]]}, {"palette": [[0, 0, 1]]}]),
        ("data_dir", "data", [{"training_samples_sha256": "a"}, {"training_samples_sha256": "b"}]),
        ("data_dir", "data", [{"training_sizes_sha256": "a"}, {"training_sizes_sha256": "b"}]),
        ("data_dir", None, [{"training_contents_sha256": "a"}, {"training_contents_sha256": "b"}]),
    ],
)
def test_equal_names_of_other_contents_are_told_apart(tmp_path, flag, name, contents):
    """Runs of the same contents have the same checksum, and are no reason for a column."""
    log = tmp_path / "log"
    for run, content in zip("abc", [*contents, contents[0]], strict=True):
        record = {key: value for key, value in content.items() if key in ("label_map", "palette", "class_names")}
        flags = {key: value for key, value in content.items() if key not in record}
        recorded_at(log, run, record, **{flag: name}, **flags)
    runs = find_runs(str(log), "none")
    assert differing_flags(runs) == [flag]
    shown = [line.split() for line in text_of(runs).splitlines() if line.startswith(f"    {flag}")]
    assert [words[:2] for words in shown] == [[flag, name or "-"]] * 3
    checksums = [words[2] for words in shown]
    assert all(re.fullmatch(r"\([0-9a-f]{8}\)", checksum) for checksum in checksums)
    assert checksums[0] == checksums[2] != checksums[1]
    assert differing_flags([runs[0], runs[2]]) == []
    recorded_at(log, "d", **{flag: name})
    recorded_at(log, "e")
    last = [csv_row[flag] for csv_row in csv.DictReader(io.StringIO(csv_of(find_runs(str(log), "none"))))][3:]
    assert last == [f"{name} (unknown)" if name else "-", "-"]  # in a record of an earlier version; without the file
    rows = list(csv.DictReader(io.StringIO(csv_of(runs))))
    assert [row[flag] for row in rows] == [f"{name or '-'} {checksum}" for checksum in checksums]


def test_other_names_need_no_checksum(tmp_path):
    log = tmp_path / "log"
    for run, name in (("a", "w.txt"), ("b", "v.txt")):
        recorded_at(log, run, class_weights=name, class_weight_values=[float(len(run)), ord(run)])
    recorded_at(log, "c", database="Toy", training_samples_sha256="x")
    recorded_at(log, "d", database="CamVid", training_samples_sha256="y")
    runs = find_runs(str(log), "none")
    assert differing_flags(runs) == ["class_weights", "database"]
    assert "    class_weights w.txt  database custom" in text_of(runs)


@pytest.mark.parametrize("key", ["label_map", "class_names"])
def test_runs_of_other_classes_are_not_averaged(tmp_path, key):
    log = tmp_path / "log"
    for seed in (0, 1):
        recorded_at(log, f"s{seed}", {key: {str(seed): 0}}, seed=seed)
        _write(log / "custom" / f"s{seed}" / "scores-5.json", _scores(5, 0.5))
    assert seed_means(find_runs(str(log), "none")) == []


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ({"data_sha256": ["a", None, "c"], "list": "val.txt"}, r"data val.txt \([0-9a-f]{8}\)"),
        ({"data_sha256": ["a", None, "c"], "list": None, "data_dir": "/x/own/"}, r"data own \([0-9a-f]{8}\)"),
        ({"window": 64}, "window 64"),
        ({"mirror": 0}, "mirror 0"),
    ],
)
def test_scores_of_other_images_or_settings_are_told_apart_and_not_averaged(tmp_path, header, told):
    log, usual = tmp_path / "log", {"data_sha256": ["a", "b", "c"], "list": "val.txt", "window": 32, "mirror": 1}
    for seed in range(4):
        run = run_at(log, f"s{seed}", seed, f"u{seed}")
        _write(run / "scores-5.json", _scores(5, seed / 4, **{**usual, **(header if seed == 3 else {})}))
    runs = find_runs(str(log), "none")
    [mean] = seed_means(runs)
    assert (mean.seeds, mean.mean) == ((0, 1, 2), 0.25)
    [name] = differing_settings(runs)
    [line] = [line for line in text_of(runs).splitlines() if re.search(told, line) and "mIoU %  75.00" in line]
    assert "scores-5  mIoU %" in line
    rows = list(csv.DictReader(io.StringIO(csv_of(runs))))
    values = [row[f"scored with {name}"] for row in rows]
    assert values[0] == values[1] == values[2] != values[3]
    assert seed_means(runs[:3])
    assert differing_settings(runs[:3]) == []


def test_the_same_data_under_other_names_are_averaged(tmp_path):
    """Checksums decide: copies of the data, of lists and of the files of flags lie elsewhere on each machine."""
    log, of_training = tmp_path / "log", {"training_samples_sha256": "t", "training_contents_sha256": "u"}
    for seed, place in enumerate(("/a/own", "/b/data", "c")):
        files = {name: f"{place}/{name}" for name in ("train_list", "val_list", "class_weights", "fine_tune_filename")}
        known = {"class_weight_values": [1.0, 2.0], "pretrained_sha256": "p", **of_training}
        run = run_at(log, f"s{seed}", seed, f"u{seed}", data_dir=place, **files, **known)
        header = {"data_sha256": ["a", "b", "c"], "data_dir": place, "list": f"{place}/val.txt", "window": 32}
        _write(run / "scores-5.json", _scores(5, seed / 4, **header))
        predicted = {**header, "run_uuid": f"u{seed}", "checkpoint_sha256": "s"}
        _write(tmp_path / "val_set" / f"s{seed}" / "step5-ms1" / "scores.json", _scores(5, seed / 4, **predicted))
    runs = find_runs(str(log), str(tmp_path / "val_set"))
    assert {(mean.of, mean.seeds, mean.mean) for mean in seed_means(runs)} == {
        ("scores-5", (0, 1, 2), 0.25), ("step5-ms1", (0, 1, 2), 0.25)
    }  # fmt: skip
    assert differing_settings(runs) == []


def test_lists_tell_scores_apart_that_hold_no_checksum(tmp_path):
    log = tmp_path / "log"
    for seed, listed in enumerate(("a.txt", "a.txt", "b.txt")):
        _write(run_at(log, f"s{seed}", seed, f"u{seed}", val_list=listed) / "scores-5.json", _scores(5, seed / 4))
    [mean] = seed_means(find_runs(str(log), "none"))
    assert mean.seeds == (0, 1)


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


def test_a_real_run_is_listed(tiny_run):
    log_dir = tiny_run.config.log_dir
    [run] = find_runs(log_dir, "none")
    assert run.flags["network"] == tiny_run.config.network
    assert run.name.startswith("Toy/")


def test_names_in_files_of_scores():
    """They are written down a second time, so that the list needs no TensorFlow."""
    assert (result_runs._CHECKSUM, result_runs._UUID) == (score_files.CHECKSUM, run_origin.RUN_UUID)
