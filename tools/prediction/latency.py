"""Measures the prediction time of images, and frames per second."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from tools.prediction.predictions import LABELS_ONLY, Prediction, PredictsImages, Wanted
from tools.prediction.result_writing import result_text

logger = logging.getLogger(__name__)

FILE_NAME = "latency.json"


@dataclass(frozen=True)
class Latency:
    """Prediction times of images, without the first `warm_up` images, which also set up kernels.

    Attributes:
        images: number of timed images.
        median_seconds, percentile_95_seconds: from an image in memory to its labels.
        frames_per_second: images divided by the time in which at least one was being predicted.
        frames_per_second_with_files: images divided by the total time, including reading and writing.
    """

    images: int
    median_seconds: float
    percentile_95_seconds: float
    frames_per_second: float
    frames_per_second_with_files: float

    def text(self) -> str:
        """Formats the times in one line."""
        return (
            f"{self.images} images: median {1000 * self.median_seconds:.1f} ms, 95th percentile "
            f"{1000 * self.percentile_95_seconds:.1f} ms, {self.frames_per_second:.2f} frames/s; with reading and "
            f"writing {self.frames_per_second_with_files:.2f} frames/s"
        )

    def write(self, folder: str) -> str:
        """Writes `latency.json` into a folder and returns its path.

        Raises:
            ResultsFolderError: it cannot be written.
        """
        path = os.path.join(folder, FILE_NAME)
        with result_text(path) as file:
            json.dump(asdict(self), file, indent=2)
        return path


def latency_of(spans: Sequence[tuple[float, float]], warm_up: int, ended: float) -> Latency | None:
    """Computes the latency from the begin and end of each prediction.

    Args:
        spans: (begin, end) in seconds, ordered by begin; they may overlap.
        warm_up: number of first images to ignore.
        ended: time when the last result was written, in seconds.

    Returns:
        The latency; None if no images remain.
    """
    timed = list(spans)[warm_up:]
    if not timed:
        return None
    started = max((done for _, done in spans[:warm_up]), default=timed[0][0])
    worked, reached = 0.0, started
    for begun, done in timed:
        worked += max(0.0, done - max(begun, reached))
        reached = max(reached, done)
    seconds = [done - begun for begun, done in timed]
    return Latency(
        images=len(timed),
        median_seconds=float(np.median(seconds)),
        percentile_95_seconds=float(np.percentile(seconds, 95)),
        frames_per_second=len(timed) / worked if worked > 0 else float("inf"),
        frames_per_second_with_files=len(timed) / max(ended - started, 1e-9),
    )


class TimedPredictor:
    """Measures the calls of a predictor; thread-safe if the predictor is."""

    def __init__(self, predictor: PredictsImages, warm_up: int = 1) -> None:
        """Wraps a predictor.

        Args:
            predictor: to call.
            warm_up: number of first images to ignore, one per tower.
        """
        self._predictor = predictor
        self._warm_up = warm_up
        self._lock = threading.Lock()
        self._spans: list[tuple[float, float]] = []

    def predict(self, image: np.ndarray, wanted: Wanted = LABELS_ONLY) -> Prediction:
        """Predicts an image and records the time."""
        begun = time.perf_counter()
        prediction = self._predictor.predict(image, wanted)
        with self._lock:
            self._spans.append((begun, time.perf_counter()))
        return prediction

    def report(self, folder: str) -> Latency | None:
        """Logs the latency so far and writes it to a folder; returns None if there are no images after the warm-up.

        Raises:
            ResultsFolderError: it cannot be written.
        """
        latency = latency_of(sorted(self._spans), self._warm_up, time.perf_counter())
        if latency is None:
            logger.warning(
                "--measure_time 1 needs more than %d images, because the first ones are not timed", len(self._spans)
            )
            return None
        logger.info("%s", latency.text())
        latency.write(folder)
        return latency
