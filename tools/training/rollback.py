"""Rolls a run back to the last undamaged snapshot after NaN or infinity, and halves the learning rate from there.

The learning rate depends only on the flags and on `<run>/rollbacks.json`, so that a run that is resumed later uses the
same values.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from database.atomic import written_atomically
from database.errors import in_one_line
from database.json_files import read_json
from database.regular_files import writable_file
from tools.checkpoints.files import sync_file
from tools.checkpoints.find import newest_sound
from tools.checkpoints.snapshot_names import checkpoint_step
from tools.errors import DivergedError, RecordError
from tools.runs.folder import RunFolder
from tools.runs.record_rules import Rule, check_fields
from tools.runtime.stop_requests import StoppedError, going_on

logger = logging.getLogger(__name__)

MAX_ROLLBACKS = 3
RATE_FACTOR = 0.5


@dataclass(frozen=True)
class Rollback:
    """One rollback to a snapshot.

    Attributes:
        step: in which the fault was found, counted from 1.
        fault: description of the value that was NaN or infinite.
        resumed_step: step of the snapshot, the number of steps done before it.
    """

    step: int
    fault: str
    resumed_step: int


def _is_step(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


# Rules for the fields of `Rollback`.
_RULES = {
    "step": Rule("a whole number from 0 on", _is_step),
    "fault": Rule("one line of text", lambda value: isinstance(value, str) and value.isprintable()),
    "resumed_step": Rule("a whole number from 0 on", _is_step),
}


_RESTORE = "restore the file that train.py wrote"


def learning_rate_factor(rollbacks: Sequence[Rollback], step: int) -> float:
    """Returns the factor of the learning rate of a step, counted from 0: 1/2 for each rollback to it or before it."""
    return RATE_FACTOR ** sum(rollback.resumed_step <= step for rollback in rollbacks)


def read_rollbacks(folder: RunFolder) -> tuple[Rollback, ...]:
    """Reads the rollbacks of a run, in order.

    Raises:
        RecordError: the file cannot be read, or has other contents.
    """
    path = folder.rollbacks
    try:
        entries = read_json(path)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: not the list of a run's rollbacks ({in_one_line(error)}): {_RESTORE}") from error
    if not isinstance(entries, list) or len(entries) > MAX_ROLLBACKS:
        raise RecordError(
            f"{path}: not the list of a run's rollbacks (up to {MAX_ROLLBACKS} objects are expected): {_RESTORE}"
        )
    return tuple(_rollback(path, number, entry) for number, entry in enumerate(entries))


def _rollback(path: str, number: int, entry: Any) -> Rollback:
    if not isinstance(entry, dict):
        raise RecordError(f"{path}: '{number}' is not an object: {_RESTORE}")
    check_fields(path, entry, Rollback, _RULES, f"{number}.")
    if entry["resumed_step"] >= entry["step"]:
        raise RecordError(
            f"{path}: '{number}.resumed_step' is {entry['resumed_step']}, expected less than the step, "
            f"{entry['step']}: {_RESTORE}"
        )
    return Rollback(**entry)


def write_rollbacks(folder: RunFolder, rollbacks: Sequence[Rollback]) -> None:
    """Replaces the list of a run's rollbacks; there is no file without any.

    Raises:
        OSError: the file cannot be written or removed.
    """
    if not rollbacks:
        forget_rollbacks(folder)
        return
    with written_atomically(folder.rollbacks) as path:
        with open(path, "w", encoding="utf-8", opener=writable_file) as file:
            json.dump([asdict(rollback) for rollback in rollbacks], file, indent=2)
        sync_file(path)


def forget_rollbacks(folder: RunFolder) -> None:
    """Deletes the rollbacks of an earlier run, before a new one starts in the same folder.

    Raises:
        OSError: the file cannot be removed.
    """
    with suppress(FileNotFoundError):
        os.unlink(folder.rollbacks)


def roll_back(folder: RunFolder, diverged: DivergedError, first_step: int) -> int:
    """Records that a run goes back to its last undamaged snapshot, and logs a warning.

    Only snapshots up to the last one of the diverged training are considered: later ones are from before a rollback.

    Args:
        folder: of the run.
        diverged: the error.
        first_step: number of steps done when the diverged training began.

    Returns:
        The step of the snapshot to resume from.

    Raises:
        DivergedError: the run was rolled back three times already, or has no undamaged snapshot.
        OSError: the file cannot be written.
        RecordError: the file of the earlier rollbacks is damaged.
        StoppedError: the run was asked to stop; it continues from the snapshot when it is resumed.
    """
    earlier = read_rollbacks(folder)
    rollback = _next_rollback(folder, diverged, first_step, earlier)
    write_rollbacks(folder, [*earlier, rollback])
    snapshot = folder.snapshot(rollback.resumed_step)
    logger.warning(
        "%s at step %d: back to snapshot %s, with the learning rate times %g from there on (rollback %d of %d)",
        rollback.fault,
        rollback.step,
        snapshot,
        learning_rate_factor([*earlier, rollback], rollback.resumed_step),
        len(earlier) + 1,
        MAX_ROLLBACKS,
    )
    if diverged.stop_signal is not None:
        raise StoppedError(
            f"{diverged.stop_signal} after step {rollback.step}, which was rolled back to snapshot {snapshot}: "
            f"{going_on(rollback.resumed_step)}"
        )
    return rollback.resumed_step


def _next_rollback(
    folder: RunFolder, diverged: DivergedError, first_step: int, earlier: Sequence[Rollback]
) -> Rollback:
    if len(earlier) >= MAX_ROLLBACKS:
        steps = ", ".join(f"from step {rollback.step} to {rollback.resumed_step}" for rollback in earlier)
        raise _final(diverged, f"the run was rolled back {len(earlier)} times already: {steps}")
    last_step = first_step if diverged.saved_step is None else diverged.saved_step
    prefix = newest_sound(folder.snapshots, last_step)
    resumed_step = None if prefix is None else checkpoint_step(prefix)
    if diverged.step is None or resumed_step is None:
        raise _final(diverged, "this run has no undamaged snapshot for --on_nan rollback")
    return Rollback(diverged.step, diverged.fault, resumed_step)


def _final(diverged: DivergedError, why: str) -> DivergedError:
    return DivergedError(f"{diverged}; {why}", diverged.fault, diverged.step, diverged.saved_step)
