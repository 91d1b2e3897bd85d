"""Times candidates alternately in one process, so that their ratios are reliable."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

# Names of precisions in rows, by key of `pspnet_mg.FLOAT_TYPES`.
SHORT_NAMES = {"32": "fp32", "16": "fp16", "bf16": "bf16"}

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Row:
    """One result of a benchmark, e.g. `inference.fp32.ours`, 3.5, `images/s`."""

    name: str
    value: float
    unit: str


def interleaved_medians(
    candidates: Mapping[Name, Callable[[], object]],
    *,
    warm_up: int,
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Name, float]:
    """Returns the median seconds of one call of every candidate, by name.

    The candidates are called alternately, so that other load on the machine affects all of them equally.

    Args:
        candidates: functions to time, by name.
        warm_up: number of untimed first calls of each, which build kernels and fill caches.
        repeats: number of timed calls of each, 1 or more.
        clock: returns seconds.
    """
    for call in candidates.values():
        for _ in range(warm_up):
            call()
    seconds: dict[Name, list[float]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, call in candidates.items():
            started = clock()
            call()
            seconds[name].append(clock() - started)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def processor_seconds(
    call: Callable[[], object], *, warm_up: int, repeats: int, clock: Callable[[], float] = time.process_time
) -> float:
    """Returns the mean processor time of one call, including the process's other threads.

    For calls with work in the background, where the time of a single call is meaningless.

    Args:
        call: function to measure; nothing else may run in the background, because it would be counted.
        warm_up: number of untimed first calls; results prepared in the background should be used up by then.
        repeats: number of timed calls, 1 or more.
        clock: returns processor seconds of the process.
    """
    for _ in range(warm_up):
        call()
    started = clock()
    for _ in range(repeats):
        call()
    return (clock() - started) / repeats
