"""The command, from the flags to the folder."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

from tools.errors import CheckpointError, ExportError, MissingPackageError, OutputError
from tools.export import __main__ as command
from tools.export import checking, writing
from tools.flags.sizes import in_words
from tools.prediction.predictor import Predictor
from tools.runs.record import ModelRecord
from tools.runtime import extras


@pytest.fixture(autouse=True)
def _narrow(narrow_resnet):
    pass


def export(tiny_run, out, *flags, format="frozen"):
    command.main(["--weights_ckpt", tiny_run.folder.path, "--format", format, "--out", str(out), *flags])


def test_frozen_graph(tiny_run, tmp_path, capsys):
    out = tmp_path / "out"
    export(tiny_run, out)
    assert sorted(os.listdir(out)) == ["export.json", "labels.json", "model.pb"]
    content = json.loads((out / "export.json").read_text())
    assert (content["model"]["step"], content["model"]["dataset"]) == (4, "Toy")
    assert content["model"]["flags"]["train_max_iter"] == 4
    assert content["model"]["run"] == os.path.basename(tiny_run.folder.path)
    assert content["files"]["model.pb"]["size"] is None
    [check] = content["files"]["model.pb"]["checks"]
    assert check["equal_labels"] > 0.999
    assert check["largest_difference"] < 1e-4
    printed = capsys.readouterr().out
    [image] = check["images"]
    assert f"checked on {image}" in printed
    assert "largest difference of probabilities" in printed
    assert f"{out}/model.pb: " in printed
    labels = json.loads((out / "labels.json").read_text())
    assert labels["class_names"][0] == "road"
    assert labels["label_map"]["7"] == 0


def test_fixed_size_and_own_image(tiny_run, toy_dir, tmp_path, capsys):
    image = next(os.path.join(folder, name) for folder, _, names in os.walk(toy_dir) for name in names
                 if name.endswith("leftImg8bit.png"))  # fmt: skip
    export(tiny_run, tmp_path / "out", "--size", "40x56", "--image", image, format="savedmodel")
    content = json.loads((tmp_path / "out" / "export.json").read_text())
    entry = content["files"]["saved_model-40x56"]
    assert os.path.isdir(tmp_path / "out" / "saved_model-40x56")
    assert entry["size"] == [40, 56]
    assert entry["checks"][0]["images"] == [image]
    assert entry["checks"][0]["pixels"] == 40 * 56


def test_another_snapshot_is_not_mixed_in(tiny_run, tmp_path):
    export(tiny_run, tmp_path)
    first = f"{tiny_run.folder.snapshot_prefix}-2"
    with pytest.raises(OutputError, match="another network"):
        command.main(["--weights_ckpt", first, "--format", "frozen", "--out", str(tmp_path)])
    assert sorted(os.listdir(tmp_path)) == ["export.json", "labels.json", "model.pb"]


def test_an_export_that_differs_is_an_error_and_is_not_kept(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(checking.Agreement, "equal_labels", 0.5)
    with pytest.raises(
        ExportError, match=r"^model\.pb is not kept, because the check in tensorflow \S+ failed: 0\.5000 of the labels"
    ):
        export(tiny_run, tmp_path / "out")
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_quantized_form_of_a_network_that_predicts_one_class_is_an_error(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(checking.Agreement, "faults", lambda self, tolerance: [])
    predict = Predictor.probabilities

    def one_class(self, image):
        found = predict(self, image)
        return np.concatenate([np.ones_like(found[..., :1]), np.zeros_like(found[..., 1:])], axis=2)

    monkeypatch.setattr(Predictor, "probabilities", one_class)
    with pytest.raises(ExportError, match=r"^model-dynamic\.tflite is not kept, .*one class only"):
        export(tiny_run, tmp_path / "out", "--quantize", "dynamic", "--check_images", "1", format="tflite")
    assert os.listdir(tmp_path) == []


def test_it_is_said_that_the_scores_of_the_run_are_others(tiny_run, tmp_path, caplog):
    caplog.set_level("INFO")
    export(tiny_run, tmp_path)
    record = ModelRecord.read(tiny_run.folder.path)
    [line] = [message for message in caplog.messages if "predicts whole images once" in message]
    assert (f"windows of {in_words(record.test_image_size)} pixels" in line) == bool(record.test_image_size)
    assert ("mirrored copies" in line) == bool(record.flags["mirror"])


def test_a_full_disk_is_one_line(tiny_run, tmp_path, monkeypatch):
    def write(network, path, quantize, calibration):
        with open(path, "wb") as file:
            file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(writing.WRITERS, "frozen", write)
    with pytest.raises(OutputError, match="No space left on device"):
        export(tiny_run, tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_a_missing_package_is_named_before_anything_is_done(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(extras, "is_installed", lambda package: package != "tf2onnx")
    with pytest.raises(MissingPackageError, match=r"--format onnx needs the package tf2onnx.*\[export\]"):
        export(tiny_run, tmp_path / "out", format="onnx")
    assert os.listdir(tmp_path) == []


def test_a_damaged_checkpoint_writes_nothing(tiny_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(tiny_run.folder.snapshots, folder)
    [data] = folder.glob("model.ckpt-4.data*")
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(CheckpointError):
        command.main(["--weights_ckpt", str(folder / "model.ckpt-4"), "--format", "frozen", "--out",
                      str(tmp_path / "out")])  # fmt: skip
    assert os.listdir(tmp_path) == ["run"]
