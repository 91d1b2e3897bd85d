"""Computes the learning rate of a step. It is a plain number, which every step feeds to the graph.

To add a schedule, write a function like `poly`, add it to `SCHEDULES` and its name to `choices.SCHEDULES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule with linear warm-up.

    Attributes:
        name: key of `SCHEDULES`.
        base: learning rate at the beginning, without warm-up.
        max_steps: steps of the training.
        power: exponent of `poly`.
        boundaries: steps at which `step` multiplies the rate by `factor`, increasing.
        factor: of `step` at each boundary, of `exponential` over the whole training.
        warmup_steps: number of steps over which the rate rises to that of the schedule; 0 for none.
        warmup_factor: the rate of the first step divided by that of the schedule, if there is warm-up.
    """

    name: str
    base: float
    max_steps: int
    power: float = 0.9
    boundaries: tuple[int, ...] = ()
    factor: float = 0.1
    warmup_steps: int = 0
    warmup_factor: float = 0.1

    def rate(self, step: int) -> float:
        """Returns the learning rate of a step, counted from 0.

        Warm-up multiplies the rate of the schedule by `f + (1 - f) * step / warmup_steps` (Goyal et al. 2017,
        "Accurate, Large Minibatch SGD", section 2.2), where f is `warmup_factor`.
        """
        rate = self.base * SCHEDULES[self.name](self, step)
        if step >= self.warmup_steps:
            return rate
        return rate * (self.warmup_factor + (1.0 - self.warmup_factor) * step / self.warmup_steps)


def poly(schedule: Schedule, step: int) -> float:
    """Computes (1 - step / max_steps)^power (Chen et al. 2016, "DeepLab", section 4.3)."""
    return max(0.0, 1.0 - step / schedule.max_steps) ** schedule.power


def step_wise(schedule: Schedule, step: int) -> float:
    """Computes factor^n, where n is the number of boundaries b with b <= step."""
    return schedule.factor ** sum(step >= boundary for boundary in schedule.boundaries)


def cosine(schedule: Schedule, step: int) -> float:
    """Computes (1 + cos(pi * step / max_steps)) / 2 (Loshchilov & Hutter 2017, "SGDR", eq. 5, without restarts)."""
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / schedule.max_steps)))


def exponential(schedule: Schedule, step: int) -> float:
    """Computes factor^(step / max_steps), so that the rate has been multiplied by `factor` at the end."""
    return schedule.factor ** min(1.0, step / schedule.max_steps)


# The part of the initial rate that is left at a step, by name.
SCHEDULES: dict[str, Callable[[Schedule, int], float]] = {
    "poly": poly,
    "step": step_wise,
    "cosine": cosine,
    "exponential": exponential,
}
