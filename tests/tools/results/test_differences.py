"""The flags, contents of files, and settings in which runs and scores differ."""

from __future__ import annotations

import csv
import io
import re

import pytest

from tests.tools.results.written_runs import recorded_at, run_at, scores_of, write
from tools.flags.definition import flags_where
from tools.flags.train import TrainConfig
from tools.results.runs import Run, find_runs
from tools.results.tables import csv_of, differing_flags, differing_settings, differing_values, seed_means, text_of


def test_flags_that_distinguish_runs(folders):
    assert differing_flags(find_runs(*folders)) == ["bn_frozen", "lr_step", "lrn_rate"]
    assert differing_flags([Run("a", {"lrn_rate": 1}, [])]) == []
    watched = {"on_nan": "rollback", "max_bad_files": 3, "deterministic": True, "device": "cpu", "run_name": "y"}
    assert differing_flags([Run("a", watched, []), Run("b", {"on_nan": "stop"}, [])]) == []
    assert differing_flags([]) == []


def test_a_flag_that_was_not_given_is_shown_as_it_was_built(tmp_path):
    """Records of earlier versions, which lack an entry of the architecture, do not make runs differ."""
    built = [{"decoder": "ppm", "stem": "conv7"}, {"decoder": "icnet", "stem": "conv7"}, {"decoder": "ppm"}]
    given = [{"decoder": None}, {"decoder": "icnet"}, {"decoder": "ppm"}]
    for name, architecture, flags in zip("abc", built, given, strict=True):
        recorded_at(tmp_path, name, {"architecture": architecture}, stem=None, **flags)
    runs = find_runs(str(tmp_path), "none")
    assert differing_values(runs) == (["decoder"], [["ppm"], ["icnet"], ["ppm"]])
    assert differing_flags([runs[0], runs[2]]) == []
    no_record = Run("d", {**runs[1].flags, "decoder": None}, [])
    assert differing_values([runs[1], no_record]) == (["decoder"], [["icnet"], ["-"]])


def test_flags_that_a_resumed_run_may_change_and_that_are_shown():
    """A flag that a resumed run may change is not shown, unless it affects the steps or the scores."""
    shown = {"fine_tune_filename", "train_max_iter", "test_image_size", "mirror", "use_ema", "val_list", "test_list"}
    assert shown == set(flags_where(TrainConfig, resume="free", shown=True))


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
def test_equal_names_of_other_contents_are_distinguished(tmp_path, flag, name, contents):
    """Runs with the same contents have the same checksum, and do not add a column."""
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


@pytest.mark.parametrize(
    ("header", "shown"),
    [
        ({"data_sha256": ["a", None, "c"], "list": "val.txt"}, r"data val.txt \([0-9a-f]{8}\)"),
        ({"data_sha256": ["a", None, "c"], "list": None, "data_dir": "/x/own/"}, r"data own \([0-9a-f]{8}\)"),
        ({"window": 64}, "window 64"),
        ({"mirror": 0}, "mirror 0"),
        ({"use_ema": 0}, "use_ema 0"),  # the others have no such entry, as files of earlier versions
    ],
)
def test_scores_of_other_images_or_settings_are_distinguished_and_not_averaged(tmp_path, header, shown):
    log, usual = tmp_path / "log", {"data_sha256": ["a", "b", "c"], "list": "val.txt", "window": 32, "mirror": 1}
    for seed in range(4):
        run = run_at(log, f"s{seed}", seed, f"u{seed}")
        write(run / "scores-5.json", scores_of(5, seed / 4, **{**usual, **(header if seed == 3 else {})}))
    runs = find_runs(str(log), "none")
    [mean] = seed_means(runs)
    assert (mean.seeds, mean.mean) == ((0, 1, 2), 0.25)
    [name] = differing_settings(runs)
    [line] = [line for line in text_of(runs).splitlines() if re.search(shown, line) and "mIoU %  75.00" in line]
    assert "scores-5  mIoU %" in line
    rows = list(csv.DictReader(io.StringIO(csv_of(runs))))
    values = [row[f"scored with {name}"] for row in rows]
    assert values[0] == values[1] == values[2] != values[3]
    assert seed_means(runs[:3])
    assert differing_settings(runs[:3]) == []
