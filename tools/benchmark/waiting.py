"""Measures the share of a training run's time in which its steps wait for their input."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator

import tensorflow.compat.v1 as tf

from model.training_graph import train_graph
from tools.benchmark.steps import LEARNING_RATE
from tools.benchmark.timing import Row
from tools.flags.chosen_dataset import training_dataset
from tools.flags.parsing import parse_flags
from tools.flags.train import TrainConfig
from tools.runs.record import ModelRecord
from tools.runtime.devices import CPU, open_session, tower_devices
from tools.runtime.half_precision import avoid_faulty_amx
from tools.training.samples import training_samples
from tools.training.sampling import sampling_of
from tools.training.settings import batches_of, options_of

_NEXT_BATCH = "IteratorGetNext"
_MICROSECONDS = 1e-6


def measure_waiting(train_flags: str, *, warm_up: int, repeats: int) -> Iterator[Row]:
    """Yields the seconds of a step of `train.py` with the given flags, and the share of waiting for its batch.

    The weights are random, regardless of the flags.

    Args:
        train_flags: flags of `train.py`, on one line.
        warm_up: number of untimed steps.
        repeats: number of timed steps.

    Raises:
        FlagError, DatasetError: as in `train.py`.
    """
    config = parse_flags(TrainConfig, shlex.split(train_flags), "Flags of train.py.")
    if config.float_type != "32":
        avoid_faulty_amx()
    dataset, data_dir = training_dataset(config)
    samples = training_samples(config, dataset, data_dir)
    record = ModelRecord.of_run(config, dataset)
    devices = tower_devices(config.gpu_num, config.device)
    with tf.Graph().as_default() as graph:
        batches = batches_of(config, record, samples, devices, 0, sampling_of(config, dataset, samples))
        with tf.device(CPU):
            train = train_graph(batches.images, batches.labels, record.architecture, options_of(config))
        initializers = [tf.global_variables_initializer(), batches.initializer]
        graph.finalize()
    with open_session(graph, devices) as session:
        session.run(initializers)
        options = tf.RunOptions(trace_level=tf.RunOptions.SOFTWARE_TRACE)

        def step() -> tf.RunMetadata:
            trace = tf.RunMetadata()
            session.run([train.train_op, train.total_loss], {train.learning_rate: LEARNING_RATE}, options, trace)
            return trace

        seconds, waited = seconds_and_waited(step, warm_up=warm_up, repeats=repeats)
    yield Row("waiting.step_seconds", seconds / repeats, "s")
    yield Row("waiting.share", waited / seconds, "of 1")


def seconds_and_waited(step: Callable[[], tf.RunMetadata], *, warm_up: int, repeats: int) -> tuple[float, float]:
    """Returns the total seconds of the timed steps, and the seconds in which they waited for their batch.

    Args:
        step: runs one step and returns its trace.
        warm_up: number of untimed calls.
        repeats: number of timed calls.
    """
    for _ in range(warm_up):
        step()
    started = time.perf_counter()
    traces = [step() for _ in range(repeats)]
    return time.perf_counter() - started, sum(map(_waited, traces))


def _waited(trace: tf.RunMetadata) -> float:
    durations = [
        node.all_end_rel_micros
        for device in trace.step_stats.dev_stats
        for node in device.node_stats
        if _NEXT_BATCH in node.node_name
    ]
    return max(durations, default=0) * _MICROSECONDS
