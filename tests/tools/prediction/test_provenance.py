"""Folders of results say what they were made from, and hold nothing else."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from database.layouts import Sample
from tests.tools.toy_runs import tiny_config, toy_record, write_checkpoint
from tools.errors import ResultsFolderError
from tools.flags.predict import InferenceConfig, PredictConfig
from tools.prediction.provenance import Provenance, folder_for, provenance_of, require_folder, set_results_aside
from tools.runs.folder import RunFolder
from tools.runs.record import ModelRecord
from tools.runs.run_origin import RunOrigin


@pytest.fixture(scope="module")
def record() -> ModelRecord:
    record = toy_record(tiny_config("toy", "log"))
    return dataclasses.replace(record, origin=RunOrigin(run_uuid="u1"))


@pytest.fixture
def prefix(tmp_path) -> str:
    return write_checkpoint(
        str(tmp_path / "log" / "Toy" / "run" / "snapshot" / "model.ckpt-7"), {"w": np.ones(2, "f4")}
    )


def samples_in(folder: Path, text: str = "x") -> list[Sample]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.png").write_text(text)
    return [Sample("a", str(folder / "a.png"), None, {})]


def of(prefix, record, tmp_path, config=None, data="data", text="x") -> Provenance:
    samples = samples_in(tmp_path / data, text)
    return provenance_of(config or PredictConfig(float_type="32"), prefix, record, samples, str(tmp_path / data))


def test_facts_are_told(prefix, record, tmp_path):
    entries = of(prefix, record, tmp_path, PredictConfig(float_type="32", ms=True, mode="test")).entries
    assert {name: entries[name] for name in ("run", "run_uuid", "step", "dataset", "split", "images", "ms")} == {
        "run": "run", "run_uuid": "u1", "step": 7, "dataset": "Toy", "split": "test", "images": 1, "ms": True,
    }  # fmt: skip
    assert entries["run_folder"] == str(tmp_path / "log" / "Toy" / "run")
    assert entries["data_dir"] == str(tmp_path / "data")


def test_header_of_scores(prefix, record, tmp_path):
    """The header keeps the names of earlier versions; switches are 0 or 1."""
    config = PredictConfig(float_type="32", ms=True, mirror=False, test_max_iter=1)
    header = of(prefix, dataclasses.replace(record, input_range=4095.0), tmp_path, config).header
    settings = {
        "multi_scale": 1, "mirror": 0, "window": 32, "upsample_input": 1, "input_range": 4095.0, "float_type": "32",
        "test_max_iter": 1,
    }  # fmt: skip
    assert {name: header[name] for name in settings} == settings
    assert (header["run"], header["step"], header["split"], len(header["data_sha256"])) == ("run", 7, "val", 3)
    assert "ms" not in header
    assert not any(isinstance(value, bool) for value in header.values())


def test_same_results_wherever_run_and_data_lie(prefix, record, tmp_path):
    first = of(prefix, record, tmp_path)
    moved = write_checkpoint(str(tmp_path / "s1" / "best" / "model.ckpt-7"), {"w": np.ones(2, "f4")})
    assert of(moved, record, tmp_path).checksum == first.checksum
    assert of(prefix, record, tmp_path, data="copy").checksum == first.checksum
    other_flags = dataclasses.replace(record, flags={}, origin=RunOrigin(run_uuid="u2"))
    assert of(prefix, other_flags, tmp_path).checksum == first.checksum
    towers = PredictConfig(float_type="32", gpu_num=2, coloring=False, windows_per_batch=1)
    assert of(prefix, record, tmp_path, towers).checksum == first.checksum


def test_whatever_changes_results_is_told_apart(prefix, record, tmp_path):
    found = [
        of(prefix, record, tmp_path),
        *(of(prefix, record, tmp_path, PredictConfig(**{"float_type": "32", **flags})) for flags in (
            {"ms": True}, {"mirror": False}, {"mode": "test"}, {"float_type": "bf16"}, {"test_max_iter": 3})),
        *(of(prefix, dataclasses.replace(record, **changes), tmp_path) for changes in (
            {"test_image_size": 64}, {"image_mean": (1.0, 2.0, 3.0)}, {"color_switch": True}, {"upsample_input": 2},
            {"label_map": {**record.label_map, 0: 3}}, {"palette": record.palette[::-1]}, {"database": "KITTI"},
            {"architecture": dataclasses.replace(record.architecture, resize_grid="legacy")})),
        of(prefix, record, tmp_path, data="other", text="y"),
        provenance_of(InferenceConfig(float_type="32"), prefix, record),
    ]  # fmt: skip
    write_checkpoint(prefix, {"w": np.zeros(2, "f4")})
    found.append(of(prefix, record, tmp_path))
    assert len({provenance.checksum for provenance in found}) == len(found)


def test_results_go_to_the_folder_of_equal_ones_or_to_one_of_their_own(prefix, record, tmp_path, caplog):
    caplog.set_level("INFO")
    wanted = str(tmp_path / "val_set" / "step7")
    first = of(prefix, record, tmp_path)
    second, third = (of(prefix, record, tmp_path, PredictConfig(float_type="32", mode=m)) for m in ("test", "train"))
    folders = []
    for provenance in (first, second, third):
        assert folder_for(provenance, wanted) == folder_for(provenance, wanted)
        folders.append(folder_for(provenance, wanted))
        provenance.write(folders[-1])
    assert folders == [wanted, f"{wanted}-2", f"{wanted}-3"]
    assert [folder_for(provenance, wanted) for provenance in (first, second, third)] == folders
    assert f"{wanted} contains other results, so the new ones are written to {wanted}-3" in caplog.text


@pytest.mark.parametrize("name", ["prediction", "coloring", "scores.json"])
def test_results_of_earlier_versions_are_not_replaced(prefix, record, tmp_path, name):
    wanted = tmp_path / "step7"
    (wanted / name).mkdir(parents=True)
    provenance = of(prefix, record, tmp_path)
    assert folder_for(provenance, str(wanted)) == f"{wanted}-2"
    with pytest.raises(ResultsFolderError, match=f"--output_dir {wanted} .* unknown origin"):
        require_folder(provenance, str(wanted))


def test_folder_of_the_user(prefix, record, tmp_path):
    """The folder may contain other files; other results are not replaced."""
    folder = str(tmp_path / "mine")
    os.makedirs(folder)
    Path(folder, "notes.txt").write_text("")
    first = of(prefix, record, tmp_path)
    assert require_folder(first, folder) == folder
    first.write(folder)
    assert require_folder(first, folder) == folder
    assert require_folder(first, str(tmp_path / "absent")) == str(tmp_path / "absent")
    with pytest.raises(ResultsFolderError, match=f"--output_dir {folder} .*{prefix} .they differ in split, ms"):
        require_folder(of(prefix, record, tmp_path, PredictConfig(float_type="32", mode="test", ms=True)), folder)
    with pytest.raises(ResultsFolderError, match="the network's or the classes' settings"):
        require_folder(of(prefix, dataclasses.replace(record, color_switch=True), tmp_path), folder)


def test_provenance_that_cannot_be_written(prefix, record, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(ResultsFolderError, match="taken/provenance.json: cannot be written"):
        of(prefix, record, tmp_path).write(str(tmp_path / "taken"))


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"'])
def test_damaged_provenance_says_nothing(prefix, record, tmp_path, text):
    folder = tmp_path / "step7"
    folder.mkdir()
    (folder / "provenance.json").write_text(text)
    assert folder_for(of(prefix, record, tmp_path), str(folder)) == f"{folder}-2"


def test_results_go_aside_with_their_run(prefix, record, tmp_path, monkeypatch, caplog):
    """Only results of this run are moved, at any depth below the default folders, and nothing is overwritten."""
    monkeypatch.chdir(tmp_path)
    provenance = of(prefix, record, tmp_path)
    other = Provenance({**provenance.entries, "run_uuid": "u2"})
    for folder, found in {
        "val_set/Toy/run/step7-ms0": provenance, "test_set/KITTI/Toy-run/step7-ms1": provenance,
        "val_set/Toy/run/step9-ms0": other, "inference_set/Toy/run/step7-ms0": provenance,
        "inference_set/Toy/run.earlier-1/step7-ms0": other, "elsewhere/Toy/run/step7-ms0": provenance,
    }.items():  # fmt: skip
        found.write(folder)
    (tmp_path / "val_set" / "notes.txt").write_text("")
    run = RunFolder(str(tmp_path / "log" / "Toy" / "run.earlier-1"))
    os.rename(tmp_path / "log" / "Toy" / "run", run.path)
    record.write(run.snapshots)
    assert sorted(set_results_aside(run, ".earlier-1")) == [
        "./test_set/KITTI/Toy-run.earlier-1/step7-ms1", "./val_set/Toy/run.earlier-1/step7-ms0",
    ]  # fmt: skip
    assert sorted(os.listdir("val_set/Toy")) == ["run", "run.earlier-1"]
    assert os.listdir("val_set/Toy/run") == ["step9-ms0"]
    assert os.listdir("test_set/KITTI") == ["Toy-run.earlier-1"]
    assert os.path.isdir("inference_set/Toy/run/step7-ms0")
    assert "inference_set/Toy/run/step7-ms0: the results of the earlier run were not moved" in caplog.text
    assert json.loads(Path("val_set/Toy/run.earlier-1/step7-ms0/provenance.json").read_text())["run_uuid"] == "u1"


def test_run_of_an_earlier_version_has_no_results_to_take_along(tmp_path, record):
    run = RunFolder(str(tmp_path / "run.earlier-1"))
    assert set_results_aside(run, ".earlier-1") == []
    dataclasses.replace(record, flags={}, origin=RunOrigin()).write(run.path)
    assert set_results_aside(run, ".earlier-1") == []
    Path(run.path, "config.json").write_text("{")
    assert set_results_aside(run, ".earlier-1") == []


def test_the_smallest_area_of_polygons_is_a_setting_where_it_is_given(prefix, record, tmp_path):
    """Other outputs, and the default, leave the results of earlier versions what they are."""
    first = of(prefix, record, tmp_path)
    more = PredictConfig(
        float_type="32", save_probabilities="png", confidence=True, polygons="coco", areas=True, per_image=True,
        confusion_matrix=True,
    )  # fmt: skip
    assert of(prefix, record, tmp_path, more).checksum == first.checksum
    assert "min_area" not in first.entries
    specks = of(prefix, record, tmp_path, dataclasses.replace(more, min_area=9))
    assert specks.checksum != first.checksum
    assert specks.entries["min_area"] == 9


@pytest.mark.parametrize("name", ["coco.json", "areas.csv", "per_image.csv", "confidence", "probabilities", "polygons"])
def test_a_folder_with_any_result_is_not_free(prefix, record, tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).touch()
    with pytest.raises(ResultsFolderError, match="contains results of unknown origin"):
        require_folder(of(prefix, record, tmp_path), str(tmp_path / "out"))
