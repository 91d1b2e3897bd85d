"""The protocols of other projects against loops over windows, in float64, that follow their programs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from scipy.special import softmax

from model import pspnet_mg
from tests.tools.prediction.window_predictions import per_position, random_image
from tests.tools.random_pspnet import ARCHITECTURE, CLASSES, MEAN, random_pspnet_record
from tests.tools.reference import resize_by_scipy
from tools.errors import FlagError
from tools.flags.predict import PredictConfig
from tools.prediction.predictions import Wanted
from tools.prediction.predictor import Predictor
from tools.prediction.protocols import SINGLE_SCALE, at_scales, protocol_of
from tools.prediction.scaled_sizes import FactorSizes
from tools.prediction.sliding import SlidingPredictor

STRIDE = 8


def padded_to(image, window, *, centred):
    """Returns the image in a canvas of zeros, and row and column of its first pixel."""
    missing = [max(0, side - length) for side, length in zip(window, image.shape[:2], strict=True)]
    before = [pixels // 2 if centred else 0 for pixels in missing]
    widths = [(first, pixels - first) for first, pixels in zip(before, missing, strict=True)]
    return np.pad(image, [*widths, (0, 0)]), before


def scale_process(predict, image, window, *, centred):
    """Returns float64 [H, W, C]: `scale_process` of semseg; with the padding at the end, scale_process.m of PSPNet."""
    padded, (top, left) = padded_to(image, window, centred=centred)
    steps = [math.ceil(side * 2 / 3) for side in window]
    counts = [math.ceil((length - side) / step) + 1
              for length, side, step in zip(padded.shape[:2], window, steps, strict=True)]  # fmt: skip
    sums, covered = np.zeros((*padded.shape[:2], 4)), np.zeros((*padded.shape[:2], 1))
    for row in range(counts[0]):
        for column in range(counts[1]):
            ends = (
                min(row * steps[0] + window[0], padded.shape[0]),
                min(column * steps[1] + window[1], padded.shape[1]),
            )
            area = slice(ends[0] - window[0], ends[0]), slice(ends[1] - window[1], ends[1])
            sums[area] += predict(padded[area])
            covered[area] += 1
    return (sums / covered)[top : top + image.shape[0], left : left + image.shape[1]]


def long_side_process(predict, image, window, scales, base_size, *, extra, centred):
    """Returns float64 [H, W, C]: the loop over scales of semseg's `test` and of eval_sub.m."""
    height, width = image.shape[:2]
    total = np.zeros((height, width, 4))
    for scale in scales:
        long_side = round(scale * base_size) + extra
        size = (long_side, round(long_side / height * width)) if height > width else (
            round(long_side / width * height), long_side
        )  # fmt: skip
        scaled = resize_by_scipy(image, *size).astype(np.float32)
        total += resize_by_scipy(scale_process(predict, scaled, window, centred=centred), height, width)
    return total / len(scales)


def of_window(window):
    return per_position(window[np.newaxis].astype(np.float32))[0].astype(np.float64)


def with_flip(window):
    """Returns the mean of the probabilities of a window and its mirrored copy, as `net_process` of semseg."""
    return (of_window(window) + of_window(window[:, ::-1])[:, ::-1]) / 2


def batch_with_flip(windows):
    return np.stack([with_flip(window) for window in windows]).astype(np.float32)


@pytest.mark.parametrize("size", [(40, 53), (53, 40), (22, 61), (12, 9)])
@pytest.mark.parametrize(("extra", "padding", "base"), [(0, "both", "41"), (1, "end", "41+1")])
def test_long_sides_with_strides_that_are_rounded_up(size, extra, padding, base):
    image, window, scales = random_image(*size), (13, 16), (0.5, 0.75, 1.0, 1.25)
    config = PredictConfig(base_size=base, scales=scales, overlap="ceil", window_padding=padding)
    protocol = protocol_of(config, STRIDE)
    predictor = SlidingPredictor(
        batch_with_flip, 4, window, protocol.sizes, mirror=False, placing=protocol.placing, windows_per_batch=3
    )
    expected = long_side_process(
        with_flip, image, window, scales, 41, extra=extra, centred=padding == "both"
    )  # fmt: skip
    np.testing.assert_allclose(predictor.probabilities(image), expected, atol=2e-5)


def test_padding_and_rounding_change_the_result():
    image = random_image(40, 53)

    def probabilities(**flags):
        protocol = protocol_of(PredictConfig(base_size="41", **flags), STRIDE)
        sliding = SlidingPredictor(per_position, 4, (37, 16), protocol.sizes, placing=protocol.placing)
        return sliding.probabilities(image)

    found = [probabilities(), probabilities(overlap="ceil"), probabilities(window_padding="both")]
    assert min(np.abs(found[0] - other).max() for other in found[1:]) > 1e-3


