"""The network of a checkpoint as a predictor, on one device and on several, and what it reports when it fails."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from google.protobuf.message import EncodeError

from model import pspnet_mg
from model.architecture import Architecture
from tests.tools.prediction.window_predictions import evaluate_by_loop
from tests.tools.random_pspnet import (
    ARCHITECTURE,
    CLASSES,
    MEAN,
    assert_labels_are_most_probable,
    random_pspnet_record,
)
from tests.tools.toy_runs import SIZE, tensors_in, write_checkpoint
from tools.errors import CheckpointError, NotFiniteError, OutOfMemoryError
from tools.flags.sizes import size_of
from tools.prediction import predictor as predictor_module
from tools.prediction.frozen_weights import FrozenWeights
from tools.prediction.predictions import Wanted
from tools.prediction.predictor import Predictor, TowerPredictor, predictor_on
from tools.prediction.protocols import at_scales
from tools.prediction.scaled_sizes import SCALES_MULTI, SCALES_SINGLE
from tools.runtime import devices as runtime_devices
from tools.runtime.memory import free_closed_sessions

pytestmark = pytest.mark.usefixtures("narrow_resnet")


@pytest.fixture
def probabilities(random_pspnet, narrow_resnet):
    """A function that runs the network of the checkpoint on one window with the mean subtracted."""
    with tf.Graph().as_default(), tf.Session() as session:
        images = tf.placeholder(tf.float32, [1, SIZE, SIZE, 3])
        [output] = pspnet_mg.forward_graph([images], ARCHITECTURE)
        tf.train.Saver().restore(session, random_pspnet)
        yield lambda window: session.run(output, {images: window[np.newaxis]})[0]


def random_image(height, width, seed=0):
    """Returns noise, darker in the upper half, so that more than one class is predicted."""
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    image[: height // 2] //= 8
    return image


def test_predictor_equals_the_graph(random_pspnet, probabilities):
    image = random_image(SIZE, SIZE)
    centred = image.astype(np.float32) - np.float32(MEAN)
    plain = probabilities(centred)
    mirrored = probabilities(centred[:, ::-1])[:, ::-1]
    with Predictor(random_pspnet, random_pspnet_record(), mirror=False) as predictor:
        labels = predictor.labels(image)
        assert labels.shape == (SIZE, SIZE)
        assert_labels_are_most_probable(labels, plain)
    with Predictor(random_pspnet, random_pspnet_record(), mirror=True) as predictor:
        assert_labels_are_most_probable(predictor.labels(image), plain + mirrored)


def test_probabilities_are_those_of_the_labels(random_pspnet):
    """Also of several predictors, and in the channel order of the network."""
    image = random_image(50, 70)
    devices = runtime_devices.tower_devices(2)
    for changes in ({}, {"color_switch": True}):
        record = random_pspnet_record(**changes)
        with (
            Predictor(random_pspnet, record) as one,
            predictor_on(devices, lambda device, record=record: Predictor(random_pspnet, record, device=device)) as two,
        ):
            labels = one.labels(image)
            for predictor in (one, two):
                found = predictor.predict(image, Wanted(np.float32, True))
                np.testing.assert_array_equal(found.labels, labels)
                np.testing.assert_allclose(found.probabilities.sum(axis=2), 1, atol=1e-5)
                best = np.take_along_axis(found.probabilities, labels[..., np.newaxis].astype(int), axis=2)[..., 0]
                np.testing.assert_array_equal(best, found.probabilities.max(axis=2))
                np.testing.assert_array_equal(found.confidence, found.probabilities.max(axis=2))


def test_predictor_feeds_bgr_if_the_network_was_trained_on_bgr(random_pspnet, probabilities):
    image = random_image(SIZE, SIZE, seed=1)
    centred = image.astype(np.float32) - np.float32(MEAN)
    with Predictor(random_pspnet, random_pspnet_record(color_switch=True), mirror=False) as predictor:
        assert_labels_are_most_probable(predictor.labels(image), probabilities(centred[..., ::-1]))


def test_whole_images(random_pspnet):
    """Without windows, an image is padded to a multiple of the output stride and seen once."""
    image = random_image(45, 61, seed=2)
    padded = np.zeros((1, 48, 64, 3), np.float32)
    padded[0, :45, :61] = image.astype(np.float32) - np.float32(MEAN)
    with tf.Graph().as_default(), tf.Session() as session:
        [output] = pspnet_mg.forward_graph([tf.constant(padded)], ARCHITECTURE)
        tf.train.Saver().restore(session, random_pspnet)
        expected = session.run(output)[0, :45, :61]
    record = random_pspnet_record(test_image_size=0)
    with Predictor(random_pspnet, record, mirror=False) as predictor:
        assert predictor.engine_seconds == 0
        assert_labels_are_most_probable(predictor.labels(image), expected)
        assert predictor.engine_seconds > 0


@pytest.mark.parametrize(
    ("size", "window", "strides", "multi_scale"),
    [
        ((45, 61), (24, 40), (16, 26), False),
        pytest.param((45, 61), (40, 16), (26, 10), False, marks=pytest.mark.slow),
        pytest.param((45, 61), (72, 24), (48, 16), False, marks=pytest.mark.slow),
        ((25, 41), (24, 40), (16, 26), True),
    ],
)
def test_rectangular_windows(random_pspnet, size, window, strides, multi_scale):
    """Against the float64 average over windows that step by two thirds of each side."""
    scales = SCALES_MULTI if multi_scale else SCALES_SINGLE
    image = random_image(*size, seed=3).astype(np.float32) - np.float32(MEAN)
    with tf.Graph().as_default(), tf.Session() as session:
        images = tf.placeholder(tf.float32, [None, *window, 3])
        [output] = pspnet_mg.forward_graph([images], ARCHITECTURE)
        tf.train.Saver().restore(session, random_pspnet)

        def predict(windows):
            return np.pad(session.run(output, {images: windows}), [(0, 0)] * 3 + [(0, 4 - CLASSES)])

        expected = evaluate_by_loop(predict, image, window, strides, scales, mirror=True)[..., :CLASSES]
    record = random_pspnet_record(test_image_size=size_of(*window))
    with Predictor(
        random_pspnet, record, protocol=at_scales(multi_scale=multi_scale), windows_per_batch=3
    ) as predictor:
        assert predictor._windows.shape.as_list() == [None, *window, 3]
        np.testing.assert_allclose(predictor._sliding.probabilities(image), expected, atol=2e-5)


@pytest.mark.parametrize(("window", "multi_scale"), [(SIZE, False), (SIZE, True), (0, True)])
def test_predictor_takes_images_of_any_size(random_pspnet, window, multi_scale):
    record = random_pspnet_record(test_image_size=window)
    with Predictor(random_pspnet, record, protocol=at_scales(multi_scale=multi_scale)) as predictor:
        graph = predictor._session.graph
        operations = len(graph.get_operations())
        for height, width in ((1, 1), (7, 40), (33, 32)):
            labels = predictor.labels(random_image(height, width))
            assert labels.shape == (height, width)
            assert labels.max() < CLASSES
        assert graph.finalized
        assert len(graph.get_operations()) == operations
    with pytest.raises(RuntimeError, match="closed"):
        predictor.labels(random_image(SIZE, SIZE))


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        (
            Architecture("resnet_v1_18", 4),
            r"resnet_v1_18/logits/\w+' has the shape .* is needed: .*--database",
        ),
        (Architecture("resnet_v1_34", 3), "missing .it holds resnet_v1_18.: .*--network"),
        (Architecture("resnet_v1_18", 3, stem="deep_128"), "conv1_1/.*--three_convs_beginning"),
    ],
)
def test_checkpoint_of_another_network(random_pspnet, architecture, words):
    record = dataclasses.replace(random_pspnet_record(), architecture=architecture)
    with pytest.raises(CheckpointError, match=words) as caught:
        Predictor(random_pspnet, record)
    assert "\n" not in str(caught.value)


def test_windows_that_do_not_fit_into_memory(random_pspnet, monkeypatch):
    def run(self, fetches, feed):
        raise tf.errors.ResourceExhaustedError(
            None, None, "OOM when allocating tensor with shape[2,8] and type float on x"
        )

    with Predictor(random_pspnet, random_pspnet_record(), mirror=False) as predictor:
        monkeypatch.setattr(tf.Session, "run", run)
        words = r"^out of memory .* 1 windows of 32x32 \(tensor with shape\[2,8\] .*--test_image_size.*--windows_per_b"
        with pytest.raises(OutOfMemoryError, match=words):
            predictor.labels(random_image(SIZE, SIZE))


@pytest.mark.parametrize("place", [(FrozenWeights, "_array"), (predictor_module, "open_session")])
@pytest.mark.parametrize(
    ("error", "found"),
    [(MemoryError("std::bad_alloc"), "std::bad_alloc"),
     (EncodeError("Failed to serialize proto"), "Failed to serialize proto"),
     (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[2,8] and type float on x"),
      r"tensor with shape\[2,8\] and type float on x")],
)  # fmt: skip
def test_weights_that_do_not_fit_into_memory(random_pspnet, monkeypatch, place, error, found):
    def refuse(*arguments, **options):
        raise error

    monkeypatch.setattr(*place, refuse)
    words = rf"^out of memory .* weights of \S+model.ckpt-1 \({found}\): .*--gpu_num"
    with pytest.raises(OutOfMemoryError, match=words):
        Predictor(random_pspnet, random_pspnet_record())


def test_image_that_does_not_fit_into_memory(random_pspnet):
    image = np.broadcast_to(np.uint8(7), (2**24, 2**24, 3))
    with Predictor(random_pspnet, random_pspnet_record()) as predictor:
        words = (
            r"^out of memory .* image of 16777216x16777216 and 3 classes \(Unable to allocate .*\): "
            ".*--test_image_size, .*--ms 0"
        )
        with pytest.raises(OutOfMemoryError, match=words):
            predictor.labels(image)


def test_closed_predictors_are_freed(random_pspnet):
    gc.disable()  # it could run at any time
    try:
        with Predictor(random_pspnet, random_pspnet_record()) as predictor:
            predictor.labels(random_image(SIZE, SIZE))
        graph, session = (weakref.ref(held) for held in (predictor._session.graph, predictor._session))
        del predictor
        assert graph() is not None
        free_closed_sessions()
        assert graph() is None
        assert session() is None
    finally:
        gc.enable()


def test_activations_that_overflow_half_precision(random_pspnet, tmp_path):
    """The weights of a layer are in the range of half precision, and its outputs are not."""
    arrays = tensors_in(random_pspnet)
    arrays[f"{ARCHITECTURE.network}/block2/unit_1/basic_v1/conv2/BatchNorm/gamma"] *= 3e4
    prefix = write_checkpoint(str(tmp_path / "model.ckpt-1"), arrays)
    image = random_image(SIZE, SIZE)
    with Predictor(prefix, random_pspnet_record(), mirror=False) as predictor:
        predictor.labels(image)
    with Predictor(prefix, random_pspnet_record(), mirror=False, float_type="16") as predictor:
        words = (
            rf"^{prefix}: \d+ of \d+ probabilities are not finite in the window of {SIZE}x{SIZE} that reaches rows 0 "
        )
        with pytest.raises(NotFiniteError, match=words + ".*: give --float_type 32 instead of 16$"):
            predictor.labels(image)


def test_probabilities_that_are_not_finite_in_single_precision(random_pspnet, monkeypatch):
    with Predictor(random_pspnet, random_pspnet_record(), mirror=False) as predictor:
        nan = np.full((1, SIZE, SIZE, ARCHITECTURE.num_classes), np.nan, np.float32)
        monkeypatch.setattr(predictor._sliding, "_predict", lambda windows: nan)
        with pytest.raises(
            NotFiniteError, match=rf"^{random_pspnet}: .* are not finite .*: give another checkpoint, or the"
        ):
            predictor.labels(random_image(SIZE, SIZE))


def test_predictors_of_towers_equal_a_single_one(random_pspnet):
    images = [random_image(SIZE + 5 * i, SIZE, seed=i) for i in range(5)]
    with Predictor(random_pspnet, random_pspnet_record()) as predictor:
        expected = [predictor.labels(image) for image in images]

    def build(device):
        return Predictor(random_pspnet, random_pspnet_record(), device=device)

    with predictor_on(runtime_devices.tower_devices(2), build) as predictor, ThreadPoolExecutor(4) as executor:
        assert isinstance(predictor, TowerPredictor)
        for labels, image, by_one in zip(executor.map(predictor.labels, images), images, expected, strict=True):
            assert labels.shape == image.shape[:2]
            np.testing.assert_array_equal(labels, by_one)


def test_a_predictor_of_a_tower_is_free_again_after_a_fault(random_pspnet):
    with predictor_on(
        runtime_devices.tower_devices(2), lambda d: Predictor(random_pspnet, random_pspnet_record(), device=d)
    ) as predictor:
        for _ in range(3):
            with pytest.raises(ValueError, match="not enough values to unpack"):
                predictor.labels(np.zeros([], np.uint8))
        assert predictor.labels(random_image(SIZE, SIZE)).shape == (SIZE, SIZE)
