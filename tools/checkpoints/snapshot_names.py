"""Names of snapshots and of the runs that left them."""

from __future__ import annotations

import re

from tools.flags.choices import EARLIER_RUN

SNAPSHOT_NAME = "model.ckpt"
# The end of the name of a run that was set aside for another run of the same name.
EARLIER = re.compile(rf"{re.escape(EARLIER_RUN)}\d+$")