@pytest.mark.parametrize("size", [(60, 83), (90, 61), (20, 100)])
def test_short_sides_are_those_of_csail(size):
    """`ValDataset` and the loop over `imgSizes` in eval_multipro.py, with windows of whole images."""
    image, short_sides, longest, seen = random_image(*size), (30, 37, 45), 70, []

    def predict(windows):
        seen.extend([windows.shape[1:3]] * len(windows))
        return per_position(windows)

    protocol = protocol_of(PredictConfig(short_sides=short_sides, longest_side=longest, test_image_size=0), STRIDE)
    sliding = SlidingPredictor(
        predict, 4, None, protocol.sizes, mirror=False, placing=protocol.placing, whole_sizes=(STRIDE, 0)
    )
    found, expected, sizes = sliding.probabilities(image), np.zeros((*size, 4)), []
    for short_side in short_sides:
        scale = min(short_side / float(min(size)), longest / float(max(size)))
        target = [((int(length * scale) - 1) // STRIDE + 1) * STRIDE for length in size]
        sizes.append(tuple(target))
        resized = resize_by_scipy(image, *target).astype(np.float32)
        expected += resize_by_scipy(of_window(resized), *size) / len(short_sides)
    assert sorted(seen) == sorted(sizes)
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize(("overlap", "window", "stride"), [
    ("1/3", 473, 315), ("ceil", 473, 316), ("1/3", 713, 475), ("ceil", 713, 476), ("ceil", 864, 576), ("0.5", 9, 4),
])  # fmt: skip
def test_strides(overlap, window, stride):
    assert protocol_of(PredictConfig(overlap=overlap), STRIDE).placing.stride(window) == stride


def test_defaults_and_enlarged_images():
    assert protocol_of(PredictConfig(), STRIDE) == SINGLE_SCALE == at_scales(multi_scale=False)
    assert protocol_of(PredictConfig(ms=True), STRIDE) == at_scales(multi_scale=True)
    enlarged = protocol_of(PredictConfig(scales=(0.5, 2.0)), STRIDE).enlarged(2)
    assert enlarged.sizes == FactorSizes((1.0, 4.0))
    with pytest.raises(FlagError, match="--upsample_input 2.*--upsample_input 1"):
        protocol_of(PredictConfig(base_size="512"), STRIDE).enlarged(2)


@pytest.mark.usefixtures("narrow_resnet")
@pytest.mark.parametrize("flipped", ["windows", "logits"])
def test_mirrored_windows_of_the_network(random_pspnet, flipped):
    """Each padded window is mirrored where it lies; logits are summed before the softmax, as in caffe_process.m."""
    image = np.random.default_rng(0).integers(0, 256, (29, 47, 3)).astype(np.uint8)
    window = (24, 32)
    with tf.Graph().as_default(), tf.Session() as session:
        images = tf.placeholder(tf.float32, [1, *window, 3])
        logits = pspnet_mg.pspnet([images], ARCHITECTURE, is_training=False).logits[0]
        tf.train.Saver().restore(session, random_pspnet)

        def logits_of(pixels):
            return session.run(logits, {images: pixels[np.newaxis]})[0].astype(np.float64)

        def predict(pixels):
            plain, mirrored = logits_of(pixels), logits_of(pixels[:, ::-1])[:, ::-1]
            combined = softmax(plain + mirrored, axis=-1)
            if flipped == "windows":
                combined = (softmax(plain, axis=-1) + softmax(mirrored, axis=-1)) / 2
            return np.pad(combined, [(0, 0), (0, 0), (0, 4 - CLASSES)])

        centred = image.astype(np.float32) - np.float32(MEAN)
        expected = long_side_process(predict, centred, window, (0.5, 1.0), 50, extra=0, centred=True)[..., :CLASSES]
    config = PredictConfig(
        base_size="50", scales=(0.5, 1.0), overlap="ceil", window_padding="both", flipped_eval=flipped
    )
    protocol = protocol_of(config, ARCHITECTURE.smallest_stride)
    record = random_pspnet_record(test_image_size="24x32")
    with Predictor(random_pspnet, record, protocol=protocol, windows_per_batch=3) as predictor:
        found = predictor.predict(image, Wanted(np.float32)).probabilities
    np.testing.assert_allclose(found, expected, atol=3e-5)
    with Predictor(random_pspnet, record, protocol=protocol, mirror=False) as predictor:
        assert np.abs(predictor.predict(image, Wanted(np.float32)).probabilities - expected).max() > 1e-4
