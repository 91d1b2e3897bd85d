"""Timing of candidates side by side: one process, one run, turn by turn, so that their ratios can be trusted."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

# What precisions are called in rows, by key of `pspnet_mg.FLOAT_TYPES`.
SHORT_NAMES = {"32": "fp32", "16": "fp16", "bf16": "bf16"}

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Row:
    """One figure of a benchmark, e.g. `inference.fp32.ours`, 3.5, `images/s`."""

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
    """Median seconds of one call of every candidate, by name.

    The candidates take turns, so that what else the machine does meets all of them alike.

    Args:
        candidates: what to call, by name.
        warm_up: calls of each before the clock is read, which build kernels and fill caches.
        repeats: calls of each that count, 1 or more.
        clock: seconds.
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
    """Mean processor time of one call, that of the process's other threads included.

    For what works ahead in the background, where the time of a single call says nothing.

    Args:
        call: what to measure; alone, as others in the background would be counted.
        warm_up: calls before the clock is read; what is made ahead should be used up by then.
        repeats: calls that count, 1 or more.
        clock: processor seconds of the process.
    """
    for _ in range(warm_up):
        call()
    started = clock()
    for _ in range(repeats):
        call()
    return (clock() - started) / repeats
