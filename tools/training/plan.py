"""Decides when the training loop logs, saves, scores and ends."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """Decides when the loop logs, saves, scores and ends; the fields without a description are flags.

    Attributes:
        images_per_step: number of images of all towers.
        check_hosts: the flag of this name if several hosts train together, otherwise 0.
        first_step: number of steps done at the start.
    """

    train_max_iter: int
    show_period: int
    snapshot: int
    snapshot_minutes: float
    val_every: int | None
    save_first_iteration: bool
    log_memory: bool
    images_per_step: int
    histograms_every: int | None = None
    check_hosts: int = 0
    first_step: int = 0

    def compares_hosts(self, step: int) -> bool:
        """Checks whether the weights of all hosts are compared after a step: also the first, after each start."""
        return self.check_hosts > 0 and (step % self.check_hosts == 0 or step == self.first_step + 1)

    def is_last(self, step: int) -> bool:
        """Checks whether training ends with a step, counted from 1."""
        return step == self.train_max_iter

    def is_shown(self, step: int) -> bool:
        """Checks whether the figures of a step are computed and written."""
        return step % self.show_period == 0 or self.is_last(step)

    def has_histograms(self, step: int) -> bool:
        """Checks whether histograms of the weights are written after a step."""
        return self.histograms_every is not None and step % self.histograms_every == 0

    def is_saved(self, step: int, seconds_since_snapshot: float) -> bool:
        """Checks whether a snapshot is written after a step."""
        is_due = step % self.snapshot == 0 or self.is_last(step) or self.is_scored(step)
        return is_due or 0 < 60 * self.snapshot_minutes <= seconds_since_snapshot

    def is_scored(self, step: int) -> bool:
        """Checks whether the snapshot of a step is scored during training; the last one is scored afterwards."""
        return self.val_every is not None and step % self.val_every == 0 and not self.is_last(step)
