"""Values of flags, and words that select a step or a checkpoint."""

from __future__ import annotations

from typing import Literal

from model import choices

NETWORKS, STRIDE_CONVENTIONS = tuple(choices.NETWORKS), tuple(choices.STRIDE_CONVENTIONS)
RESIZE_GRIDS, FLOAT_TYPES = tuple(choices.RESIZE_GRIDS), tuple(choices.FLOAT_TYPES)
UPSAMPLINGS = (1, 2, 3, 4)
DEVICES = ("auto", "cpu", "gpu")
DEVICE_HELP = "device; auto: GPUs, or the CPU if the machine has none; gpu: an error without GPUs"
# Selects the step of the newest undamaged snapshot.
LATEST: Literal["latest"] = "latest"
# Select the newest run's best snapshot, or its last.
BEST, LAST = "best", "last"
# Part of the name of a run that was set aside for a new one of the same name.
EARLIER_RUN = ".earlier-"
