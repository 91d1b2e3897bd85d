"""Settings, images and predictions that the sliding prediction rejects."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.tools.prediction.window_predictions import per_pixel, random_image
from tools.errors import NotFiniteError
from tools.prediction.sliding import SlidingPredictor
from tools.prediction.windows import WindowPlacing


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"window_size": 0}, "window_size is 0"),
        ({"window_size": (4, -1)}, r"window_size is \(4, -1\)"),
        ({"window_size": (4, 4, 3)}, "window_size"),
        ({"scales": ()}, r"scales are \[\]"),
        ({"scales": (1.0, 0.0)}, "scales"),
        ({"scales": (-1.0,)}, "scales"),
        ({"scales": (math.nan,)}, "scales"),
        ({"scales": (math.inf,)}, "scales"),
        ({"windows_per_batch": 0}, "windows_per_batch is 0"),
        ({"placing": WindowPlacing(1.0)}, "overlap is 1.0"),
        ({"placing": WindowPlacing(-0.1)}, "overlap is -0.1"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"num_classes": 65537}, "num_classes is 65537"),
    ],
)
def test_settings_are_rejected(changed, message):
    with pytest.raises(ValueError, match=message) as caught:
        SlidingPredictor(**{"predict": per_pixel, "num_classes": 4, "window_size": 8, **changed})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 4), (1, 8, 8, 3), (0, 8, 3)])
def test_images_are_rejected(shape):
    with pytest.raises(ValueError, match="image has shape"):
        SlidingPredictor(per_pixel, 4, 8).probabilities(np.zeros(shape, np.float32))


@pytest.mark.parametrize("shape", [(1, 8, 8, 5), (2, 8, 8, 4), (1, 1, 1, 4), (1, 8, 8)])
def test_predictions_of_another_shape_are_rejected(shape):
    predictor = SlidingPredictor(lambda windows: np.zeros(shape, np.float32), 4, 8, mirror=False)
    with pytest.raises(ValueError, match=r"predict returned shape .* expected \[1, 8, 8, 4\]"):
        predictor.labels(random_image(8, 8))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("use", ["labels", "probabilities"])
def test_probabilities_that_are_not_finite(value, use):
    """One value in the second row of windows of 6x8 that overlap by a third."""

    def predict(windows):
        found = per_pixel(windows)
        for index, window in enumerate(windows):
            if (window == 99).any():
                found[index, 1, 2, 3] = value
        return found

    image = np.zeros((9, 20, 3), np.float32)
    predictor = SlidingPredictor(predict, 4, (6, 8), mirror=False)
    getattr(predictor, use)(image)
    image[8, 19] = 99
    words = "^1 of 192 probabilities .* window of 6x8 that reaches rows 3 to 8 and columns 12 to 19 of the image$"
    with pytest.raises(NotFiniteError, match=words):
        getattr(predictor, use)(image)


def test_sum_of_many_probabilities_of_half_precision_is_accepted():
    def predict(windows):
        return np.full((*windows.shape[:3], 4), 0.25, np.float16)

    SlidingPredictor(predict, 4, 300, mirror=False).labels(np.zeros((300, 300, 3), np.float32))
