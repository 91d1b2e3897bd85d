"""Says why the prediction of a large image with small windows is slow, and what makes it faster."""

from __future__ import annotations

import logging
import math
from typing import Protocol

from tools.flags.predict import WeightsConfig

logger = logging.getLogger(__name__)

_MANY = 32


class CountsWindows(Protocol):
    """Counts the windows of an image, as `tools.prediction.predictor.Predictor` does."""

    def window_count(self, height: int, width: int) -> int:
        """Returns how many windows an image needs, over all scales and mirrored copies."""


class WindowAdvice:
    """Logs one line about the first image that needs many windows."""

    def __init__(self, predictor: CountsWindows, window_size: int, config: WeightsConfig) -> None:
        """Takes what counts the windows, their height and width in pixels, and the flags."""
        self._predictor = predictor
        self._window_size = window_size
        self._config = config
        self._is_given = False

    def give(self, path: str, height: int, width: int) -> None:
        """Logs the number of windows of an image in pixels, and the flags that lower it, if that is not yet done."""
        count = 0 if self._is_given else self._predictor.window_count(height, width)
        if count <= _MANY:
            return
        self._is_given = True
        config = self._config
        flags = [f"--test_image_size above {self._window_size}"]
        flags += ["--ms 0"] if config.ms else []
        flags += ["--mirror 0"] if config.mirror else []
        logger.info(
            "%s, %dx%d (height x width): %d windows of %dx%d, %d runs of the network; for fewer, give %s, or a smaller "
            "image",
            *(path, height, width, count, self._window_size, self._window_size),
            *(math.ceil(count / config.windows_per_batch), " or ".join(flags)),
        )
