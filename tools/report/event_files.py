"""Reads the scalars in TensorBoard's event files, as far as they are written; works without TensorFlow."""

from __future__ import annotations

import glob
import logging
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from database.regular_files import regular_file

logger = logging.getLogger(__name__)

_FILES = "events.out.tfevents.*"
_HEADER, _FOOTER = struct.Struct("<Q4x"), 4  # length of a record and its CRC; CRC of the record
_MOST_BYTES = 1 << 30  # of one record; more is a sign of damage


class Scalar(NamedTuple):
    """One scalar: step, tag and value."""

    step: int
    tag: str
    value: float


def read_scalars(folder: str, ending: str = "") -> dict[str, dict[int, float]]:
    """Reads the scalars of a run from its event files, in the order of their names, which begin with the time.

    A run that is resumed at a step writes an event there, at which earlier values of that step and later ones are
    discarded, as TensorBoard does. A file that is damaged, or not written completely yet, is read up to that place.

    Args:
        folder: of the run.
        ending: pattern of the end of the file names, such as `.validation-*`; empty for those without such an ending.

    Returns:
        Values by step, by tag.
    """
    scalars: dict[str, dict[int, float]] = {}
    paths = sorted(glob.glob(os.path.join(glob.escape(folder), f"{_FILES}{ending}")))
    for path in paths if ending else [path for path in paths if ".validation-" not in os.path.basename(path)]:
        try:
            _read(path, scalars)
        except (OSError, ValueError) as error:
            logger.warning("%s is read only in part: %s", path, error)
    return {tag: dict(sorted(values.items())) for tag, values in scalars.items()}


def _read(path: str, scalars: dict[str, dict[int, float]]) -> None:
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto import event_pb2

    for record in _records(path):
        try:
            event = event_pb2.Event.FromString(record)
        except DecodeError as error:
            raise ValueError("a record is damaged") from error
        if event.session_log.status == event_pb2.SessionLog.START:
            for values in scalars.values():
                for step in [step for step in values if step >= event.step]:
                    del values[step]
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                scalars.setdefault(value.tag, {})[event.step] = value.simple_value


def _records(path: str) -> Iterator[bytes]:
    """Yields the records of a TFRecord file; ends at one that is not complete.

    Raises:
        OSError: the file cannot be read.
        ValueError: a length is impossible.
    """
    with open(path, "rb", opener=regular_file) as file:
        while len(header := file.read(_HEADER.size)) == _HEADER.size:
            (length,) = _HEADER.unpack(header)
            if length > _MOST_BYTES:
                raise ValueError(f"a record of {length} bytes")
            record = file.read(length + _FOOTER)
            if len(record) < length + _FOOTER:
                return
            yield record[:length]
