"""The rows of exports beside those of the session; never their figures."""

from __future__ import annotations

import pytest

from tools.benchmark import exports
from tools.export.checking import Agreement


@pytest.mark.usefixtures("narrow_resnet")
def test_rows_of_forms_that_are_installed(tiny_run, monkeypatch, caplog):
    caplog.set_level("INFO")
    chosen = {name: exports._CANDIDATES[name] for name in ("frozen", "onnxruntime")}
    monkeypatch.setattr(exports, "_CANDIDATES", chosen)
    for module in ("runtime.extras", "export.engines"):
        monkeypatch.setattr(f"tools.{module}.is_installed", lambda package: package == "tensorflow")
    rows = list(exports.measure_exports(tiny_run.folder.path, None, images=2, warm_up=1, repeats=1))
    units = {"time": "ms", "speed": "of the session", "size": "MB", "difference": "of a probability",
             "equal_labels": "of pixels", "mean_iou": "%"}  # fmt: skip
    expected = {f"export.frozen.{name}": unit for name, unit in units.items()}
    expected |= {"export.session.time": "ms", "export.session.mean_iou": "%"}
    assert {row.name: row.unit for row in rows} == expected
    values = {row.name: row.value for row in rows}
    assert values["export.frozen.equal_labels"] > 0.999
    assert values["export.frozen.mean_iou"] == pytest.approx(values["export.session.mean_iou"], abs=0.01)
    assert any("export.onnxruntime needs the packages onnx and tf2onnx" in text for text in caplog.messages)


@pytest.mark.slow
@pytest.mark.usefixtures("narrow_resnet")
def test_a_form_that_differs_is_named(tiny_run, monkeypatch, caplog):
    monkeypatch.setattr(exports, "_CANDIDATES", {"frozen": ("frozen", "none")})
    monkeypatch.setattr(Agreement, "equal_labels", 0.7)
    rows = list(exports.measure_exports(tiny_run.folder.path, None, images=1, warm_up=1, repeats=1))
    assert any(row.name == "export.frozen.speed" for row in rows)
    assert any("export.frozen: 0.7000 of the labels" in text for text in caplog.messages)
