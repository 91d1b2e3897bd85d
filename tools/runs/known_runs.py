"""The runs of a dataset that are there, with their records."""

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
    """A run that has left weights.

    Attributes:
        folder: of the run.
        record: None where it is damaged, so that nothing is known of the run but that it is there.
    """

    folder: RunFolder
    record: ModelRecord | None


def runs_in(parent: str) -> list[KnownRun]:
    """Finds the runs in a folder, those of one dataset, that have left weights and a record.

    A damaged record is logged in a warning and ends nothing: other runs do not depend on it. Runs that were set aside,
    and checkpoints of other programs, which have no record, are left out.

    Args:
        parent: the folder, `<log_dir>/<dataset>`.

    Returns:
        Runs by name; none where there is no such folder.
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
