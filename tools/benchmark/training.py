"""Measures training steps: other implementations, more towers, and saved memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from model import choices
from model.architecture import Architecture
from model.training_options import TrainingOptions
from tools.benchmark import engines
from tools.benchmark.apart import run_apart
from tools.benchmark.steps import (
    LEARNING_RATE,
    StepPlan,
    open_plain_step,
    open_step,
    peak_bytes_of_step,
    random_arrays,
)
from tools.benchmark.timing import SHORT_NAMES, Row, interleaved_medians
from tools.errors import ProcessEndedError
from tools.flags.sizes import Size, sides
from tools.runtime.memory import peak_bytes_of_call

_MEGABYTE = 1e6


def measure_training(plan: StepPlan, *, warm_up: int, repeats: int) -> Iterator[Row]:
    """Yields images per second on one tower: `ours`, the styles of `plain_network`, and `pytorch` if installed."""
    kind = SHORT_NAMES[plan.options.float_type]
    with ExitStack() as stack:
        candidates = {"ours": open_step(stack, plan)}
        candidates |= {style: open_plain_step(stack, style, plan) for style in ("bare", "reference")}
        if engines.is_installed("torch"):
            from tools.benchmark.torch_pspnet import torch_training

            candidates["pytorch"] = torch_training(
                plan.architecture, plan.options.float_type, *random_arrays(plan), LEARNING_RATE
            )
        seconds = interleaved_medians(candidates, warm_up=warm_up, repeats=repeats)
    for name, taken in seconds.items():
        yield Row(f"training.{kind}.{name}", plan.total_batch_size / taken, "images/s")


def measure_towers(
    architecture: Architecture,
    *,
    float_type: str,
    towers: Sequence[int],
    crop_size: tuple[int, int],
    total_batch_size: int,
    warm_up: int,
    repeats: int,
) -> Iterator[Row]:
    """Yields seconds and peak memory of a step of the same images by number of towers, and their ratios to one tower.

    Args:
        architecture: of the network; its weights are random.
        float_type: key of `pspnet_mg.FLOAT_TYPES`.
        towers: numbers of towers, 1 first; those that do not divide the batch are skipped.
        crop_size: height and width of the images.
        total_batch_size: number of images per step over all towers.
        warm_up, repeats: see `timing.interleaved_medians`.
    """
    options = TrainingOptions(float_type=float_type)
    plans = {
        count: StepPlan(architecture, options, count, total_batch_size // count, crop_size)
        for count in towers
        if total_batch_size % count == 0
    }
    with ExitStack() as stack:
        steps = {f"towers{count}": open_step(stack, plan) for count, plan in plans.items()}
        if 2 in plans:
            steps["towers2.reference"] = open_plain_step(stack, "reference", plans[2])
            steps["towers1.reference"] = open_plain_step(stack, "reference", plans[1])
        seconds = interleaved_medians(steps, warm_up=warm_up, repeats=repeats)
    for name, taken in seconds.items():
        yield Row(f"syncbn.{name}.seconds", taken, "s")
    peaks = {f"towers{count}": run_apart(peak_bytes_of_step, plan) for count, plan in plans.items()}
    for name, peak in peaks.items():
        yield Row(f"syncbn.{name}.memory", peak / _MEGABYTE, "MB")
    for name in peaks:
        if name != "towers1":
            yield Row(f"syncbn.{name}.time_ratio", seconds[name] / seconds["towers1"], "of one tower")
            yield Row(f"syncbn.{name}.memory_ratio", peaks[name] / peaks["towers1"], "of one tower")


def measure_checkpointing(plan: StepPlan, *, warm_up: int, repeats: int) -> Iterator[Row]:
    """Yields the cost and the saving of keeping fewer activations, as ratios to a step that keeps all."""
    plans = {
        "ordinary": plan,
        "saving": replace(plan, options=replace(plan.options, save_memory=choices.RECOMPUTED)),
        "in_place": replace(
            plan,
            architecture=replace(plan.architecture, activation="leaky_relu"),
            options=replace(plan.options, save_memory=choices.IN_PLACE),
        ),
    }
    with ExitStack() as stack:
        steps = {name: open_step(stack, each) for name, each in plans.items()}
        seconds = interleaved_medians(steps, warm_up=warm_up, repeats=repeats)
    peaks = {name: run_apart(peak_bytes_of_step, each) for name, each in plans.items()}
    for name in plans:
        yield Row(f"checkpointing.{name}.seconds", seconds[name], "s")
        yield Row(f"checkpointing.{name}.memory", peaks[name] / _MEGABYTE, "MB")
    for name, prefix in (("saving", ""), ("in_place", "in_place.")):
        yield Row(f"checkpointing.{prefix}time_ratio", seconds[name] / seconds["ordinary"], "of the ordinary step")
        yield Row(f"checkpointing.{prefix}memory_ratio", peaks[name] / peaks["ordinary"], "of the ordinary step")


@dataclass(frozen=True)
class _Growth:
    seconds: float
    peak: int


def measure_growth(
    architecture: Architecture, *, towers: Sequence[int], crop_sizes: Sequence[Size], repeats: int
) -> Iterator[Row]:
    """Yields seconds and peak memory of a step with two images per tower, by number of towers and crop size.

    Combinations that do not fit into memory are skipped.
    """
    for crop_size in crop_sizes:
        for count in towers:
            plan = StepPlan(architecture, TrainingOptions(), count, 2, sides(crop_size))
            try:
                grown = run_apart(_growth, plan, repeats)
            except ProcessEndedError:
                continue
            name = f"growth.towers{count}.crop{crop_size}"
            yield Row(f"{name}.seconds", grown.seconds, "s")
            yield Row(f"{name}.memory", grown.peak / _MEGABYTE, "MB")


def _growth(plan: StepPlan, repeats: int) -> _Growth:
    with ExitStack() as stack:
        step = open_step(stack, plan)
        seconds = interleaved_medians({"step": step}, warm_up=1, repeats=repeats)
        peak = peak_bytes_of_call(step)
    return _Growth(seconds["step"], peak)
