"""Measures the time for whole frames from file to file, and the engine's share of it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

import tensorflow.compat.v1 as tf

from database.classes import identity_map
from database.layouts import Sample
from model.architecture import Architecture
from model.pspnet_mg import FLOAT_TYPES, forward_graph
from tools.benchmark import flops
from tools.benchmark.input import write_frame
from tools.benchmark.timing import SHORT_NAMES, Row, interleaved_medians
from tools.flags.sizes import Size, sides
from tools.prediction.files import PredictionWriter
from tools.prediction.predictor import Predictor
from tools.prediction.protocols import at_scales
from tools.prediction.scaled_sizes import SCALES_MULTI, SCALES_SINGLE
from tools.prediction.scoring import evaluate
from tools.prediction.windows import scaled_length, window_starts, window_stride
from tools.runs.record import ModelRecord
from tools.runtime.devices import CPU, open_session, tower_devices
from tools.runtime.flops import convolution_flops

_OVERLAP = 1 / 3
_COPIES = 2  # each window and its mirrored copy


def measure_frames(
    architecture: Architecture,
    *,
    float_type: str,
    frame_size: tuple[int, int],
    window_size: Size,
    multi_scale: bool,
    frames: int,
) -> Iterator[Row]:
    """Yields the seconds per frame of predict.py, the minimum for its convolutions, and the engine's share.

    `windows` uses sliding windows, `whole` makes one pass over the image per scale.

    Args:
        architecture: of the network; its weights are random.
        float_type: key of `pspnet_mg.FLOAT_TYPES`.
        frame_size: height and width of the frames.
        window_size: of the windows.
        multi_scale: as the flag `--ms`.
        frames: number of timed frames, after an untimed one of the size of a window.
    """
    kind = f"{SHORT_NAMES[float_type]}{'.ms' if multi_scale else ''}"
    with tempfile.TemporaryDirectory() as folder:
        record, prefix = _random_checkpoint(architecture, window_size, folder)
        # Without labels, so that nothing is scored.
        samples = [replace(write_frame(folder, frame_size, number), label=None) for number in range(frames)]
        first = replace(write_frame(folder, sides(window_size), frames), label=None)
        for name, size in (("windows", window_size), ("whole", 0)):
            sized = replace(record, test_image_size=size)
            with Predictor(
                prefix, sized, protocol=at_scales(multi_scale=multi_scale), float_type=float_type
            ) as predictor:
                seconds, share = _timed(predictor, sized, first, samples, folder)
            yield Row(f"frames.{kind}.{name}.seconds", seconds, "s per frame")
            yield Row(f"frames.{kind}.{name}.engine_share", share, "of 1")
    scales = SCALES_MULTI if multi_scale else SCALES_SINGLE
    operations = _window_count(frame_size, window_size, scales) * _window_flops(architecture, window_size)
    yield Row(f"frames.{kind}.windows.floor_seconds", operations / _ceiling(float_type), "s per frame")


def _random_checkpoint(architecture: Architecture, window_size: Size, folder: str) -> tuple[ModelRecord, str]:
    devices = tower_devices(1)
    with tf.Graph().as_default() as graph, tf.device(devices[0]):
        forward_graph([tf.placeholder(tf.float32, [None, *sides(window_size), 3])], architecture)
        with tf.device(CPU):
            saver, initializer = tf.train.Saver(), tf.global_variables_initializer()
        with open_session(graph, devices) as session:
            session.run(initializer)
            prefix = saver.save(session, os.path.join(folder, "model.ckpt"), write_meta_graph=False)
    classes = range(architecture.num_classes)
    record = ModelRecord(
        architecture=architecture,
        database="custom",
        class_names=tuple(f"class {number}" for number in classes),
        palette=tuple((number, 2 * number % 256, 255 - number) for number in classes),
        image_mean=(120.0, 115.0, 110.0),
        label_map=identity_map(architecture.num_classes),
        color_switch=False,
        test_image_size=window_size,
    )
    return record, prefix


def _timed(
    predictor: Predictor, record: ModelRecord, first: Sample, samples: Sequence[Sample], folder: str
) -> tuple[float, float]:
    """Returns the seconds per frame, without the first, and the share of TensorFlow in them."""
    writer = PredictionWriter(os.path.join(folder, "results"), record, save_prediction=True, coloring=True)

    def predict(samples: Sequence[Sample]) -> None:
        evaluate(
            predictor,
            samples,
            record.architecture.num_classes,
            visit=lambda found: writer.write(found.sample.name, found.image, found.prediction.labels),
        )

    predict([first])
    before, started = predictor.engine_seconds, time.perf_counter()
    predict(samples)
    seconds = time.perf_counter() - started
    return seconds / len(samples), (predictor.engine_seconds - before) / seconds


def _window_count(frame_size: tuple[int, int], window_size: Size, scales: Sequence[float]) -> int:
    counts = [
        [
            len(window_starts(scaled_length(length, scale), window, window_stride(window, _OVERLAP)))
            for length, window in zip(frame_size, sides(window_size), strict=True)
        ]
        for scale in scales
    ]
    return _COPIES * sum(rows * columns for rows, columns in counts)


def _window_flops(architecture: Architecture, window_size: Size) -> int:
    with tf.Graph().as_default() as graph:
        forward_graph([tf.placeholder(tf.float32, [1, *sides(window_size), 3])], architecture)
        return convolution_flops(graph)


def _ceiling(float_type: str) -> float:
    """Returns the operations per second of the fastest convolution."""
    with ExitStack() as stack:
        candidates = flops.ceiling_candidates(stack, FLOAT_TYPES[float_type], batch_size=4)
        seconds = interleaved_medians({shape: run for shape, (run, _) in candidates.items()}, warm_up=1, repeats=3)
    return flops.highest_rate(candidates, seconds)
