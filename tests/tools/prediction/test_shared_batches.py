"""Batches with windows of several threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.tools.random_pspnet import assert_labels_are_most_probable, random_pspnet_record
from tools.prediction.predictions import Wanted
from tools.prediction.predictor import Predictor
from tools.prediction.protocols import at_scales
from tools.prediction.shared_batches import SharedBatches


def windows(count, size=4, value=0.0):
    return np.full((count, size, size, 3), value, np.float32)


def image_of_several_classes(seed):
    """Noise, darker in the upper half, so that the network of random weights predicts more than one class."""
    image = np.random.default_rng(seed).integers(0, 256, (40, 56, 3)).astype(np.uint8)
    image[:20] //= 8
    return image


class Network:
    """Doubles its input; the first call waits until `opened`."""

    def __init__(self, fails_at=None):
        self.calls, self.opened, self.started = [], threading.Event(), threading.Event()
        self.fails_at = fails_at

    def __call__(self, batch):
        self.calls.append(batch.shape)
        self.started.set()
        self.opened.wait(30)
        if self.fails_at is not None and (batch == self.fails_at).any():
            raise MemoryError("too large")
        return 2 * batch


def results(network, most, calls, most_pixels=None):
    """Calls from a thread each, in this order, while the first call is held."""
    with SharedBatches(network, most, most_pixels) as batches, ThreadPoolExecutor(len(calls)) as threads:
        futures = []
        for index, call in enumerate(calls):
            futures.append(threads.submit(batches, call))
            if index == 0:
                assert network.started.wait(10)
            while len(batches._waiting) < index:
                threading.Event().wait(0.001)
        network.opened.set()
        return [future.exception() or future.result() for future in futures]


def test_windows_that_wait_share_a_batch():
    network = Network()
    calls = [windows(2, value=index) for index in range(6)]
    found = results(network, 4, calls)
    for call, result in zip(calls, found, strict=True):
        np.testing.assert_array_equal(result, 2 * call)
    assert [shape[0] for shape in network.calls] == [2, 4, 4, 2]


def test_sizes_are_not_mixed():
    network = Network()
    calls = [windows(1, size) for size in (4, 4, 8, 4, 8)]
    results(network, 4, calls)
    assert network.calls[1:] == [(2, 4, 4, 3), (2, 8, 8, 3)]


def test_large_windows_share_no_batch_beyond_the_limit_of_pixels():
    """Whole images, whose memory grows with their pixels."""
    network = Network()
    results(network, 8, [windows(1, size) for size in (4, 8, 8, 4, 4, 4, 9)], most_pixels=64)
    assert sorted(network.calls) == sorted([(1, 4, 4, 3), (1, 8, 8, 3), (1, 8, 8, 3), (3, 4, 4, 3), (1, 9, 9, 3)])


def test_larger_calls_run_alone():
    network = Network()
    results(network, 2, [windows(1), windows(5), windows(1), windows(1)])
    assert [shape[0] for shape in network.calls] == [1, 5, 2]


def test_an_error_reaches_the_call_that_causes_it():
    network = Network(fails_at=3.0)
    found = results(network, 8, [windows(1, value=index) for index in range(5)])
    assert [type(result) for result in found].count(MemoryError) == 1
    assert isinstance(found[3], MemoryError)
    np.testing.assert_array_equal(found[4], windows(1, value=8.0))


def test_closed_batches():
    batches = SharedBatches(Network(), 2)
    batches.close()
    with pytest.raises(RuntimeError, match="closed"):
        batches(windows(1))


@pytest.mark.parametrize(("size", "mirror", "multi_scale"), [(32, True, False), (0, False, False), (32, True, True)])
def test_labels_are_those_of_each_image_alone(random_pspnet, narrow_resnet, size, mirror, multi_scale):
    record = random_pspnet_record(test_image_size=size)
    images = [image_of_several_classes(seed) for seed in range(6)]
    protocol = at_scales(multi_scale=multi_scale)
    with Predictor(random_pspnet, record, mirror=mirror, protocol=protocol) as predictor:
        alone = [predictor.probabilities(image) for image in images]
        with SharedBatches(predictor.run_windows, 4) as batches, ThreadPoolExecutor(6) as threads:
            wanted = Wanted(np.float32)
            together = list(threads.map(lambda image: predictor.predict(image, wanted, run=batches), images))
    for (labels, found, *_), probabilities in zip(together, alone, strict=True):
        np.testing.assert_allclose(found, probabilities, atol=1e-6)
        best = np.sort(probabilities, axis=2)
        clear = best[..., -1] - best[..., -2] > 1e-5  # the others are equal in float32
        assert clear.mean() > 0.9
        np.testing.assert_array_equal(labels[clear], probabilities.argmax(axis=2)[clear])


def test_a_model_that_several_threads_share(random_pspnet, narrow_resnet, tmp_path):
    from tools.prediction.provenance import Provenance
    from tools.prediction.segmentation_model import SegmentationModel

    images = [image_of_several_classes(seed) for seed in range(6)]
    record = random_pspnet_record(test_image_size=32)
    predictor = Predictor(random_pspnet, record)
    with SegmentationModel(random_pspnet, record, predictor, Provenance({})) as model, model.shared(4) as labels:
        alone = [model.segment(image, probabilities=True).probabilities for image in images]
        with ThreadPoolExecutor(6) as threads:
            together = list(threads.map(lambda image: labels(image, lambda: None), images))
        for found, probabilities in zip(together, alone, strict=True):
            assert_labels_are_most_probable(found, probabilities)

        def stop():
            raise KeyError("stop")

        with pytest.raises(KeyError):
            labels(images[0], stop)
        np.testing.assert_array_equal(labels(images[0], lambda: None), together[0])
