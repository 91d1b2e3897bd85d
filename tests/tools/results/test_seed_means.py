"""Mean scores of runs that differ only in the seed."""

from __future__ import annotations

import csv
import dataclasses
import io
import statistics

import pytest

from tests.tools.results.written_runs import recorded_at, run_at, scores_of, write, write_snapshot
from tools.results.runs import Run, find_runs
from tools.results.tables import csv_of, differing_settings, markdown_of, seed_means, text_of


@pytest.fixture
def seeds(tmp_path) -> list[Run]:
    """Three runs that differ in the seed, of which two kept their best, and one on other data."""
    log, predictions = tmp_path / "log", tmp_path / "val_set"
    for seed, best_step, iou in ((0, 5, 0.5), (1, 9, 0.6), (2, None, 0.7)):
        run = run_at(log, f"s{seed}", seed, f"u{seed}", training_samples_sha256="d")
        for step in (5, 9):
            checksum = write_snapshot(run, step, f"{seed}-{step}")
            if step == best_step:
                write_snapshot(run, step, f"{seed}-{step}", "best")
            header = {"run_uuid": f"u{seed}", "checkpoint_sha256": checksum}
            write(run / f"scores-{step}.json", scores_of(step, iou + step / 100, **header))
        write(predictions / f"p{seed}" / "step9-ms1" / "scores.json", scores_of(9, iou, **header))
    other = run_at(log, "other", 3, "u3", training_samples_sha256="e")
    write(other / "scores-9.json", scores_of(9, 0.1))
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


@pytest.mark.parametrize("key", ["label_map", "class_names"])
def test_runs_of_other_classes_are_not_averaged(tmp_path, key):
    log = tmp_path / "log"
    for seed in (0, 1):
        recorded_at(log, f"s{seed}", {key: {str(seed): 0}}, seed=seed)
        write(log / "custom" / f"s{seed}" / "scores-5.json", scores_of(5, 0.5))
    assert seed_means(find_runs(str(log), "none")) == []


def test_the_same_data_under_other_names_are_averaged(tmp_path):
    """Checksums decide, because copies of data, lists and files of flags have other paths on other machines."""
    log, of_training = tmp_path / "log", {"training_samples_sha256": "t", "training_contents_sha256": "u"}
    for seed, place in enumerate(("/a/own", "/b/data", "c")):
        files = {name: f"{place}/{name}" for name in ("train_list", "val_list", "class_weights", "fine_tune_filename")}
        known = {"class_weight_values": [1.0, 2.0], "pretrained_sha256": "p", **of_training}
        run = run_at(log, f"s{seed}", seed, f"u{seed}", data_dir=place, **files, **known)
        header = {"data_sha256": ["a", "b", "c"], "data_dir": place, "list": f"{place}/val.txt", "window": 32}
        write(run / "scores-5.json", scores_of(5, seed / 4, **header))
        predicted = {**header, "run_uuid": f"u{seed}", "checkpoint_sha256": "s"}
        write(tmp_path / "val_set" / f"s{seed}" / "step5-ms1" / "scores.json", scores_of(5, seed / 4, **predicted))
    runs = find_runs(str(log), str(tmp_path / "val_set"))
    assert {(mean.of, mean.seeds, mean.mean) for mean in seed_means(runs)} == {
        ("scores-5", (0, 1, 2), 0.25), ("step5-ms1", (0, 1, 2), 0.25)
    }  # fmt: skip
    assert differing_settings(runs) == []


def test_lists_distinguish_scores_without_a_checksum(tmp_path):
    log = tmp_path / "log"
    for seed, listed in enumerate(("a.txt", "a.txt", "b.txt")):
        write(run_at(log, f"s{seed}", seed, f"u{seed}", val_list=listed) / "scores-5.json", scores_of(5, seed / 4))
    [mean] = seed_means(find_runs(str(log), "none"))
    assert mean.seeds == (0, 1)
