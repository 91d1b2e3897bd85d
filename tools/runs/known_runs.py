"""Lists the runs of a dataset with their records."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

from tools.checkpoints.snapshot_names import EARLIER
from tools.errors import RecordError
from tools.runs.folder import RunFolder, names_in
from tools.runs.record import ModelRecord
from tools.runs.snapshots import has_snapshots

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KnownRun:
    """A run that has written weights.

    Attributes:
        folder: of the run.
        record: None if it is damaged.
    """

    folder: RunFolder
    record: ModelRecord | None


def runs_in(parent: str) -> list[KnownRun]:
    """Finds the runs of one dataset that have weights and a record.

    A damaged record is logged as a warning, because the other runs do not depend on it. Runs that were set aside are
    skipped, as are checkpoints of other programs, which have no record.

    Args:
        parent: the folder, `<log_dir>/<dataset>`.

    Returns:
        Runs sorted by name; an empty list if the folder does not exist.
    """
    found = []
    for name in names_in(parent):
        folder = RunFolder(os.path.join(parent, name))
        if EARLIER.search(name) or not has_snapshots(folder):
            continue
        try:
            record = ModelRecord.read(folder.snapshots) or ModelRecord.read(folder.path)
        except RecordError as error:
            logger.warning("%s", error)
            found.append(KnownRun(folder, None))
            continue
        if record is not None:
            found.append(KnownRun(folder, record))
    return found
