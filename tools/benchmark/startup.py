"""Measures the time from a command to the end of its first training step, by stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise

from tools.benchmark.apart import run_apart
from tools.benchmark.steps import StepPlan, open_plain_step, open_step
from tools.benchmark.timing import Row

_STAGES = ("import", "build", "first_step", "further_step")


def measure_startup(plan: StepPlan, *, repeats: int) -> Iterator[Row]:
    """Yields the seconds of each stage, the minimum over fresh processes: of `ours`, and of the reference's operations.

    `import` is the start of Python with TensorFlow, `build` the graph with its gradients and the initialization of the
    variables, `first_step` the additional time of the first step over a further one. `total` is their sum.
    """
    for name, open_any in (("ours", open_step), ("reference", open_reference)):
        runs = [run_apart(start, open_any, plan, time.time()) for _ in range(repeats)]
        stages = dict(zip(_STAGES, (min(seconds) for seconds in zip(*runs, strict=True)), strict=True))
        further = stages.pop("further_step")
        stages["first_step"] -= further
        for stage, seconds in (*stages.items(), ("total", sum(stages.values()))):
            yield Row(f"startup.{name}.{stage}", seconds, "s")


def start(
    open_any: Callable[[ExitStack, StepPlan], Callable[[], object]], plan: StepPlan, started: float
) -> list[float]:
    """Returns the seconds of every stage in a new process that was started at time `started`."""
    times = [started, time.time()]
    with ExitStack() as stack:
        step = open_any(stack, plan)
        times.append(time.time())
        for _ in range(2):
            step()
            times.append(time.time())
    return [after - before for before, after in pairwise(times)]


def open_reference(stack: ExitStack, plan: StepPlan) -> Callable[[], object]:
    """Opens a step of `open_plain_step` in the reference's style."""
    return open_plain_step(stack, "reference", plan)
