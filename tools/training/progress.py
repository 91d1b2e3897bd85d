"""How far training is: a bar in a terminal, elsewhere a line for each step whose figures were computed."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from tools.prediction.tables import percent
from tools.runtime.progress import Bar, duration_text, shows_bars

logger = logging.getLogger(__name__)

# tqdm's own speed and time left are means over all steps, those with validation in between; ours stand in the note.
_BAR_FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"


@dataclass(frozen=True)
class Figures:
    """What is told of a step.

    Attributes:
        step: counted from 1.
        loss, weight_decay: of the step.
        auxiliary_loss: likewise; None without an auxiliary head.
        mean_iou: of the batch, a fraction 0..1.
        learning_rate: of the step.
        skipped_steps: of the run, as their gradients overflowed.
    """

    step: int
    loss: float
    auxiliary_loss: float | None
    weight_decay: float
    mean_iou: float
    learning_rate: float
    skipped_steps: int = 0

    def short_text(self) -> str:
        """Formats what stands behind the bar."""
        return f"loss {self.loss:.3f} mIoU % {percent(self.mean_iou)} lr {self.learning_rate:.2g}{self._skipped()}"

    def text(self) -> str:
        """Formats all figures but the step."""
        auxiliary = "" if self.auxiliary_loss is None else f", auxiliary loss {self.auxiliary_loss:.4f}"
        return (
            f"loss {self.loss:.4f}{auxiliary}, weight decay {self.weight_decay:.4f}, mIoU % {percent(self.mean_iou)}, "
            f"lr {self.learning_rate:.4g}{self._skipped()}"
        )

    def _skipped(self) -> str:
        return f", {self.skipped_steps} steps skipped" if self.skipped_steps else ""


class TrainingProgress:
    """Shows the steps of a run. Close after use."""

    def __init__(self, first_step: int, last_step: int, images_per_step: int) -> None:
        """Shows the bar, in a terminal.

        Args:
            first_step: steps done already.
            last_step: of the run.
            images_per_step: of all towers.
        """
        self._last_step = last_step
        self._images_per_step = images_per_step
        self._bar = (
            Bar("train", last_step, unit="step", initial=first_step, bar_format=_BAR_FORMAT) if shows_bars() else None
        )

    def step_taken(self, step: int, seconds_per_step: float, figures: Figures | None) -> None:
        """Tells of a step.

        Args:
            step: counted from 1.
            seconds_per_step: infinite while it is not known.
            figures: the newest; None before there are any. A line is logged where they are of this step.
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

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()
