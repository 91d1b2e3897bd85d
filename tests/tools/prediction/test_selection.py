"""The predictor and the precision that flags ask for."""

from __future__ import annotations

from tests.tools.toy_runs import tiny_config, toy_record
from tools.flags.predict import InferenceConfig, PredictConfig
from tools.prediction import selection
from tools.prediction.predictor import TowerPredictor
from tools.prediction.protocols import EvaluationProtocol
from tools.prediction.scaled_sizes import FactorSizes
from tools.prediction.windows import WindowPlacing


def test_predictor_is_run_as_flags_say(monkeypatch):
    built = []
    monkeypatch.setattr(selection, "Predictor", lambda *arguments, **options: built.append((arguments, options)))
    config = PredictConfig(
        ms=True,
        mirror=False,
        float_type="bf16",
        windows_per_batch=7,
        use_ema=False,
        overlap="0.5",
        window_padding="both",
    )
    protocol = EvaluationProtocol(
        FactorSizes((0.5, 0.75, 1.0, 1.25, 1.5, 1.75)), WindowPlacing(0.5, rounds_up=False, centred=True)
    )
    record = toy_record(tiny_config("toy", "log"))
    settings = {
        "protocol": protocol, "mirror": False, "float_type": "bf16", "windows_per_batch": 7, "use_averages": False,
    }  # fmt: skip
    for towers in (1, 2):
        built.clear()
        predictor = selection.build_predictor("model.ckpt-3", record, config, towers)
        assert isinstance(predictor, TowerPredictor) == (towers == 2)
        devices = [f"/device:CPU:{index}" for index in range(towers)]
        assert built == [(("model.ckpt-3", record), {**settings, "device": device}) for device in devices]


def test_precision_left_to_the_machine_is_chosen(monkeypatch):
    monkeypatch.setattr(selection, "chosen_float_type", {"auto": "bf16", "16": "16"}.get)
    assert selection.with_chosen_precision(InferenceConfig(ms=True)) == InferenceConfig(ms=True, float_type="bf16")
    assert selection.with_chosen_precision(PredictConfig(float_type="16")).float_type == "16"
