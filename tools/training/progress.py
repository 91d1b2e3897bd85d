"""Shows the progress of training: a bar in a terminal, otherwise a log line for each step with computed values."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from tools.prediction.tables import percent
from tools.runtime.progress import Bar, duration_text, shows_bars

logger = logging.getLogger(__name__)

# tqdm's speed and remaining time average over all steps and include validation; ours are in the postfix.
_BAR_FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"


@dataclass(frozen=True)
class Figures:
    """The values of a step that are shown.

    Attributes:
        step: counted from 1.
        loss, weight_decay: of the step.
        auxiliary_loss: of the step; None without an auxiliary head.
        mean_iou: of the batch, a fraction 0..1.
        learning_rate: of the step.
        skipped_steps: number of steps of the run that were skipped because their gradients overflowed.
        has_decoupled_decay: whether the optimizer decays the weights apart from the gradients of the loss, as AdamW.
    """

    step: int
    loss: float
    auxiliary_loss: float | None
    weight_decay: float
    mean_iou: float
    learning_rate: float
    skipped_steps: int = 0
    has_decoupled_decay: bool = False

    def short_text(self) -> str:
        """Formats the text behind the bar."""
        return (
            f"loss {self.loss:.3f} batch mIoU % {percent(self.mean_iou)} lr {self.learning_rate:.2g}{self._skipped()}"
        )

    def text(self) -> str:
        """Formats all values except the step."""
        auxiliary = "" if self.auxiliary_loss is None else f", auxiliary loss {self.auxiliary_loss:.4f}"
        apart = " (not in the loss)" if self.has_decoupled_decay else ""
        return (
            f"loss {self.loss:.4f}{auxiliary}, weight decay {self.weight_decay:.4f}{apart}, "
            f"batch mIoU % {percent(self.mean_iou)}, lr {self.learning_rate:.4g}{self._skipped()}"
        )

    def _skipped(self) -> str:
        return f", {self.skipped_steps} steps skipped" if self.skipped_steps else ""


class TrainingProgress:
    """Shows the steps of a run. Close after use."""

    def __init__(
        self, first_step: int, last_step: int, images_per_step: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Shows the bar if the output is a terminal.

        Args:
            first_step: number of steps done already.
            last_step: of the run.
            images_per_step: number of images of all towers.
            clock: returns seconds.
        """
        self._first_step = first_step
        self._last_step = last_step
        self._clock = clock
        self._started = clock()
        self._images_per_step = images_per_step
        self._bar = (
            Bar("train", last_step, unit="step", initial=first_step, bar_format=_BAR_FORMAT) if shows_bars() else None
        )

    def step_taken(self, step: int, seconds_per_step: float, figures: Figures | None) -> None:
        """Updates the bar, or logs a line: with the figures, or with the time if it is one of the first two steps.

        Args:
            step: counted from 1.
            seconds_per_step: infinity if unknown.
            figures: the newest; None before the first. They are logged only if they are of this step.
        """
        speed = []
        if math.isfinite(seconds_per_step):
            speed = [
                f"{seconds_per_step:.2f} s/step",
                f"{self._images_per_step / seconds_per_step:.2f} img/s",
                f"{duration_text(seconds_per_step * (self._last_step - step))} left",
            ]
        if self._bar is not None:
            latest = [] if figures is None else [figures.short_text()]
            self._bar.update(note=", ".join([*speed, *latest]) if speed else None)
        elif figures is not None and figures.step == step:
            logger.info("%s", ", ".join([f"step {step} of {self._last_step}", figures.text(), *speed]))
        elif step == self._first_step + 1:
            seconds = self._clock() - self._started
            logger.info("step %d of %d took %.1f s, as it also builds kernels", step, self._last_step, seconds)
        elif step == self._first_step + 2 and speed:
            logger.info("%s", ", ".join([f"step {step} of {self._last_step}", *speed]))

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()
