"""Times of images."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tools.errors import ResultsFolderError
from tools.prediction import latency
from tools.prediction.latency import Latency, TimedPredictor, latency_of
from tools.prediction.predictions import LABELS_ONLY, Prediction


def test_times_without_the_first_image():
    spans = [(0.0, 10.0), (11.0, 12.0), (13.0, 16.0), (17.0, 19.0)]
    found = latency_of(spans, 1, ended=20.0)
    assert found.images == 3
    assert found.median_seconds == 2.0
    assert found.percentile_95_seconds == pytest.approx(2.9)
    assert found.frames_per_second == pytest.approx(3 / 6)
    assert found.frames_per_second_with_files == pytest.approx(3 / 10)


def test_images_at_the_same_time_count_their_time_once():
    spans = [(0.0, 4.0), (0.0, 5.0), (5.0, 9.0), (6.0, 10.0), (7.0, 8.0)]
    found = latency_of(spans, 2, ended=10.0)
    assert found.frames_per_second == pytest.approx(3 / 5)
    assert found.frames_per_second_with_files == pytest.approx(3 / 5)


def test_without_warm_up_time_begins_with_the_first_image():
    found = latency_of([(2.0, 3.0)], 0, ended=4.0)
    assert (found.frames_per_second, found.frames_per_second_with_files) == (1.0, 0.5)


class _Clock:
    """A predictor that takes as many seconds, on a simulated clock, as the image says."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(latency.time, "perf_counter", lambda: self.now)

    def predict(self, image, wanted=LABELS_ONLY):
        self.now += float(image)
        return Prediction(image)


def test_a_predictor_is_timed_and_the_report_written(tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO")
    predictor = TimedPredictor(_Clock(monkeypatch))
    for seconds in (8, 2, 4, 2):
        assert predictor.predict(np.float32(seconds)).labels == seconds
    found = predictor.report(str(tmp_path))
    assert (found.median_seconds, found.percentile_95_seconds) == (2, pytest.approx(3.8))
    assert found.frames_per_second == found.frames_per_second_with_files == 3 / 8
    assert json.loads((tmp_path / "latency.json").read_text())["images"] == 3
    assert found.text() in caplog.text


def test_one_image_is_too_few(tmp_path, caplog, monkeypatch):
    predictor = TimedPredictor(_Clock(monkeypatch))
    predictor.predict(np.float32(0))
    assert predictor.report(str(tmp_path)) is None
    assert "--measure_time 1 needs more than 1 images" in caplog.text
    assert not list(tmp_path.iterdir())


def test_a_report_that_cannot_be_written(tmp_path):
    (tmp_path / "latency.json").mkdir()
    with pytest.raises(ResultsFolderError, match=r"latency.json: cannot be written \(.*\): .*--output_dir"):
        Latency(7, 0.0125, 0.02, 80.0, 40.0).write(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["latency.json"]


def test_line_for_people():
    assert Latency(7, 0.0125, 0.02, 80.0, 40.0).text() == (
        "7 images: median 12.5 ms, 95th percentile 20.0 ms, 80.00 frames/s; with reading and writing 40.00 frames/s"
    )
