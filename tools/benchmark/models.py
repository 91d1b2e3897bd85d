"""Compares networks: parameters, operations, memory and speed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import tensorflow.compat.v1 as tf

from model.architecture import Architecture
from model.pspnet_mg import DECODERS
from model.training_options import TrainingOptions
from tools.benchmark.apart import run_apart
from tools.benchmark.inference import InferencePlan, frozen_run
from tools.benchmark.steps import StepPlan, open_step
from tools.benchmark.timing import Row, interleaved_medians
from tools.runtime.flops import convolution_flops
from tools.runtime.memory import peak_bytes_of_call

_MILLION, _BILLION = 1e6, 1e9


@dataclass(frozen=True)
class ModelFigures:
    """The measurements of a network.

    Attributes:
        parameters: number of trained values, without the auxiliary head.
        flops: multiplications and additions of the convolutions for one image in prediction.
        inference_seconds, training_seconds: of a batch in the frozen network, and of a step with the auxiliary head.
        training_bytes: peak memory of a step above the memory between steps.
    """

    parameters: int
    flops: int
    inference_seconds: float
    training_seconds: float
    training_bytes: int


def measure_models(
    networks: Sequence[str],
    decoders: Sequence[str],
    *,
    num_classes: int,
    crop_size: tuple[int, int],
    batch_size: int,
    warm_up: int,
    repeats: int,
) -> Iterator[Row]:
    """Yields rows for every encoder with every decoder, in float32 on one tower, each measured in a new process.

    Args:
        networks: keys of `resnet.NETWORKS`.
        decoders: keys of `pspnet_mg.DECODERS`.
        num_classes: of each network.
        crop_size: height and width of the images.
        batch_size: number of images per run and step.
        warm_up, repeats: see `timing.interleaved_medians`.
    """
    for network in networks:
        for decoder in decoders:
            architecture = Architecture(network, num_classes, DECODERS[decoder].output_stride, decoder=decoder)
            figures = run_apart(model_figures, architecture, crop_size, batch_size, warm_up, repeats)
            yield from rows_of_model(f"models.{network}.{decoder}", figures, batch_size)


def rows_of_model(name: str, figures: ModelFigures, batch_size: int) -> Iterator[Row]:
    """Yields the rows of a network, whose names begin with `name`."""
    yield Row(f"{name}.parameters", figures.parameters / _MILLION, "million")
    yield Row(f"{name}.flops", figures.flops / _BILLION, "GFLOP per image")
    yield Row(f"{name}.inference", batch_size / figures.inference_seconds, "images/s")
    yield Row(f"{name}.training", batch_size / figures.training_seconds, "images/s")
    yield Row(f"{name}.memory", figures.training_bytes / _MILLION, "MB")


def model_figures(
    architecture: Architecture, crop_size: tuple[int, int], batch_size: int, warm_up: int, repeats: int
) -> ModelFigures:
    """Builds and measures the network for prediction and for training; the arguments are those of `measure_models`."""
    plan = InferencePlan(architecture, "32", crop_size, batch_size)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        graph, variables, run = frozen_run(stack, plan, folder)
        inference = interleaved_medians({"run": run}, warm_up=warm_up, repeats=repeats)["run"]
    with ExitStack() as stack:
        step = open_step(stack, StepPlan(architecture, TrainingOptions(), 1, batch_size, crop_size))
        training = interleaved_medians({"step": step}, warm_up=warm_up, repeats=repeats)["step"]
        peak = peak_bytes_of_call(step)
    return ModelFigures(
        parameters=_parameters(variables),
        flops=convolution_flops(graph) // batch_size,
        inference_seconds=inference,
        training_seconds=training,
        training_bytes=peak,
    )


def _parameters(graph: tf.Graph) -> int:
    return sum(variable.shape.num_elements() for variable in graph.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES))
