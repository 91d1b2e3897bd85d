"""How long it takes from a command to the end of its first training step, stage by stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import tensorflow.compat.v1 as tf

from tools import cluster
from tools.benchmark.apart import run_apart
from tools.benchmark.inference import rewritten_to
from tools.benchmark.plain_network import plain_train_op
from tools.benchmark.steps import LEARNING_RATE, StepPlan, open_step, random_batch
from tools.benchmark.timing import Row

_STAGES = ("import", "build", "first_step", "further_step")


def measure_startup(plan: StepPlan, *, repeats: int) -> Iterator[Row]:
    """Seconds of each stage, the best of some fresh processes: of `ours`, and of the reference's plain operations.

    `import` is the start of Python with TensorFlow, `build` the graph with its gradients and the values of the
    variables, `first_step` what that step takes more than a further one. `total` is their sum.
    """
    for name, start in (("ours", start_ours), ("reference", start_reference)):
        runs = [run_apart(start, plan, time.time()) for _ in range(repeats)]
        stages = dict(zip(_STAGES, (min(seconds) for seconds in zip(*runs, strict=True)), strict=True))
        further = stages.pop("further_step")
        stages["first_step"] -= further
        for stage, seconds in (*stages.items(), ("total", sum(stages.values()))):
            yield Row(f"startup.{name}.{stage}", seconds, "s")


def start_ours(plan: StepPlan, started: float) -> tuple[float, ...]:
    """Seconds of every stage; in a process of its own, which was started at that time."""
    times = [started, time.time()]
    with ExitStack() as stack:
        step = open_step(stack, plan)
        times.append(time.time())
        for _ in range(2):
            step()
            times.append(time.time())
    return _durations(times)


def start_reference(plan: StepPlan, started: float) -> tuple[float, ...]:
    """As `start_ours`, of the network of `plain_network`."""
    times = [started, time.time()]
    with tf.Graph().as_default() as graph:
        images, labels = random_batch(plan, cluster.tower_devices(plan.num_towers))
        train_op = plain_train_op("reference", plan.architecture, images, labels, LEARNING_RATE)
        initializer = tf.global_variables_initializer()
    with tf.Session(graph=graph, config=rewritten_to("32", plan.num_towers)) as session:
        session.run(initializer)
        times.append(time.time())
        for _ in range(2):
            session.run(train_op)
            times.append(time.time())
    return _durations(times)


def _durations(times: list[float]) -> tuple[float, ...]:
    return tuple(after - before for before, after in zip(times, times[1:], strict=False))
