"""The names of snapshots and of the runs that wrote them."""

from __future__ import annotations

import re

from tools.flags.choices import EARLIER_RUN

SNAPSHOT_NAME = "model.ckpt"
# The end of the name of a run that was set aside for another run of the same name.
EARLIER = re.compile(rf"{re.escape(EARLIER_RUN)}\d+$")
_STEP = re.compile(r"-(\d+)$")


def checkpoint_step(prefix: str) -> int | None:
    """Returns the step in the name of a checkpoint, None if there is none."""
    match = _STEP.search(prefix)
    return int(match[1]) if match else None
